//! Collation of the texts of a batch for the text encoder: whole reports and their distinct sentences.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::nn::to_device::to_device;
use crate::reporter::align::alignment::ReportTexts;
use crate::reporter::align::text_encoder::TextInput;
use crate::reporter::batches::text_tokens::EncodedTexts;

/// Stacks the texts of a batch. A sentence that occurs several times is stacked once. Two reports are the same when their
/// token ids are equal, or when one of them is empty.
///
/// # Errors
/// When a libtorch operation fails.
pub fn collate_texts(texts: &[&EncodedTexts], device: Device) -> Result<ReportTexts> {
    let mut rows: HashMap<&[i64], usize> = HashMap::new();
    let mut sentences: Vec<&[i64]> = Vec::new();
    let mut of_report: Vec<Vec<usize>> = Vec::new();
    for text in texts {
        let indices = text.sentences.iter().map(|sentence| {
            *rows.entry(sentence).or_insert_with(|| {
                sentences.push(sentence);
                sentences.len() - 1
            })
        });
        of_report.push(indices.collect());
    }
    let (count, distinct) = (texts.len(), sentences.len());
    let mut shares = vec![0f32; count * distinct];
    for (row, indices) in of_report.iter().enumerate() {
        for index in indices {
            shares[row * distinct + index] += 1.0 / indices.len() as f32;
        }
    }
    let mut same = vec![false; count * count];
    for (i, a) in texts.iter().enumerate() {
        for (j, b) in texts.iter().enumerate() {
            same[i * count + j] = a.report.is_empty() || b.report.is_empty() || a.report == b.report;
        }
    }
    let reports: Vec<&[i64]> = texts.iter().map(|t| t.report.as_slice()).collect();
    let shape = [count as i64, distinct as i64];
    Ok(ReportTexts {
        reports: pad(&reports, device)?,
        sentences: pad(&sentences, device)?,
        shares: to_device(&Tensor::f_from_slice(&shares)?.f_view(shape)?, device)?,
        same: to_device(&Tensor::f_from_slice(&same)?.f_view([shape[0]; 2])?, device)?,
    })
}

/// Token ids padded with 0 to the longest text, at least one column.
fn pad(texts: &[&[i64]], device: Device) -> Result<TextInput> {
    let width = texts.iter().map(|t| t.len()).max().unwrap_or(0).max(1);
    let mut ids = vec![0i64; texts.len() * width];
    let mut lengths = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        ids[row * width..row * width + text.len()].copy_from_slice(text);
        lengths.push(text.len() as i64);
    }
    let shape = [texts.len() as i64, width as i64];
    let columns = Tensor::arange(shape[1], (Kind::Int64, Device::Cpu)).unsqueeze(0);
    let present = columns.lt_tensor(&Tensor::f_from_slice(&lengths)?.unsqueeze(1));
    Ok(TextInput {
        ids: to_device(&Tensor::f_from_slice(&ids)?.f_view(shape)?, device)?,
        present: to_device(&present, device)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sentences_are_encoded_once() {
        let text = |sentences: &[&[i64]]| EncodedTexts {
            report: sentences.concat(),
            sentences: sentences.iter().map(|s| s.to_vec()).collect(),
        };
        let (a, b) = (text(&[&[9, 1, 8], &[9, 2, 8]]), text(&[&[9, 2, 8], &[9, 2, 8], &[9, 3, 4, 8]]));
        let batch = collate_texts(&[&a, &b, &EncodedTexts::default(), &a], Device::Cpu).unwrap();
        assert_eq!(batch.sentences.ids.size(), [3, 4]);
        assert_eq!(batch.reports.ids.size(), [4, 10]);
        let shares = Vec::<f32>::try_from(batch.shares.reshape([-1])).unwrap();
        let third = 1.0 / 3.0;
        assert_eq!(shares, [0.5, 0.5, 0.0, 0.0, third + third, third, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
        let same = Vec::<bool>::try_from(batch.same.reshape([-1])).unwrap();
        assert_eq!(same[..4], [true, false, true, true]);
        assert_eq!(same[4..8], [false, true, true, false]);
        let lengths = batch.sentences.present.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64);
        assert_eq!(Vec::<i64>::try_from(&lengths).unwrap(), [3, 3, 4]);
    }
}
