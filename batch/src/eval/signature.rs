//! Signatures: how a figure was computed, in one line, so that two figures are compared only when they may be.

/// `metric|key:value|..|d2r:version`, for instance `bleu4|ref:full|tok:space|d2r:0.1.0`.
pub fn signature(metric: &str, parts: &[(&str, &str)]) -> String {
    let mut line = metric.to_owned();
    for (key, value) in parts {
        line.push_str(&format!("|{key}:{value}"));
    }
    line + "|d2r:" + env!("CARGO_PKG_VERSION")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_order_and_the_version_last() {
        let expected = format!("bleu4|ref:full|tok:space|d2r:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(signature("bleu4", &[("ref", "full"), ("tok", "space")]), expected);
    }
}
