//! The report model's tensor border: films, regions and words into tensors, once per batch.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::reporter::batches::study::{ReportExample, StudyVisual, VisualSpec};

/// Films and regions of a batch. `B` films, `N` regions in the richest of them, `M` in all.
#[derive(Debug)]
pub struct VisualBatch {
    /// u8 `[B, views, S, S]`.
    pub films: Tensor,
    /// u8 `[M, 1, R, R]`.
    pub crops: Tensor,
    /// i64 `[M]`: `film * N + place in the film`.
    pub slots: Tensor,
    /// Boolean `[B, N]`.
    pub present: Tensor,
    /// i64 `[M]`.
    pub classes: Tensor,
    /// f32 `[M, 5]`.
    pub places: Tensor,
}

/// Words of a batch and the regions that they name. `T + 1` is the longest target.
#[derive(Debug)]
pub struct WordBatch {
    /// i64 `[B, T + 1]`, padded with 0.
    pub ids: Tensor,
    /// f32 `[B, T]`: 1 for each id of a target but the first.
    pub kept: Tensor,
    /// f32 `[B, T, N]`: for each word the regions that its sentence names, as shares of 1.
    pub named: Tensor,
}

/// Stacks films and regions.
///
/// # Errors
/// When libtorch refuses, for instance for films that are not of the spec's size.
pub fn stack_visuals(studies: &[&StudyVisual], spec: &VisualSpec, device: Device) -> Result<VisualBatch> {
    let (size, region_size) = (i64::from(spec.film.size), i64::from(spec.region_size));
    let batch = studies.len() as i64;
    let per_film = regions_per_film(studies);
    let mut films = Vec::with_capacity(studies.len() * spec.views * (size * size) as usize);
    let mut present = vec![false; studies.len() * per_film];
    let (mut crops, mut slots, mut classes, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, study) in studies.iter().enumerate() {
        films.extend_from_slice(&study.film);
        for (place, region) in study.regions.iter().enumerate() {
            let slot = row * per_film + place;
            present[slot] = true;
            slots.push(slot as i64);
            crops.extend_from_slice(&region.crop);
            classes.push(i64::from(region.class_id));
            places.extend_from_slice(&region.place);
        }
    }
    let count = slots.len() as i64;
    let put = |t: Tensor, size: &[i64]| -> Result<Tensor> { Ok(t.f_view(size)?.f_to_device(device)?) };
    Ok(VisualBatch {
        films: put(Tensor::f_from_slice(&films)?, &[batch, spec.views as i64, size, size])?,
        crops: put(Tensor::f_from_slice(&crops)?, &[count, 1, region_size, region_size])?,
        slots: put(Tensor::f_from_slice(&slots)?, &[count])?,
        present: put(Tensor::f_from_slice(&present)?, &[batch, per_film as i64])?,
        classes: put(Tensor::f_from_slice(&classes)?, &[count])?,
        places: put(Tensor::f_from_slice(&places)?.to_kind(Kind::Float), &[count, 5])?,
    })
}

fn regions_per_film(studies: &[&StudyVisual]) -> usize {
    studies.iter().map(|s| s.regions.len()).max().unwrap_or(0)
}

/// Stacks the words of the examples.
///
/// # Errors
/// When libtorch refuses.
pub fn stack_words(examples: &[&ReportExample], device: Device) -> Result<WordBatch> {
    let width = examples.iter().map(|e| e.ids.len()).max().unwrap_or(0).max(2);
    let length = width - 1;
    let visuals: Vec<&StudyVisual> = examples.iter().map(|e| e.visual.as_ref()).collect();
    let per_film = regions_per_film(&visuals);
    let mut ids = vec![0i64; examples.len() * width];
    let mut kept = vec![0f32; examples.len() * length];
    let mut named = vec![0f32; examples.len() * length * per_film];
    for (row, example) in examples.iter().enumerate() {
        for (t, id) in example.ids.iter().enumerate() {
            ids[row * width + t] = *id;
            if t > 0 {
                kept[row * length + t - 1] = 1.0;
            }
        }
        for sentence in &example.named {
            let share = 1.0 / sentence.regions.len().max(1) as f32;
            // Step t writes word t; the end boundary belongs to no sentence, a cut sentence ends with the target.
            let end = sentence.end.min(example.ids.len().saturating_sub(1));
            for t in sentence.first..end {
                for region in sentence.regions.iter().filter(|r| **r < per_film) {
                    named[(row * length + t) * per_film + region] = share;
                }
            }
        }
    }
    let (batch, width, length) = (examples.len() as i64, width as i64, length as i64);
    let put = |t: Tensor, size: &[i64]| -> Result<Tensor> { Ok(t.f_view(size)?.f_to_device(device)?) };
    Ok(WordBatch {
        ids: put(Tensor::f_from_slice(&ids)?, &[batch, width])?,
        kept: put(Tensor::f_from_slice(&kept)?, &[batch, length])?,
        named: put(Tensor::f_from_slice(&named)?, &[batch, length, per_film as i64])?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reporter::batches::study::{NamedRegions, Region, square};
    use crate::reporter::batches::text_tokens::EncodedTexts;

    fn study(grey: u8, regions: usize) -> StudyVisual {
        let region = |i: usize| Region { crop: vec![grey + i as u8; 16], class_id: i as i32, place: [0.5; 5] };
        StudyVisual { film: vec![grey; 64], letterbox: square(8), regions: (0..regions).map(region).collect() }
    }

    fn example(visual: StudyVisual, ids: &[i64], named: Vec<NamedRegions>) -> ReportExample {
        ReportExample {
            study_id: "s".into(),
            visual: Arc::new(visual),
            ids: ids.into(),
            named,
            reference: String::new(),
            texts: EncodedTexts::default(),
        }
    }

    #[test]
    fn only_regions_that_exist_are_stacked() {
        let spec = VisualSpec::new(8, 4, 4, 0.0);
        let (a, b, c) = (study(10, 2), study(20, 0), study(30, 1));
        let batch = stack_visuals(&[&a, &b, &c], &spec, Device::Cpu).unwrap();
        assert_eq!(batch.films.size(), [3, 1, 8, 8]);
        assert_eq!(batch.crops.size(), [3, 1, 4, 4]);
        assert_eq!(Vec::<i64>::try_from(&batch.slots).unwrap(), [0, 1, 4]);
        let present = Vec::<bool>::try_from(batch.present.reshape([-1])).unwrap();
        assert_eq!(present, [true, true, false, false, true, false]);
        let none = stack_visuals(&[&b], &spec, Device::Cpu).unwrap();
        assert_eq!((none.crops.size(), none.present.size()), (vec![0, 1, 4, 4], vec![1, 0]));
    }

    #[test]
    fn words_are_padded_and_name_their_regions() {
        let named = vec![NamedRegions { first: 1, end: 3, regions: vec![0, 1] }];
        let a = example(study(1, 2), &[0, 5, 6, 7, 0], named);
        let b = example(study(2, 1), &[0, 9, 0], vec![NamedRegions { first: 0, end: 9, regions: vec![0] }]);
        let words = stack_words(&[&a, &b], Device::Cpu).unwrap();
        assert_eq!(Vec::<i64>::try_from(words.ids.get(1)).unwrap(), [0, 9, 0, 0, 0]);
        assert_eq!(Vec::<f32>::try_from(words.kept.get(0)).unwrap(), [1.0; 4]);
        assert_eq!(Vec::<f32>::try_from(words.kept.get(1)).unwrap(), [1.0, 1.0, 0.0, 0.0]);
        let named = |row: i64| Vec::<f32>::try_from(words.named.get(row).reshape([-1])).unwrap();
        assert_eq!(named(0), [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]);
        // Word 0 and the step after it that writes the end: the sentence was longer than the target.
        assert_eq!(named(1), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
