//! Elements one by one, numbers as text, words that JSON lacks.

use super::*;

struct Pair(String, Option<f64>);

impl Entry for Pair {
    fn parse(fields: &Fields) -> Result<Self, String> {
        Ok(Self(fields.needed_id("id")?, fields.number("n")?))
    }
}

#[derive(Deserialize)]
struct Doc {
    #[serde(default)]
    list: Section<Pair>,
}

type Listed = Vec<Result<(String, Option<f64>), BadEntry>>;

fn list(json: &str) -> Result<Option<Listed>, &'static str> {
    let doc: Doc = serde_json::from_str(json).unwrap();
    doc.list.into_list().map(|l| l.map(|l| l.into_iter().map(|e| e.map(|p| (p.0, p.1))).collect()))
}

#[test]
fn a_message_does_not_repeat_the_text_of_the_file() {
    let error = serde_json::from_str::<Vec<u8>>(r#""FINDINGS: Mr \"X\" has""#).unwrap_err().to_string();
    assert!(error.contains("Mr"), "{error}");
    let shown = without_values(&error);
    assert!(!shown.contains("Mr") && shown.contains("expected a sequence"), "{shown}");
    assert_eq!(without_values("missing field `x`"), "missing field `x`");
}

#[test]
fn elements_are_parsed_one_by_one() {
    let all = list(r#"{"list": [{"id": 1, "n": "2.5"}, {"id": "x"}, {"id": 2.0, "n": []}, {"n": 1}, null, 7]}"#);
    let all = all.unwrap().unwrap();
    assert_eq!(all[0], Ok(("1".into(), Some(2.5))));
    assert_eq!(all[1], Ok(("x".into(), None)));
    let bad = all[2].as_ref().unwrap_err();
    assert_eq!((bad.id.as_deref(), bad.problem.as_str()), (Some("2"), "`n` is a list; a number is needed"));
    assert_eq!(all[3].as_ref().unwrap_err().problem, "`id` is absent; a number or text is needed");
    assert_eq!(all[4].as_ref().unwrap_err().problem, "is null; an object is needed");
    assert_eq!(all.len(), 6);
}

#[test]
fn a_byte_order_mark_and_pythons_nan_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    let read = |text: &[u8]| {
        std::fs::write(&path, text).unwrap();
        read_json::<Value>(&path, "a test file")
    };
    assert_eq!(read("\u{feff}{\"a\": 1}".as_bytes()).unwrap()["a"], 1);
    let nan = read(br#"{"a": [NaN, -Infinity, "NaN \" Infinity"], "b": 2}"#).unwrap();
    assert_eq!(nan, serde_json::json!({"a": [null, null, "NaN \" Infinity"], "b": 2}));
    let error = read(b"{\"a\": NaN").unwrap_err();
    assert_eq!(error.exit().code(), 65);
    assert!(error.to_string().contains("not a test file"), "{error}");
    assert_eq!(read_json::<Value>(&dir.path().join("y.json"), "a test file").unwrap_err().exit().code(), 66);
}

#[test]
fn what_stands_in_a_lists_place() {
    assert_eq!(list("{}"), Ok(None));
    assert_eq!(list(r#"{"list": null}"#), Ok(None));
    assert_eq!(list(r#"{"list": {"a": {"b": [1]}}}"#), Err("an object"));
    for (json, kind) in
        [("\"x\"", "text"), ("1", "a number"), ("-1", "a number"), ("1.5", "a number"), ("true", "a truth value")]
    {
        assert_eq!(list(&format!("{{\"list\": {json}}}")), Err(kind));
    }
}

#[test]
fn ids_join_however_they_are_written() {
    let of = |json: &str| {
        let value: Value = serde_json::from_str(json).unwrap();
        Fields(value.as_object().unwrap()).id("id")
    };
    for json in [r#"{"id": 7}"#, r#"{"id": 7.0}"#, r#"{"id": "7"}"#, r#"{"id": " 7.0 "}"#] {
        assert_eq!(of(json), Ok(Some("7".into())), "{json}");
    }
    assert_eq!(of(r#"{"id": "1.2.840.10"}"#), Ok(Some("1.2.840.10".into())));
    assert_eq!(of(r#"{"id": 18446744073709551615}"#), Ok(Some("18446744073709551615".into())));
    assert_eq!(of(r#"{"id": null}"#), Ok(None));
    assert!(of(r#"{"id": [1]}"#).is_err());
}

#[test]
fn truth_values_of_all_kinds() {
    for yes in ["1", "true", "\"1\"", "\"yes\"", "2", "[]"] {
        assert!(is_true(Some(&serde_json::from_str(yes).unwrap())), "{yes}");
    }
    for no in ["0", "false", "null", "\"0\"", "\"\"", "0.0", "\"False\""] {
        assert!(!is_true(Some(&serde_json::from_str(no).unwrap())), "{no}");
    }
    assert!(!is_true(None));
}
