//! ROUGE-L as the COCO caption evaluation computes it (Lin 2004): longest common subsequence of words split
//! at single blanks, best precision and best recall over the references taken apart, beta 1.2, mean over pairs.

const BETA_SQUARED: f64 = 1.2 * 1.2;

/// Length of the longest common subsequence.
fn common_subsequence(a: &[&str], b: &[&str]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// ROUGE-L of one hypothesis, 0 to 1; 0 without references. An empty string is one empty word.
pub fn rouge_l_one(hypothesis: &str, references: &[String]) -> f64 {
    let words: Vec<&str> = hypothesis.split(' ').collect();
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    for reference in references {
        let other: Vec<&str> = reference.split(' ').collect();
        let common = common_subsequence(&words, &other) as f64;
        precision = precision.max(common / words.len() as f64);
        recall = recall.max(common / other.len() as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA_SQUARED) * precision * recall / (recall + BETA_SQUARED * precision)
}

/// Mean ROUGE-L; 0 for an empty set.
pub fn rouge_l(hypotheses: &[String], references: &[Vec<String>]) -> f64 {
    let scores: Vec<f64> = hypotheses.iter().zip(references).map(|(h, r)| rouge_l_one(h, r)).collect();
    if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 }
}
