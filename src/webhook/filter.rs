//! Conditions on what is sent (webhooks.md, "Event types"): a webhook gets an event only where all of its
//! filters hold. A filter is a path into the message's `data`, a comparison, and a value.

use crate::error::{Error, Result};
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A webhook has at most this many filters.
pub const MAX_FILTERS: usize = 20;
/// A filter has at most this many characters.
const MAX_FILTER_CHARS: usize = 500;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    Contains,
    Exists,
}

impl Comparison {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::Contains => "contains",
            Self::Exists => "exists",
        }
    }
}

/// One condition, such as `properties.plan = "pro"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    path: Box<str>,
    comparison: Comparison,
    /// `null` where the comparison needs none.
    value: Value,
}

impl Filter {
    /// Whether it holds of a message's `data`. What is not there is equal to nothing.
    pub fn matches(&self, data: &Value) -> bool {
        let mut found = Some(data);
        for name in self.path.split('.') {
            found = match found {
                Some(Value::Object(fields)) => fields.get(name),
                Some(Value::Array(items)) => name.parse().ok().and_then(|n: usize| items.get(n)),
                _ => None,
            };
        }
        let Some(found) = found else {
            return self.comparison == Comparison::NotEqual;
        };
        match self.comparison {
            Comparison::Exists => true,
            Comparison::Equal => is_equal(found, &self.value),
            Comparison::NotEqual => !is_equal(found, &self.value),
            Comparison::Less => order(found, &self.value) == Some(Ordering::Less),
            Comparison::Greater => order(found, &self.value) == Some(Ordering::Greater),
            Comparison::Contains => match (found, &self.value) {
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                (Value::Array(items), value) => items.iter().any(|item| is_equal(item, value)),
                _ => false,
            },
        }
    }
}

fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        // 1 and 1.0 are the same number.
        (Value::Number(_), Value::Number(_)) => order(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// Numbers by their value, and strings by their characters, so that RFC 3339 times compare as well.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        _ => None,
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.comparison.as_str())?;
        match self.comparison {
            Comparison::Exists => Ok(()),
            _ => write!(f, " {}", self.value),
        }
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let refuse = |detail: &str| Err(Error::field("/filter", "invalid_filter", detail));
        let too_much =
            "A filter has at most 500 characters on one line; in a text, \" and \\ count twice.";
        if !fits(text) {
            return refuse(too_much);
        }
        let Some((path, comparison, value)) = parts(text) else {
            return refuse(
                "Write a field, a comparison (=, !=, <, >, contains, exists) and a value, such as properties.plan = \"pro\".",
            );
        };
        if path.is_empty() || path.split('.').any(str::is_empty) {
            return refuse(
                "Begin with a field of the message's data, such as properties.plan or userId.",
            );
        }
        let value = match (comparison, value) {
            (Comparison::Exists, "") => Value::Null,
            (Comparison::Exists, _) => return refuse("exists takes no value."),
            (_, "") => return refuse("Write the value to compare with, such as \"pro\" or 10."),
            // A word without quotes is a text, too.
            (_, value) => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
        };
        if matches!(comparison, Comparison::Less | Comparison::Greater)
            && !matches!(value, Value::Number(_) | Value::String(_))
        {
            return refuse("< and > compare with a number or a text.");
        }
        let filter = Self {
            path: path.into(),
            comparison,
            value,
        };
        // It is kept as it is written out, with quotes and escapes, and must read back.
        if !fits(&filter.to_string()) {
            return refuse(too_much);
        }
        Ok(filter)
    }
}

/// Whether a text is short enough, and on one line.
fn fits(text: &str) -> bool {
    text.chars().count() <= MAX_FILTER_CHARS && !text.chars().any(char::is_control)
}

/// The field, the first comparison in the text, and what follows it. What other languages have (`<=`, `==`)
/// is none: it would otherwise be a comparison with a text that begins with `=`, which never holds.
fn parts(text: &str) -> Option<(&str, Comparison, &str)> {
    if let Some(path) = text.strip_suffix(" exists") {
        return Some((path.trim(), Comparison::Exists, ""));
    }
    const SIGNS: [(&str, Comparison); 5] = [
        ("!=", Comparison::NotEqual),
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        (" contains ", Comparison::Contains),
    ];
    let found = SIGNS.iter().filter_map(|(sign, comparison)| {
        let at = text.find(sign)?;
        Some((at, *sign, *comparison))
    });
    // `!=` stands one place before its own `=`.
    let (at, sign, comparison) = found.min_by_key(|(at, ..)| *at)?;
    let (path, rest) = text.split_at_checked(at)?;
    let value = rest.strip_prefix(sign)?;
    (!value.starts_with('=')).then(|| (path.trim(), comparison, value.trim()))
}

/// Filters, in the order given; empty lines are passed over.
///
/// # Errors
/// Names the field `filter` with its place.
pub(super) fn check(texts: &[String]) -> Result<Vec<Filter>> {
    let mut filters = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let filter: Filter = text.parse().map_err(|e: Error| {
            let detail = e.message().to_owned();
            Error::field(format!("/filter/{index}"), "invalid_filter", detail)
        })?;
        if !filters.contains(&filter) {
            filters.push(filter);
        }
    }
    if filters.len() > MAX_FILTERS {
        let detail = format!("A webhook has at most {MAX_FILTERS} filters.");
        return Err(Error::field("/filter", "too_many", detail));
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(filter: &str) -> bool {
        let data = json!({
            "userId": "u1",
            "properties": {"plan": "pro", "seats": 12, "tags": ["a", "b"], "at": "2026-01-02", "none": null,
                "Plan Name": "x=y", "price": 1.0},
        });
        filter.parse::<Filter>().unwrap().matches(&data)
    }

    #[test]
    fn a_filter_compares_a_field_of_the_data() {
        for right in [
            "properties.plan = \"pro\"",
            "properties.plan=pro",
            "properties.plan != free",
            "properties.missing != free",
            "properties.seats > 10",
            "properties.seats < 12.5",
            "properties.price = 1",
            "properties.tags contains b",
            "properties.tags.0 = a",
            "properties.plan contains ro",
            "properties.at > \"2026-01-01\"",
            "properties.none exists",
            "properties.none = null",
            "properties.Plan Name = x=y",
            "userId exists",
        ] {
            assert!(holds(right), "{right}");
        }
        for wrong in [
            "properties.plan = Pro",
            "properties.plan != pro",
            "properties.missing = null",
            "properties.missing exists",
            "properties.missing > 1",
            "properties.seats > 12",
            "properties.seats = \"12\"",
            "properties.plan > 1",
            "properties.plan.deeper exists",
            "properties.tags contains c",
        ] {
            assert!(!holds(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for wrong in [
            "",
            "plan",
            "= 1",
            "a..b = 1",
            "a =",
            "a exists b",
            "a > true",
            "a <= 1",
            "a >= 1",
            "a == 1",
            "a !== 1",
            "a = 1\n",
        ] {
            let texts = ["userId exists".to_owned(), format!("{wrong}\t ")];
            if wrong.is_empty() {
                assert_eq!(check(&texts).unwrap().len(), 1);
                continue;
            }
            let outcome = wrong.parse::<Filter>();
            assert!(outcome.is_err() || wrong.ends_with('\n'), "{wrong:?}");
        }
        let texts = ["".to_owned(), "plan".to_owned()];
        let refusal = check(&texts).unwrap_err();
        assert_eq!(refusal.field_errors()[0].pointer, "/filter/1");
    }

    #[test]
    fn a_filter_reads_back_as_itself() {
        for text in [
            "a.b = \"x y\"",
            "a exists",
            "a > 1.5",
            "a contains \"=\"",
            "a != null",
        ] {
            let filter: Filter = text.parse().unwrap();
            assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
        }
    }

    /// One that did not would take its webhook, and the list that it stands in, with it.
    #[test]
    fn what_could_not_be_read_back_is_refused() {
        for wrong in [
            format!("a = {}", "x".repeat(MAX_FILTER_CHARS - 4)),
            format!("a = x{}", "\"".repeat(300)),
            r#"a = "\u0085""#.to_owned(),
            r#"a = "\u007f""#.to_owned(),
        ] {
            let refusal = wrong.parse::<Filter>().unwrap_err();
            assert_eq!(refusal.code(), "invalid_filter", "{wrong}");
        }
        let longest = format!("a = {}", "x".repeat(MAX_FILTER_CHARS - 6));
        let longest: Filter = longest.parse().unwrap();
        assert_eq!(longest.to_string().parse::<Filter>().unwrap(), longest);
    }
}
