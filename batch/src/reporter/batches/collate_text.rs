//! The text encoder's tensor border: the reports of a batch and their sentences, equal sentences once.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::reporter::batches::text_tokens::EncodedTexts;

/// Texts of a batch of `B` reports with `U` different sentences.
#[derive(Debug)]
pub struct TextBatch {
    /// i64 `[B, T]`, padded with 0.
    pub report_ids: Tensor,
    /// Boolean `[B, T]`.
    pub report_kept: Tensor,
    /// i64 `[U, T']`.
    pub sentence_ids: Tensor,
    /// Boolean `[U, T']`.
    pub sentence_kept: Tensor,
    /// f32 `[B, U]`: a report's sentences as shares of 1.
    pub shares: Tensor,
    /// Boolean `[B, B]`: pairs that say the same, and all pairs with a report that says nothing.
    pub same: Tensor,
}

/// Stacks the texts of a batch.
///
/// # Errors
/// When libtorch refuses.
pub fn stack_texts(texts: &[&EncodedTexts], device: Device) -> Result<TextBatch> {
    let mut seen: HashMap<&[i64], usize> = HashMap::new();
    let mut sentences: Vec<&[i64]> = Vec::new();
    let mut of_report: Vec<Vec<usize>> = Vec::new();
    for text in texts {
        let row = text.sentences.iter().map(|sentence| {
            *seen.entry(sentence).or_insert_with(|| {
                sentences.push(sentence);
                sentences.len() - 1
            })
        });
        of_report.push(row.collect());
    }
    let (count, unique) = (texts.len(), sentences.len());
    let mut shares = vec![0f32; count * unique];
    for (row, places) in of_report.iter().enumerate() {
        for place in places {
            shares[row * unique + place] += 1.0 / places.len() as f32;
        }
    }
    let mut same = vec![false; count * count];
    for (i, a) in texts.iter().enumerate() {
        for (j, b) in texts.iter().enumerate() {
            same[i * count + j] = a.report.is_empty() || b.report.is_empty() || a.report == b.report;
        }
    }
    let reports: Vec<&[i64]> = texts.iter().map(|t| t.report.as_slice()).collect();
    let (report_ids, report_kept) = stack(&reports, device)?;
    let (sentence_ids, sentence_kept) = stack(&sentences, device)?;
    let shape = [count as i64, unique as i64];
    Ok(TextBatch {
        report_ids,
        report_kept,
        sentence_ids,
        sentence_kept,
        shares: Tensor::f_from_slice(&shares)?.f_view(shape)?.f_to_device(device)?,
        same: Tensor::f_from_slice(&same)?.f_view([shape[0]; 2])?.f_to_device(device)?,
    })
}

/// Ids padded with 0 to the longest, at least one column, and which of them count.
fn stack(rows: &[&[i64]], device: Device) -> Result<(Tensor, Tensor)> {
    let width = rows.iter().map(|r| r.len()).max().unwrap_or(0).max(1);
    let mut ids = vec![0i64; rows.len() * width];
    let mut lengths = Vec::with_capacity(rows.len());
    for (row, values) in rows.iter().enumerate() {
        ids[row * width..row * width + values.len()].copy_from_slice(values);
        lengths.push(values.len() as i64);
    }
    let shape = [rows.len() as i64, width as i64];
    let columns = Tensor::arange(shape[1], (Kind::Int64, Device::Cpu)).unsqueeze(0);
    let kept = columns.lt_tensor(&Tensor::f_from_slice(&lengths)?.unsqueeze(1));
    Ok((Tensor::f_from_slice(&ids)?.f_view(shape)?.f_to_device(device)?, kept.f_to_device(device)?))
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
        let batch = stack_texts(&[&a, &b, &EncodedTexts::default(), &a], Device::Cpu).unwrap();
        assert_eq!(batch.sentence_ids.size(), [3, 4]);
        assert_eq!(batch.report_ids.size(), [4, 10]);
        let shares = Vec::<f32>::try_from(batch.shares.reshape([-1])).unwrap();
        let third = 1.0 / 3.0;
        assert_eq!(shares, [0.5, 0.5, 0.0, 0.0, third + third, third, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
        let same = Vec::<bool>::try_from(batch.same.reshape([-1])).unwrap();
        assert_eq!(same[..4], [true, false, true, true]);
        assert_eq!(same[4..8], [false, true, true, false]);
        let kept = batch.sentence_kept.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64);
        assert_eq!(Vec::<i64>::try_from(&kept).unwrap(), [3, 3, 4]);
    }
}
