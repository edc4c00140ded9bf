//! The JSON rules that hold before any dialect looks at a body (wire.md, "Errors"): valid UTF-8,
//! bounded depth, no lone surrogates, no number that overflows, each refusal with its byte offset.
//! Knows no dialect.

use crate::error::{Error, Kind};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// Objects and arrays may nest this deep.
pub const MAX_DEPTH: usize = 64;
/// A number without an exponent overflows an IEEE double only past this many digits.
const MAX_PLAIN_NUMBER_LEN: usize = 300;

/// Where and why a text is not acceptable JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable machine-readable reason.
    pub code: &'static str,
    /// The byte at which it shows, from the start of what was looked at.
    pub offset: usize,
    /// What is wrong there.
    pub what: String,
}

impl From<Fault> for Error {
    fn from(Fault { code, offset, what }: Fault) -> Self {
        let message = format!(
            "The body is not acceptable JSON at byte {offset}: {what}. Nothing was stored."
        );
        Self::new(Kind::Malformed, code, message).with_offset(offset)
    }
}

/// Checks what the grammar alone does not, and returns the body as text.
///
/// # Errors
/// [`Kind::Malformed`] with the byte offset in its message.
pub fn check(body: &[u8]) -> Result<&str, Error> {
    Ok(scan(body)?)
}

/// [`check`] for a part of a body, whose place the caller knows.
///
/// # Errors
/// The first [`Fault`].
pub fn scan(body: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(body)
        .map_err(|e| malformed("invalid_utf8", e.valid_up_to(), "the bytes are not UTF-8"))?;
    let mut depth = 0usize;
    let mut at = 0usize;
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => at = skip_string(body, at)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(malformed(
                        "too_deep",
                        at,
                        "objects and arrays nest deeper than 64",
                    ));
                }
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => at = skip_number(text, at)?,
            _ => at += 1,
        }
    }
    Ok(text)
}

/// Reads `text` as `T`, turning a grammar error into a refusal with its byte offset.
///
/// # Errors
/// [`Kind::Malformed`].
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    Ok(parse(text)?)
}

/// [`read`] for a part of a body, whose place the caller knows.
///
/// # Errors
/// The [`Fault`] of the grammar.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| {
        // serde_json appends its own line and column; the offset says it better for one-line bodies.
        let full = e.to_string();
        let what = full.split(" at line ").next().unwrap_or(&full);
        malformed("invalid_json", offset_of(text, e.line(), e.column()), what)
    })
}

/// Reads an owned `T` out of a value that [`check`] has passed; `None` when it is of another type.
pub fn value<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// What is read out of an object or an array, whichever of the two it overrides.
pub trait FromContainer<'de>: Sized {
    /// Reads the members of an object; `None` when no object belongs here.
    ///
    /// # Errors
    /// What the grammar refuses.
    fn from_object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        IgnoredAny.visit_map(object).map(|_| None)
    }

    /// Reads the items of an array; `None` when no array belongs here.
    ///
    /// # Errors
    /// What the grammar refuses.
    fn from_array<A: SeqAccess<'de>>(array: A) -> Result<Option<Self>, A::Error> {
        IgnoredAny.visit_seq(array).map(|_| None)
    }
}

/// A place where a `T` belongs; `None` when something else stands there, so that a dialect can refuse
/// it by name. Read in one pass, unlike a raw value that is looked at afterwards.
#[derive(Debug)]
pub struct Place<T>(pub Option<T>);

impl<'de, T: FromContainer<'de>> Deserialize<'de> for Place<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(PlaceVisitor(PhantomData))
            .map(Self)
    }
}

struct PlaceVisitor<T>(PhantomData<T>);

impl<'de, T: FromContainer<'de>> Visitor<'de> for PlaceVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::from_object(object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        T::from_array(array)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

fn malformed(code: &'static str, offset: usize, what: &str) -> Fault {
    Fault {
        code,
        offset,
        what: what.to_owned(),
    }
}

fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column.saturating_sub(1)).min(text.len())
}

/// From the opening quote to behind the closing one. Escapes other than `\u` are the grammar's business.
fn skip_string(body: &[u8], open: usize) -> Result<usize, Fault> {
    let mut at = open + 1;
    loop {
        match body.get(at) {
            None => return Ok(at),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                let Some(unit) = escaped_unit(body, at) else {
                    at += 2;
                    continue;
                };
                let is_high = (0xD800..0xDC00).contains(&unit);
                let pairs = is_high
                    && escaped_unit(body, at + 6)
                        .is_some_and(|low| (0xDC00..0xE000).contains(&low));
                if (0xD800..0xE000).contains(&unit) && !pairs {
                    return Err(malformed(
                        "lone_surrogate",
                        at,
                        "half of a surrogate pair stands alone",
                    ));
                }
                at += if pairs { 12 } else { 6 };
            }
            Some(_) => at += 1,
        }
    }
}

/// The UTF-16 unit of a `\uXXXX` escape at `at`, if one stands there.
fn escaped_unit(body: &[u8], at: usize) -> Option<u16> {
    let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn skip_number(text: &str, start: usize) -> Result<usize, Fault> {
    let rest = text.get(start..).unwrap_or("");
    let len = rest
        .bytes()
        .take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        .count();
    let number = rest.get(..len).unwrap_or("");
    let could_overflow = len > MAX_PLAIN_NUMBER_LEN || number.contains(['e', 'E']);
    if could_overflow && number.parse::<f64>().is_ok_and(f64::is_infinite) {
        return Err(malformed(
            "number_out_of_range",
            start,
            "the number is larger than a double holds",
        ));
    }
    Ok(start + len.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(body: &[u8]) -> &'static str {
        match check(body).and_then(read::<&RawValue>) {
            Ok(_) => "ok",
            Err(e) => e.code(),
        }
    }

    #[test]
    fn edges_are_refused_by_name() {
        assert_eq!(code(b"{\"a\":\"\xff\"}"), "invalid_utf8");
        assert_eq!(code(br#"{"a":"\ud800"}"#), "lone_surrogate");
        assert_eq!(code(br#"{"a":"\ud800\u0041"}"#), "lone_surrogate");
        assert_eq!(code(br#"{"a":"\udc00"}"#), "lone_surrogate");
        assert_eq!(code(br#"{"a":1e999}"#), "number_out_of_range");
        assert_eq!(code(br#"{"a":1,}"#), "invalid_json");
        assert_eq!(code(b""), "invalid_json");
        assert_eq!(
            code(&[b"[".repeat(65), b"]".repeat(65)].concat()),
            "too_deep"
        );
        assert_eq!(
            code(format!("{{\"a\":1{}}}", "0".repeat(400)).as_bytes()),
            "number_out_of_range"
        );
    }

    #[test]
    fn what_is_unusual_but_right_passes() {
        assert_eq!(
            code(br#"{"a":"\ud83d\ude00","b":9007199254740993,"c":"\u0000","d":1e308}"#),
            "ok"
        );
        assert_eq!(code(&[b"[".repeat(64), b"]".repeat(64)].concat()), "ok");
        assert_eq!(code(br#"{"a":"\\ud800 [[[ \" {"}"#), "ok");
    }

    #[test]
    fn a_refusal_names_its_byte() {
        let e = check(br#"{"a":"\ud800"}"#).unwrap_err();
        assert!(e.message().contains("byte 6"), "{}", e.message());
        let e = read::<&RawValue>("{\n\"a\" 1}").unwrap_err();
        assert!(e.message().contains("byte 6"), "{}", e.message());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&body).and_then(read::<&RawValue>);
        }

        #[test]
        fn any_value_that_serde_writes_passes(text in "\\PC{0,40}", number in any::<i64>()) {
            let body = serde_json::json!({"t": text, "n": number, "l": [[text]]}).to_string();
            prop_assert!(check(body.as_bytes()).is_ok());
        }
    }
}
