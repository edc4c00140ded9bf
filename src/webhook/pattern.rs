//! Which event types a webhook wants (webhooks.md, "Event types").

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A webhook has at most this many event-type patterns.
pub const MAX_PATTERNS: usize = 100;
/// A pattern has at most this many characters.
const MAX_PATTERN_CHARS: usize = 200;

/// Families of which `*` is not a part: a webhook names them to get them. They say who a person is, who pays
/// and who may do what, which a receiver of everything that apps send was not chosen for; and one event may
/// cause several of them.
const ONLY_BY_NAME: [&str; 3] = ["profile.", "customer.", "admin."];

/// Which event types a webhook wants: an exact one, every one, or every one with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: all that apps send, and what the box says of itself (`system.`).
    Any,
    /// `tour.*`, kept without its star.
    Prefix(Box<str>),
    /// `Post Created`
    Exact(Box<str>),
}

impl Pattern {
    /// Whether an event of this type is wanted.
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Any => !ONLY_BY_NAME
                .iter()
                .any(|family| event_type.starts_with(family)),
            Self::Prefix(prefix) => event_type.starts_with(&**prefix),
            Self::Exact(exact) => event_type == &**exact,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(exact) => f.write_str(exact),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let refuse = |code, detail: String| Err(Error::field("/event", code, detail));
        if text.is_empty() {
            return refuse(
                "required",
                "Give at least one event type, or * for all.".to_owned(),
            );
        }
        if text.chars().count() > MAX_PATTERN_CHARS || text.chars().any(char::is_control) {
            return refuse(
                "invalid_pattern",
                format!(
                    "An event type has at most {MAX_PATTERN_CHARS} characters and no control characters."
                ),
            );
        }
        match text.strip_suffix('*') {
            Some("") => Ok(Self::Any),
            Some(prefix) if prefix.ends_with('.') && !prefix.contains('*') => {
                Ok(Self::Prefix(prefix.into()))
            }
            None if !text.contains('*') => Ok(Self::Exact(text.into())),
            _ => refuse(
                "invalid_pattern",
                format!(
                    "\"{text}\" is not a pattern: write a whole name, * for all, or a family such as tour.*"
                ),
            ),
        }
    }
}

/// Event-type patterns, without repeats, in the order given.
///
/// # Errors
/// Names the field `event`.
pub(super) fn check_patterns<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Pattern>> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for text in texts
        .iter()
        .map(|text| text.as_ref().trim())
        .filter(|text| !text.is_empty())
    {
        let pattern = text.parse()?;
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    if patterns.is_empty() {
        return Err(Error::field(
            "/event",
            "required",
            "Add at least one event; * stands for all of them.",
        ));
    }
    if patterns.len() > MAX_PATTERNS {
        let detail = format!(
            "A webhook takes at most {MAX_PATTERNS} events; a family such as tour.* counts as one."
        );
        return Err(Error::field("/event", "too_many", detail));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(event_type)
    }

    #[test]
    fn patterns_match_exactly_all_or_by_prefix() {
        assert!(matches("Post Created", "Post Created"));
        assert!(!matches("Post Created", "post created"));
        assert!(matches("*", "anything"));
        assert!(matches("*", "system.storage_low") && matches("*", "profiles.imported"));
        for of_people in [
            "profile.created",
            "customer.subscription_changed",
            "admin.member.added",
        ] {
            assert!(!matches("*", of_people), "{of_people} is to be named");
            assert!(matches(of_people, of_people));
        }
        assert!(matches("admin.*", "admin.member.added"));
        assert!(matches("tour.*", "tour.completed"));
        assert!(!matches("tour.*", "tour"));
        assert!(!matches("tour.*", "tourist.arrived"));
    }

    #[test]
    fn half_patterns_are_refused() {
        for wrong in ["", "tour*", "*.completed", "a.*.b", "**", "a*b", "a\n"] {
            let outcome = wrong.parse::<Pattern>();
            assert!(outcome.is_err() || wrong == "a\n", "{wrong:?}");
        }
    }

    #[test]
    fn repeats_fold_and_none_is_refused() {
        assert_eq!(check_patterns(&["a", " a ", "", "b"]).unwrap().len(), 2);
        assert!(check_patterns(&["", " "]).is_err());
    }

    proptest! {
        #[test]
        fn a_pattern_reads_back_as_itself(text in "[a-z ]{1,8}(\\.\\*)?") {
            prop_assume!(!text.trim().is_empty());
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
        }
    }
}
