//! Headers of people's own that go with each request (webhooks.md, "On the wire"; promise 28).

use crate::error::{Error, Result};
use std::fmt;

/// A webhook has at most this many headers of its own.
pub const MAX_HEADERS: usize = 20;
/// A header's name has at most this many characters.
const MAX_NAME_CHARS: usize = 100;
/// A header's value has at most this many bytes.
const MAX_VALUE_BYTES: usize = 4_096;

/// What the request itself needs, or what a proxy on the way would act on.
const RESERVED: [&str; 22] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
];
/// What begins like this is the signature's, or a proxy's.
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "x-forwarded-", "sec-"];
/// Words in a name that say that the value is a secret.
const SECRET_WORDS: [&str; 12] = [
    "auth",
    "token",
    "secret",
    "key",
    "passw",
    "passphrase",
    "pwd",
    "credential",
    "session",
    "bearer",
    "jwt",
    "signature",
];

/// A header of a person's own. Its value may be a secret, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomHeader {
    /// In lower case.
    pub name: String,
    /// Visible ASCII, blanks and tabs.
    pub value: String,
}

impl fmt::Debug for CustomHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomHeader({}: …)", self.name)
    }
}

/// Whether a header of this name (in lower case) holds a secret, as far as its name says: its value is
/// sealed in any case, and shown nowhere then.
pub fn is_secret_header(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Headers that may go with a request, in the order given. Pairs without a name and a value are passed over.
///
/// # Errors
/// Names the field `header` with its place.
pub(super) fn check(pairs: &[(String, String)]) -> Result<Vec<CustomHeader>> {
    let mut headers: Vec<CustomHeader> = Vec::new();
    for (index, (name, value)) in pairs.iter().enumerate() {
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim_matches(' '));
        if name.is_empty() && value.is_empty() {
            continue;
        }
        let refuse =
            |code, detail: String| Err(Error::field(format!("/header/{index}"), code, detail));
        if let Some(why) = wrong_name(&name) {
            return refuse("invalid_header_name", why);
        }
        if RESERVED.contains(&name.as_str())
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
        {
            return refuse(
                "reserved_header",
                format!(
                    "{name} is set by the box or acted on by proxies; choose another name, such as x-{name}."
                ),
            );
        }
        if value.len() > MAX_VALUE_BYTES {
            let detail = format!("The value of {name} has more than {MAX_VALUE_BYTES} bytes.");
            return refuse("too_long", detail);
        }
        // CR, LF and NUL above all: they would begin a header, or a request, of their own.
        if !value
            .bytes()
            .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
        {
            return refuse(
                "invalid_header_value",
                format!(
                    "The value of {name} has a line break, a control character or something outside ASCII."
                ),
            );
        }
        if headers.iter().any(|known| known.name == name) {
            return refuse(
                "repeated_header",
                format!("{name} is there twice; keep one of them."),
            );
        }
        let value = value.to_owned();
        headers.push(CustomHeader { name, value });
    }
    if headers.len() > MAX_HEADERS {
        let detail = format!("A webhook has at most {MAX_HEADERS} headers of its own.");
        return Err(Error::field("/header", "too_many", detail));
    }
    Ok(headers)
}

fn wrong_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("Give the header a name.".to_owned());
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.len() > MAX_NAME_CHARS || !name.bytes().all(is_token) {
        return Some(format!(
            "A header's name has letters, digits and hyphens, at most {MAX_NAME_CHARS} of them."
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<Vec<CustomHeader>> {
        check(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn what_would_change_the_request_is_refused() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "webhook-id",
            "Webhook-Signature",
            "X-Forwarded-Host",
            "te",
        ] {
            assert_eq!(
                one(name, "x").unwrap_err().code(),
                "reserved_header",
                "{name}"
            );
        }
        for (name, value) in [
            ("x-a", "b\r\nx-c: d"),
            ("x-a", "b\nc"),
            ("x-a", "b\0"),
            ("x-a", "\u{e9}"),
            ("x-a", "b\u{7f}"),
        ] {
            assert_eq!(one(name, value).unwrap_err().code(), "invalid_header_value");
        }
        for name in ["x a", "x:a", "x\r\na", "", "\u{e9}"] {
            assert_eq!(
                one(name, "x").unwrap_err().code(),
                "invalid_header_name",
                "{name:?}"
            );
        }
    }

    #[test]
    fn the_rest_is_taken_in_lower_case_and_once() {
        let headers = one(" X-Team ", "payments ").unwrap();
        assert_eq!(
            (&*headers[0].name, &*headers[0].value),
            ("x-team", "payments")
        );
        assert!(one("", "").unwrap().is_empty());
        let twice = [("a", "1"), ("A", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(check(&twice).unwrap_err().code(), "repeated_header");
        let many: Vec<_> = (0..21)
            .map(|n| (format!("x-{n}"), "v".to_owned()))
            .collect();
        assert_eq!(check(&many).unwrap_err().code(), "too_many");
    }

    #[test]
    fn a_name_says_whether_its_value_is_a_secret() {
        for name in [
            "authorization",
            "x-api-key",
            "x-auth-token",
            "x-hub-secret",
            "x-hub-signature",
            "x-passwd",
            "x-user-pwd",
            "x-jwt",
        ] {
            assert!(is_secret_header(name), "{name}");
        }
        assert!(!is_secret_header("x-team"));
    }
}
