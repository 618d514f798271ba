//! ROIAlign, forwards and backwards, against torchvision: both alignments, fixed and adaptive sampling, regions across
//! and outside the border, of no size, inverted.

use d2r_contracts::boxes::BoxXyxy;
use tch::Kind;

use crate::detector::rcnn::roi_align::{Roi, RoiAlign};
use crate::nn::parity_golden::{assert_close, assert_sampled, golden, numbers, signed, values};

#[test]
fn pooling_equals_torchvisions_in_all_variants() {
    let file = golden("roi_align");
    let rows = numbers(&file["rois"]);
    let rois: Vec<Roi> = rows
        .chunks_exact(5)
        .map(|r| {
            let region = BoxXyxy::new(r[1] as f32, r[2] as f32, r[3] as f32, r[4] as f32);
            Roi { image: r[0] as usize, level: 0, region }
        })
        .collect();
    let weights = signed(22, &[24, 3, 7, 7]);
    for case in file["cases"].as_array().unwrap() {
        let align = RoiAlign {
            aligned: case["aligned"].as_bool().unwrap(),
            sampling_ratio: case["sampling_ratio"].as_u64().unwrap() as usize,
        };
        let features = signed(21, &[2, 3, 20, 24]).set_requires_grad(true);
        let pooled = align.pool(std::slice::from_ref(&features), &[4.0], &rois);
        let what = format!("{align:?}");
        let sums = pooled.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
        assert_close(&values(&sums), &numbers(&case["sum_per_roi"]), 1e-4, &what);
        assert_sampled(&pooled, &case["output"], 1e-5, &what);
        (pooled * &weights).sum(Kind::Float).backward();
        assert_sampled(&features.grad(), &case["gradient"], 1e-4, &what);
    }
}
