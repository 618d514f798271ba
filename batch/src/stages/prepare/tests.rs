use crate::config::report::ReportModelConfig;
use crate::stages::ingest::{self, Kind};
use crate::stages::phantom;
use crate::test_fixtures::context;

use super::*;

#[test]
fn images_are_prepared_once_by_any_shards_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(&["phantom.size=96"]);
    let out = dir.path().join("phantom");
    let layouts = vec![d2r_phantom::layouts::Layout::Mimic];
    phantom::run(&ctx, phantom::Args { out: out.clone(), images: Some(12), seed: Some(5), layouts }).unwrap();
    let lake = dir.path().join("lake");
    let ingest = ingest::Args {
        kind: Kind::Mimic,
        root: out.join("mimic"),
        dataset: "mimic".into(),
        lake: lake.clone(),
        shard: Shard::WHOLE,
        labels_only: false,
        original_size: None,
        refuse_burned_in: false,
        labels: ingest::LabelChoice::Vindr,
    };
    let images = ingest::run(&ctx, ingest).unwrap().rows["images"] as f64;
    let args = |shard, model| Args { lake: lake.clone(), dataset: "mimic".into(), splits: Vec::new(), model, shard };
    let prepare = |shard| run(&ctx, &args(shard, For::Detector)).unwrap();
    let first = prepare(Shard { index: 0, count: 2 }).figures["prepared_files"];
    let second = prepare(Shard { index: 1, count: 2 }).figures["prepared_files"];
    assert!(first > 0.0 && second > 0.0 && first + second == images, "{first} and {second} of {images}");
    assert!(prepare(Shard::WHOLE).cached);
    let input = f64::from(ctx.config.detector.model.input_size);
    assert_eq!(prepare(Shard::WHOLE).figures["kept_bytes"], images * (input * input + 32.0));
    let ReportModelConfig { input_size, .. } = ctx.config.report.model;
    assert_ne!(f64::from(input_size), input);
    assert!(run(&ctx, &args(Shard::WHOLE, For::ReportModel)).unwrap().figures["prepared_files"] > 0.0);
    let shard = Shard { index: 0, count: 2 };
    assert!(matches!(run(&ctx, &args(shard, For::ReportModel)), Err(Error::Usage(_))));
    let pruned = prune(&lake, 0).unwrap().figures;
    assert!(pruned["removed_files"] > images && pruned["kept_bytes"] == 0.0);
    assert_eq!(prepare(Shard::WHOLE).figures["prepared_files"], images);
}
