//! Figures of report text: BLEU, ROUGE-L, CIDEr-D, label F1, diversity, the constant-report baseline.

pub mod bleu;
pub mod cider;
pub mod constant_report;
pub mod diversity;
pub mod label_f1;
pub mod report_figures;
pub mod rouge;

#[cfg(test)]
mod tests;
