//! A positive number, or the word for no limit (`"off"`, `"all"`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IntoDeserializer, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number above 0, or a word: `all` where `ALL`, else `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberOr<T, const ALL: bool>(Option<T>);

/// A number above 0, or `off`.
pub type NumberOrOff<T> = NumberOr<T, false>;
/// A number above 0, or `all`.
pub type NumberOrAll<T> = NumberOr<T, true>;

const fn word(all: bool) -> &'static str {
    if all { "all" } else { "off" }
}

impl<T: Copy + Default, const ALL: bool> NumberOr<T, ALL> {
    /// The number; 0 for the word.
    pub fn or_zero(self) -> T {
        self.0.unwrap_or_default()
    }
}

impl<T: Serialize, const ALL: bool> Serialize for NumberOr<T, ALL> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(number) => number.serialize(serializer),
            None => serializer.serialize_str(word(ALL)),
        }
    }
}

impl<'de, T: Deserialize<'de>, const ALL: bool> Deserialize<'de> for NumberOr<T, ALL> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrVisitor(PhantomData))
    }
}

struct NumberOrVisitor<T, const ALL: bool>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const ALL: bool> NumberOrVisitor<T, ALL> {
    fn positive<E: Error>(
        self,
        number: impl IntoDeserializer<'de, E>,
        is_positive: bool,
        found: Unexpected<'_>,
    ) -> Result<NumberOr<T, ALL>, E> {
        if is_positive {
            T::deserialize(number.into_deserializer()).map(|number| NumberOr(Some(number)))
        } else {
            Err(E::invalid_value(found, &self))
        }
    }
}

impl<'de, T: Deserialize<'de>, const ALL: bool> Visitor<'de> for NumberOrVisitor<T, ALL> {
    type Value = NumberOr<T, ALL>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number above 0 or \"{}\"", word(ALL))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == word(ALL) { Ok(NumberOr(None)) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.positive(number, number > 0, Unexpected::Signed(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.positive(number, number > 0, Unexpected::Unsigned(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        self.positive(number, number > 0.0, Unexpected::Float(number))
    }
}

/// A score from 0 to 1, or `by_class`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreOrByClass(Option<f64>);

impl ScoreOrByClass {
    /// The score; `None` for the word.
    pub fn score(self) -> Option<f64> {
        self.0
    }
}

impl Serialize for ScoreOrByClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(score) => serializer.serialize_f64(score),
            None => serializer.serialize_str("by_class"),
        }
    }
}

impl<'de> Deserialize<'de> for ScoreOrByClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScoreVisitor;
        impl Visitor<'_> for ScoreVisitor {
            type Value = ScoreOrByClass;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a score from 0 to 1 or \"by_class\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "by_class" => Ok(ScoreOrByClass(None)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(ScoreOrByClass(Some(number as f64)))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(ScoreOrByClass(Some(number as f64)))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(ScoreOrByClass(Some(number)))
            }
        }
        deserializer.deserialize_any(ScoreVisitor)
    }
}

/// A learning-rate schedule: `cosine`, or the steps at which the rate is multiplied by 0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CosineOrSteps {
    /// Half a cosine.
    Cosine,
    /// The steps; none for a constant rate.
    Steps(Vec<i64>),
}

impl Serialize for CosineOrSteps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Cosine => serializer.serialize_str("cosine"),
            Self::Steps(steps) => steps.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CosineOrSteps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScheduleVisitor;
        impl<'de> Visitor<'de> for ScheduleVisitor {
            type Value = CosineOrSteps;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"cosine\" or a list of steps, such as [8000]")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "cosine" => Ok(CosineOrSteps::Cosine),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, steps: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(steps)).map(CosineOrSteps::Steps)
            }
        }
        deserializer.deserialize_any(ScheduleVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_and_words_are_read_and_written() {
        assert_eq!(read::<NumberOrAll<usize>>("3").unwrap().or_zero(), 3);
        assert_eq!(read::<NumberOrAll<usize>>("\"all\"").unwrap().or_zero(), 0);
        assert_eq!(read::<NumberOrOff<f64>>("10").unwrap().or_zero(), 10.0);
        assert_eq!(read::<NumberOrOff<f64>>("\"off\"").unwrap().or_zero(), 0.0);
        assert_eq!(serde_json::to_string(&NumberOr::<f64, false>(None)).unwrap(), "\"off\"");
        assert_eq!(serde_json::to_string(&NumberOr::<usize, true>(Some(2))).unwrap(), "2");
        assert_eq!(read::<CosineOrSteps>("[1, 2]").unwrap(), CosineOrSteps::Steps(vec![1, 2]));
        assert_eq!(serde_json::to_string(&CosineOrSteps::Cosine).unwrap(), "\"cosine\"");
        for (text, score) in [("0.5", Some(0.5)), ("0", Some(0.0)), ("\"by_class\"", None)] {
            assert_eq!(read::<ScoreOrByClass>(text).unwrap().score(), score);
        }
        assert_eq!(serde_json::to_string(&ScoreOrByClass(None)).unwrap(), "\"by_class\"");
    }

    #[test]
    fn errors_name_the_word() {
        for wrong in ["0", "-1", "\"all\"", "true"] {
            let error = read::<NumberOrOff<f64>>(wrong).unwrap_err();
            assert!(error.contains("a number above 0 or \"off\""), "{error}");
        }
        assert!(read::<NumberOrAll<usize>>("0.5").is_err());
        assert!(read::<NumberOrAll<usize>>("-2").unwrap_err().contains("or \"all\""));
        assert!(read::<ScoreOrByClass>("\"off\"").unwrap_err().contains("from 0 to 1 or \"by_class\""));
        assert!(read::<CosineOrSteps>("\"linear\"").unwrap_err().contains("\"cosine\" or a list of steps"));
    }
}
