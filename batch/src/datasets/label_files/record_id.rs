//! Ids of patients and studies that are numbers, as spreadsheets and data frames rewrite them: `10000032.0`,
//! `1.0000032e7`, `p10000032`, `00010000032`, `"10000032 "`.

/// The digits of a number that serves as an id, without leading zeros; `None` for anything else. `letter` is the one
/// that the dataset's folders put before it.
pub fn whole_number(text: &str, letter: char) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    let text = text.strip_prefix([letter.to_ascii_lowercase(), letter.to_ascii_uppercase()]).unwrap_or(text).trim();
    let digits = match text.split_once('.') {
        None if is_digits(text) => text.to_owned(),
        Some((whole, zeros)) if is_digits(whole) && zeros.bytes().all(|b| b == b'0') => whole.to_owned(),
        _ => whole_float(text)?,
    };
    let short = digits.trim_start_matches('0');
    Some(if short.is_empty() { "0".to_owned() } else { short.to_owned() })
}

/// The spellings that a folder may have for a number, the number's own first: MIMIC's ids have eight digits.
pub fn spellings(number: &str) -> Vec<String> {
    let padded = format!("{number:0>8}");
    if padded == number { vec![padded] } else { vec![number.to_owned(), padded] }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number in scientific notation, when it is whole and a float holds it exactly.
fn whole_float(text: &str) -> Option<String> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let shaped = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = text.parse().ok().filter(|_| shaped)?;
    ((0.0..EXACT).contains(&value) && value.fract() == 0.0).then(|| format!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_however_it_was_rewritten() {
        for text in [
            "10000032",
            "10000032.0",
            " 10000032 ",
            "p10000032",
            "P10000032",
            "p10000032.0",
            "10000032.00",
            "0010000032",
            "1.0000032e7",
            "1.0000032E+07",
            "\"10000032\"",
            "10000032.",
        ] {
            assert_eq!(whole_number(text, 'p').as_deref(), Some("10000032"), "{text}");
        }
        assert_eq!(whole_number("s50414267", 's').as_deref(), Some("50414267"));
        assert_eq!(whole_number("000", 'p').as_deref(), Some("0"));
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for text in
            ["", " ", "p", "s123", "12a", "-5", "1.5", "10000032.5", "nan", "inf", "1e400", "../1", "1e-3", ".0", "."]
        {
            assert_eq!(whole_number(text, 'p'), None, "{text}");
        }
    }

    #[test]
    fn a_short_number_may_have_lost_its_zeros() {
        assert_eq!(spellings("1234"), ["1234", "00001234"]);
        assert_eq!(spellings("10000032"), ["10000032"]);
    }
}
