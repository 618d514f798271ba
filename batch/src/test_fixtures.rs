//! Rows and contexts of unit tests; a test changes what it is about.

use d2r_contracts::labels::lesion_class_name;
use d2r_contracts::tables::{ImageRow, LesionRow};

use crate::config::{Layers, resolve};
use crate::context::Context;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::training::ranks::Ranks;

/// An accepted box of a detector, `[x_min, y_min, x_max, y_max]`, with a score of 0.75.
pub fn lesion(image_id: &str, box_id: &str, class_id: i32, corners: [f32; 4]) -> LesionRow {
    let [x_min, y_min, x_max, y_max] = corners;
    LesionRow {
        image_id: image_id.into(),
        box_id: box_id.into(),
        class_name: lesion_class_name(class_id).unwrap_or("unknown").into(),
        class_id,
        x_min,
        y_min,
        x_max,
        y_max,
        score: 0.75,
        source: "pseudo".into(),
        reader_id: None,
        n_readers: None,
        std_x_min: None,
        std_y_min: None,
        std_x_max: None,
        std_y_max: None,
        student_iou: None,
        accepted: true,
        threshold: None,
        model_sha256: None,
    }
}

/// A PA image of 100 x 80 pixels, the only one of its study and its patient.
pub fn image(image_id: &str) -> ImageRow {
    ImageRow {
        image_id: image_id.into(),
        study_id: image_id.into(),
        subject_id: image_id.into(),
        view: "PA".into(),
        path: format!("{image_id}.png"),
        width: Some(100),
        height: Some(80),
        sha256: None,
        n_boxes: None,
        burned_in_annotation: None,
    }
}

/// The preset `tiny` on the CPU. `set`: `section.key=value`.
pub fn context(set: &[&str]) -> Context {
    let set = set.iter().map(|s| (*s).to_owned()).collect();
    let resolved = resolve(&Layers { preset: Some("tiny".into()), set, ..Layers::default() }).unwrap();
    Context {
        config_toml: resolved.to_toml(),
        origin: resolved.origin,
        config: resolved.config,
        device: tch::Device::Cpu,
        progress: Progress::Quiet,
        stop: StopFlag::default(),
        ranks: Ranks::alone(),
        resume: true,
        recompute: false,
    }
}
