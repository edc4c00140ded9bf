//! The webhook's rules: which event types it wants, what its URL and name may be, how it is
//! signed. Pure: where an address may not be dialled is `address.rs`, dialling is `deliver`.

use crate::error::{Error, Result};
use crate::id::{WebhookId, WorkspaceId};
use crate::secret::WebhookSecret;
use std::fmt;
use std::str::FromStr;
use url::Url;

/// A name has at most this many characters.
pub const MAX_NAME_CHARS: usize = 100;
/// An endpoint URL has at most this many bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// A webhook has at most this many event-type patterns.
pub const MAX_PATTERNS: usize = 100;
/// A pattern has at most this many characters.
pub const MAX_PATTERN_CHARS: usize = 200;

/// Whether a webhook sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// It sends.
    Active,
    /// A person stopped it; what it is owed is held.
    Paused,
    /// The box stopped it and says why; what it is owed is held.
    Disabled,
}

impl WebhookState {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Disabled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// The shape of the body that a webhook receives (webhooks.md, "On the wire").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `{"type","timestamp","data"}`, as Standard Webhooks suggests.
    Standard,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 1] = [Self::Standard];

    /// The word in the file, in flags and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
        }
    }

    /// The format of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// Which event types a webhook wants: an exact one, every one, or every one with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`
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
            Self::Any => true,
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

/// A webhook as the box works with it.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: Box<str>,
    /// Where it sends.
    pub url: Url,
    /// The shape of its bodies.
    pub format: Format,
    /// Whether it sends.
    pub state: WebhookState,
    /// What it wants; at least one.
    pub patterns: Vec<Pattern>,
    /// What it signs with.
    pub secret: WebhookSecret,
}

impl Webhook {
    /// Whether an event of this type is for this webhook.
    pub fn wants(&self, event_type: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(event_type))
    }
}

/// A webhook's name, trimmed.
///
/// # Errors
/// Names the field `name`.
pub fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::field(
            "/name",
            "required",
            "Give the webhook a name to recognise it by.",
        ));
    }
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let detail = format!("A name has at most {MAX_NAME_CHARS} characters on one line.");
        return Err(Error::field("/name", "too_long", detail));
    }
    Ok(name.to_owned())
}

/// An endpoint URL that could be dialled.
///
/// # Errors
/// Names the field `url`.
pub fn check_url(text: &str) -> Result<Url> {
    let refuse = |code, detail: &str| Err(Error::field("/url", code, detail));
    let text = text.trim();
    if text.is_empty() {
        return refuse(
            "required",
            "Give the URL of the server that is to receive the events.",
        );
    }
    if text.len() > MAX_URL_BYTES {
        return refuse("too_long", "The URL is longer than 2,048 bytes.");
    }
    let Ok(url) = Url::parse(text) else {
        return refuse(
            "invalid_url",
            "This is not a URL; write it whole, such as https://example.com/hooks.",
        );
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return refuse(
            "invalid_url",
            "Only http:// and https:// URLs with a host can be sent to.",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "credentials_in_url",
            "Take the user name and password out of the URL; it is shown to every member.",
        );
    }
    Ok(url)
}

/// Event-type patterns, without repeats, in the order given.
///
/// # Errors
/// Names the field `event`.
pub fn check_patterns<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Pattern>> {
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
    fn urls_that_cannot_be_dialled_are_refused() {
        for wrong in [
            "",
            "example.com",
            "ftp://example.com",
            "javascript:alert(1)",
            "http://",
            "https://u:p@example.com",
            "file:///etc/passwd",
        ] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
        assert!(check_url(" http://127.0.0.1:9000/hooks?x=1 ").is_ok());
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
