//! Validation of the report model: a score of generated reports, and the token loss.

use d2r_contracts::report_labeler::label;
use tch::Kind;

use crate::config::report::Selection;
use crate::error::Result;
use crate::eval::text::bleu::bleu;
use crate::eval::text::label_f1::{MICRO, label_f1};
use crate::reporter::batches::collate::{collate_targets, collate_visuals_of};
use crate::reporter::batches::study::ReportExample;
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::train::trainer::ReportTraining;

/// Result of a validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportScore {
    /// The configured score of generated reports, in 0..1; larger is better.
    pub score: f64,
    /// Mean negative log-likelihood per token.
    pub token_loss: f64,
}

/// Generates and scores the reports of `studies`.
///
/// # Errors
/// [`crate::error::Error::Stopped`] after a signal; those of generation.
pub fn score(model: &ReportModel, studies: &[ReportExample], job: &ReportTraining) -> Result<ReportScore> {
    let _no_grad = tch::no_grad_guard();
    let options = if job.config.val_beam { job.decode.clone() } else { job.decode.greedy() };
    let (mut generated, mut references, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut loss, mut tokens) = (0.0, 0.0);
    for chunk in studies.chunks(job.config.batch_size.max(1)) {
        job.stop.check()?;
        let examples: Vec<&ReportExample> = chunk.iter().collect();
        let visual = collate_visuals_of(&examples, &job.visual, job.device)?;
        for (report, example) in model.generate(&visual, None, &options)?.iter().zip(chunk) {
            let text = job.vocabulary.decode(&report.tokens);
            pairs.push((example.labels, label(&text)));
            generated.push(text);
            references.push(vec![example.reference.clone()]);
        }
        let targets = collate_targets(&examples, job.device)?;
        let count = f64::try_from(targets.weights.sum(Kind::Double))?;
        let losses = model.losses(&model.features(&visual, false), &targets, false);
        loss += f64::try_from(losses.token)? * count;
        tokens += count;
    }
    let bleu4 = bleu(&generated, &references)[3];
    let f1 = label_f1(&pairs, &MICRO, None).f1;
    let score = match job.config.selection {
        Selection::Mean => 0.5 * (bleu4 + f1),
        Selection::Bleu4 => bleu4,
        Selection::LabelF1 => f1,
    };
    Ok(ReportScore { score, token_loss: loss / f64::max(tokens, 1.0) })
}
