//! Collation of a batch of studies: images, regions and token ids become the report model's tensors.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::nn::to_device::to_device;
use crate::reporter::batches::study::{ReportExample, StudyVisual, VisualSpec};
use crate::reporter::model::report_model::ReportTargets;
use crate::reporter::model::visual::{RegionInput, VisualInput};

/// Stacks images and regions.
///
/// # Errors
/// When a libtorch operation fails, for instance for images that are not of the spec's size.
pub fn collate_visuals(studies: &[&StudyVisual], spec: &VisualSpec, device: Device) -> Result<VisualInput> {
    let (size, region_size) = (i64::from(spec.image.size), i64::from(spec.region_size));
    let batch = studies.len() as i64;
    let per_image = most_regions(studies);
    let mut pixels = Vec::with_capacity(studies.len() * spec.views * (size * size) as usize);
    let mut present = vec![false; studies.len() * per_image];
    let (mut crops, mut statistics, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    let (mut classes, mut scored_boxes) = (Vec::new(), Vec::new());
    for (row, study) in studies.iter().enumerate() {
        pixels.extend_from_slice(&study.pixels);
        for (index, region) in study.regions.iter().enumerate() {
            let slot = row * per_image + index;
            present[slot] = true;
            slots.push(slot as i64);
            crops.extend_from_slice(&region.crop);
            statistics.extend_from_slice(&region.statistics);
            classes.push(i64::from(region.class_id));
            scored_boxes.extend_from_slice(&region.scored_box);
        }
    }
    let count = slots.len() as i64;
    let shaped = |t: Tensor, shape: &[i64]| -> Result<Tensor> { to_device(&t.f_view(shape)?, device) };
    Ok(VisualInput {
        images: shaped(Tensor::f_from_slice(&pixels)?, &[batch, spec.views as i64, size, size])?,
        regions: RegionInput {
            crops: shaped(Tensor::f_from_slice(&crops)?, &[count, 1, region_size, region_size])?,
            statistics: shaped(Tensor::f_from_slice(&statistics)?.to_kind(Kind::Float), &[count, 2])?,
            slots: shaped(Tensor::f_from_slice(&slots)?, &[count])?,
            present: shaped(Tensor::f_from_slice(&present)?, &[batch, per_image as i64])?,
            classes: shaped(Tensor::f_from_slice(&classes)?, &[count])?,
            scored_boxes: shaped(Tensor::f_from_slice(&scored_boxes)?.to_kind(Kind::Float), &[count, 5])?,
        },
    })
}

/// Stacks images and regions of examples; prepared ones are read in parallel.
///
/// # Errors
/// Those of [`crate::reporter::batches::visual_handle::VisualHandle::get`] and [`collate_visuals`].
pub fn collate_visuals_of(examples: &[&ReportExample], spec: &VisualSpec, device: Device) -> Result<VisualInput> {
    let visuals = examples.par_iter().map(|e| e.visual.get()).collect::<Result<Vec<_>>>()?;
    collate_visuals(&visuals.iter().map(AsRef::as_ref).collect::<Vec<_>>(), spec, device)
}

fn most_regions(studies: &[&StudyVisual]) -> usize {
    studies.iter().map(|s| s.regions.len()).max().unwrap_or(0)
}

/// Stacks token ids and the regions that sentences name. Every token has weight 1, padding 0.
///
/// # Errors
/// When a libtorch operation fails.
pub fn collate_targets(examples: &[&ReportExample], device: Device) -> Result<ReportTargets> {
    let width = examples.iter().map(|e| e.ids.len()).max().unwrap_or(0).max(2);
    let length = width - 1;
    let per_image = examples.iter().map(|e| e.visual.regions()).max().unwrap_or(0);
    let mut ids = vec![0i64; examples.len() * width];
    let mut weights = vec![0f32; examples.len() * length];
    let mut named_regions = vec![0f32; examples.len() * length * per_image];
    for (row, example) in examples.iter().enumerate() {
        for (t, id) in example.ids.iter().enumerate() {
            ids[row * width + t] = *id;
            if t > 0 {
                weights[row * length + t - 1] = 1.0;
            }
        }
        for sentence in &example.named {
            let share = 1.0 / sentence.regions.len().max(1) as f32;
            // Step t writes token t. The end boundary belongs to no sentence; a truncated sentence ends with the target.
            let end = sentence.end.min(example.ids.len().saturating_sub(1));
            for t in sentence.first..end {
                for region in sentence.regions.iter().filter(|r| **r < per_image) {
                    named_regions[(row * length + t) * per_image + region] = share;
                }
            }
        }
    }
    let (batch, width, length) = (examples.len() as i64, width as i64, length as i64);
    let shaped = |t: Tensor, shape: &[i64]| -> Result<Tensor> { to_device(&t.f_view(shape)?, device) };
    Ok(ReportTargets {
        ids: shaped(Tensor::f_from_slice(&ids)?, &[batch, width])?,
        weights: shaped(Tensor::f_from_slice(&weights)?, &[batch, length])?,
        named_regions: shaped(Tensor::f_from_slice(&named_regions)?, &[batch, length, per_image as i64])?,
    })
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::reporter::batches::study::{NamedRegions, Region, square};
    use crate::reporter::batches::text_tokens::EncodedTexts;

    fn study(grey: u8, regions: usize) -> StudyVisual {
        let region = |i: usize| Region {
            crop: vec![grey + i as u8; 16],
            statistics: [0.5, 0.25],
            class_id: i as i32,
            scored_box: [0.5; 5],
        };
        StudyVisual {
            pixels: vec![grey; 64],
            letterboxes: vec![square(8)],
            regions: (0..regions).map(region).collect(),
        }
    }

    fn example(visual: StudyVisual, ids: &[i64], named: Vec<NamedRegions>) -> ReportExample {
        ReportExample {
            study_id: "s".into(),
            visual: visual.into(),
            ids: ids.into(),
            named,
            reference: String::new(),
            labels: d2r_contracts::report_labeler::label(""),
            texts: EncodedTexts::default(),
        }
    }

    #[test]
    fn only_regions_that_exist_are_stacked() {
        let spec = VisualSpec::new(8, 4, 4, 0.0);
        let (a, b, c) = (study(10, 2), study(20, 0), study(30, 1));
        let batch = collate_visuals(&[&a, &b, &c], &spec, Device::Cpu).unwrap();
        assert_eq!(batch.images.size(), [3, 1, 8, 8]);
        assert_eq!(batch.regions.crops.size(), [3, 1, 4, 4]);
        assert_eq!(Vec::<i64>::try_from(&batch.regions.slots).unwrap(), [0, 1, 4]);
        let present = Vec::<bool>::try_from(batch.regions.present.reshape([-1])).unwrap();
        assert_eq!(present, [true, true, false, false, true, false]);
        let none = collate_visuals(&[&b], &spec, Device::Cpu).unwrap().regions;
        assert_eq!((none.crops.size(), none.present.size()), (vec![0, 1, 4, 4], vec![1, 0]));
    }

    #[test]
    fn tokens_are_padded_and_name_their_regions() {
        let named = vec![NamedRegions { first: 1, end: 3, regions: vec![0, 1] }];
        let a = example(study(1, 2), &[0, 5, 6, 7, 0], named);
        let b = example(study(2, 1), &[0, 9, 0], vec![NamedRegions { first: 0, end: 9, regions: vec![0] }]);
        let targets = collate_targets(&[&a, &b], Device::Cpu).unwrap();
        assert_eq!(Vec::<i64>::try_from(targets.ids.get(1)).unwrap(), [0, 9, 0, 0, 0]);
        assert_eq!(Vec::<f32>::try_from(targets.weights.get(0)).unwrap(), [1.0; 4]);
        assert_eq!(Vec::<f32>::try_from(targets.weights.get(1)).unwrap(), [1.0, 1.0, 0.0, 0.0]);
        let named = |row: i64| Vec::<f32>::try_from(targets.named_regions.get(row).reshape([-1])).unwrap();
        assert_eq!(named(0), [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]);
        // Token 0 and the step after it that writes the end: the sentence was longer than the target.
        assert_eq!(named(1), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
