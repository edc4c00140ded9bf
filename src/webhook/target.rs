//! Where a webhook sends: its URL, and the credentials that stood in it.

use crate::error::{Error, Result};
use percent_encoding::percent_decode_str;
use std::fmt;
use url::{Host, Url};

/// An endpoint URL has at most this many bytes.
pub const MAX_URL_BYTES: usize = 2_048;

/// A user name and a password for HTTP basic authentication; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(String);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// What stands before and after the first colon.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    /// `user:password`, as it is sealed and sent in base64.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// What stands after the first colon.
    pub fn password(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, password)| password)
    }
}

/// An endpoint URL that could be dialled, and the credentials that stood in it: they go into a header and
/// are never shown.
///
/// # Errors
/// Names the field `url`.
pub(super) fn check(text: &str) -> Result<(Url, Option<Credentials>)> {
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
    let Ok(mut url) = Url::parse(text) else {
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
    // The URL standard lets more through than a request can be sent to.
    if let Some(Host::Domain(name)) = url.host()
        && !name.bytes().all(is_of_a_name)
    {
        return refuse(
            "invalid_url",
            "The name of a server has letters, digits, hyphens and dots only.",
        );
    }
    let credentials = match credentials(&url) {
        Ok(credentials) => credentials,
        Err(detail) => return refuse("invalid_credentials", detail),
    };
    // It has a host, so neither is refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok((url, credentials))
}

/// Whether a byte may stand in a host's name; those outside ASCII are encoded by now.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// Refuses a URL that is not https:, for a box that sends to nothing else. What is no URL at all is for
/// the check of the whole to refuse.
///
/// # Errors
/// Names the field `url`, and the switch.
pub fn must_be_https(text: &str) -> Result<()> {
    match Url::parse(text.trim()) {
        Ok(url) if url.scheme() == "http" => Err(Error::field(
            "/url",
            "insecure_url",
            "This box sends to https: URLs only (--require-https). Write the URL with https:, or start the box without that switch.",
        )),
        _ => Ok(()),
    }
}

fn credentials(url: &Url) -> std::result::Result<Option<Credentials>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |part: &str| percent_decode_str(part).decode_utf8().map(String::from);
    let (Ok(user), Ok(password)) = (
        decoded(url.username()),
        decoded(url.password().unwrap_or("")),
    ) else {
        return Err("The user name and password in the URL must be UTF-8.");
    };
    if user.contains(':') || user.chars().chain(password.chars()).any(char::is_control) {
        return Err(
            "A user name has no colon, and neither it nor the password has control characters.",
        );
    }
    Ok(Some(Credentials(format!("{user}:{password}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_dialled_are_refused() {
        for wrong in [
            "",
            "example.com",
            "ftp://example.com",
            "javascript:alert(1)",
            "http://",
            "file:///etc/passwd",
            "https://a%3Ab:c@example.com",
            "https://a:b%0a@example.com",
            "https://a{b}.example.com",
            "https://a\"b.example.com",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(check("https://b\u{fc}cher.example_1.com").is_ok());
        assert!(check(" http://127.0.0.1:9000/hooks?x=1 ").is_ok());
    }

    #[test]
    fn a_box_that_sends_to_https_only_refuses_http_in_any_spelling() {
        for plain in [
            "http://example.com",
            " HTTP://example.com/x ",
            "http:example.com",
        ] {
            assert_eq!(must_be_https(plain).unwrap_err().code(), "insecure_url");
        }
        for other in ["https://example.com/", "nothing", ""] {
            assert!(must_be_https(other).is_ok(), "{other}");
        }
    }

    #[test]
    fn credentials_leave_the_url() {
        let (url, credentials) = check("https://u%40x:p%3Aw@example.com/hook").unwrap();
        assert_eq!(url.as_str(), "https://example.com/hook");
        assert_eq!(credentials.unwrap().as_text(), "u@x:p:w");
        assert_eq!(check("https://example.com").unwrap().1, None);
    }
}
