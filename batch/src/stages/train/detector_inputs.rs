//! What a detector is trained on: images, annotators' boxes, and the classes that reports name.

use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::report_labeler::lesion_classes_in;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};

use crate::context::Context;
use crate::datasets::prepared::{self, PreparedStore};
use crate::detector::batches::loader::{DetectionSet, LoadOptions, is_truth};
use crate::detector::batches::radiograph_source::RadiographSource;
use crate::detector::card::input_spec;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};

/// The classes that reports state as present, by study.
pub type NamedClasses = BTreeMap<String, BTreeSet<i32>>;

/// Adds to each image the classes that the report of its study states as present. Images without a report stay as
/// they are.
///
/// # Errors
/// [`Error::Config`] where no image has a report.
pub fn add_reports(named: &NamedClasses, dataset: &str, set: &mut DetectionSet) -> Result<()> {
    for example in &mut set.examples {
        example.report_classes = named.get(&example.image.study_id).map(|classes| classes.iter().copied().collect());
    }
    if set.examples.iter().all(|e| e.report_classes.is_none()) {
        let problem = format!("no training image of dataset `{dataset}` has a report to read; set it to \"off\"");
        return Err(Error::Config { place: "semi.report_threshold".into(), problem });
    }
    Ok(())
}

/// The classes of the reports of the training split.
///
/// # Errors
/// [`Error::Config`] for a label set without classes that reports name, and those of reading.
pub fn classes_in_reports(lake: &Lake, dataset: &str, labels: &LabelSet) -> Result<NamedClasses> {
    let vindr_ids = (0..labels.classes.len() as i32).filter_map(|id| labels.vindr_id(id));
    if vindr_ids.count() == 0 {
        let problem =
            format!("reports name VinDr-CXR classes, and label set {labels} corresponds to none; set it to \"off\"");
        return Err(Error::Config { place: "semi.report_threshold".into(), problem });
    }
    let reports: Vec<ReportRow> = lake.read(&Partition::new(dataset, "train"))?;
    let mut named = NamedClasses::new();
    for report in reports {
        let vindr = lesion_classes_in(&report.text);
        named.entry(report.study_id).or_default().extend(vindr.into_iter().flat_map(|id| labels.ids_of_vindr(id)));
    }
    Ok(named)
}

/// The images of a split with their annotated boxes, and those that cannot be used.
///
/// # Errors
/// Those of reading; [`Error::Stopped`] after a signal.
pub fn load(ctx: &Context, lake: &Lake, dataset: &str, split: &str) -> Result<(DetectionSet, Vec<FailureRow>)> {
    let partition = Partition::new(dataset, split);
    let images: Vec<ImageRow> = lake.read(&partition)?;
    let lesions = annotated_boxes(lake, &partition)?;
    let short_edges = ctx.config.detector.short_edges(split);
    let source = RadiographSource { short_edges, ..source(ctx, lake, dataset)? };
    let cache_bytes = ctx.config.detector.train.cache_mib << 20;
    let task = ctx.progress.task(&format!("read {split} images"), images.len() as u64, "images");
    let options = LoadOptions { cache_bytes, stage: "train-detector", progress: &task, stop: &ctx.stop };
    let loaded = DetectionSet::load(source, images, &lesions, options)?;
    task.finish();
    Ok(loaded)
}

/// The annotators' boxes of a partition. A detector's candidates, many more, are passed over as they are read.
///
/// # Errors
/// Those of reading.
pub fn annotated_boxes(lake: &Lake, partition: &Partition) -> Result<Vec<LesionRow>> {
    let rows = lake.rows_in_order::<LesionRow>(partition, 0, u64::MAX)?;
    rows.filter(|row| row.as_ref().map_or(true, is_truth)).collect()
}

/// The images of a dataset as the detector sees them at inference.
///
/// # Errors
/// [`Error::NoRows`] for a dataset that the lake does not have.
pub fn source(ctx: &Context, lake: &Lake, dataset: &str) -> Result<RadiographSource> {
    Ok(RadiographSource {
        root: lake.dataset_root(dataset)?,
        decode: ctx.decode_options(),
        input: input_spec(&ctx.config.detector.model),
        prepared: Some(PreparedStore::at(lake.root().join(prepared::FOLDER))),
        short_edges: None,
    })
}
