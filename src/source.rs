//! What people may say of a source: the web origins that may post as it, and what the payment provider
//! signs with. Pure.

use crate::error::{Error, FieldError, Result};
use url::Url;

/// A source lists at most this many origins.
pub const MAX_ORIGINS: usize = 50;
/// The word in a source's list that lets every origin in.
pub const ANY_ORIGIN: &str = "*";
const MAX_STRIPE_SECRET_BYTES: usize = 255;
const STRIPE_SECRET_PREFIX: &str = "whsec_";

/// The origins in the form in which browsers write them, each once; blank ones are left out.
///
/// # Errors
/// Names the field `origin`, with every line that is none.
pub fn check_origins(lines: &[String]) -> Result<Vec<String>> {
    let mut origins: Vec<String> = Vec::new();
    let mut refused = Vec::new();
    for line in lines.iter().map(|line| line.trim()) {
        match origin(line) {
            _ if line.is_empty() => {}
            Some(origin) if origins.contains(&origin) => {}
            Some(origin) => origins.push(origin),
            None => refused.push(line),
        }
    }
    let refusal = |code, detail| {
        Err(Error::fields(vec![FieldError {
            pointer: "/origin".to_owned(),
            code,
            detail,
        }]))
    };
    if let Some(first) = refused.first() {
        let start: String = first.chars().take(80).collect();
        return refusal(
            "invalid_origin",
            format!(
                "\"{start}\" is no web origin; write scheme and host, such as https://shop.example, or * for every origin."
            ),
        );
    }
    if origins.len() > MAX_ORIGINS {
        let detail =
            format!("A source lists at most {MAX_ORIGINS} origins; * lets every origin in.");
        return refusal("too_many_origins", detail);
    }
    Ok(origins)
}

/// One origin, as a browser writes it; a slash at its end is forgiven.
fn origin(text: &str) -> Option<String> {
    if text == ANY_ORIGIN {
        return Some(text.to_owned());
    }
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let names_one_host = url.host_str().is_some_and(|host| !host.contains('*'));
    (is_bare && names_one_host && matches!(url.scheme(), "http" | "https"))
        .then(|| url.origin().ascii_serialization())
}

/// A signing secret of Stripe's.
///
/// # Errors
/// Names the field `stripe_secret`.
pub fn check_stripe_secret(text: &str) -> Result<&str> {
    let secret = text.trim();
    let is_one = secret.len() > STRIPE_SECRET_PREFIX.len()
        && secret.len() <= MAX_STRIPE_SECRET_BYTES
        && secret.starts_with(STRIPE_SECRET_PREFIX)
        && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one {
        return Ok(secret);
    }
    Err(Error::field(
        "/stripe_secret",
        "invalid_stripe_secret",
        "This is no signing secret of Stripe's: it begins with whsec_. Stripe shows it on the endpoint's page.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(lines: &str) -> Result<Vec<String>> {
        check_origins(&lines.split('\n').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn origins_are_kept_as_browsers_write_them() {
        let kept = origins(
            " https://Shop.Example/ \n\nhttp://localhost:3000\r\nhttps://shop.example:443\n*\nhttps://b\u{fc}cher.example",
        );
        assert_eq!(
            kept.unwrap(),
            [
                "https://shop.example",
                "http://localhost:3000",
                "*",
                "https://xn--bcher-kva.example"
            ]
        );
        assert_eq!(origins("").unwrap(), [""; 0]);
        for wrong in [
            "shop.example",
            "https://shop.example/path",
            "https://shop.example/?a",
            "https://shop.example/#a",
            "https://me@shop.example",
            "https://*.shop.example",
            "ftp://shop.example",
            "null",
            "https://",
            "file:///etc",
        ] {
            assert_eq!(
                origins(wrong).unwrap_err().code(),
                "invalid_origin",
                "{wrong}"
            );
        }
        let many: Vec<_> = (0..51).map(|n| format!("https://{n}.example")).collect();
        assert_eq!(check_origins(&many).unwrap_err().code(), "too_many_origins");
        assert_eq!(check_origins(&many[..50]).unwrap().len(), 50);
    }

    #[test]
    fn a_stripe_secret_is_known_by_its_beginning() {
        assert_eq!(check_stripe_secret(" whsec_abc ").unwrap(), "whsec_abc");
        for wrong in ["", "whsec_", "sk_live_abc", "whsec_a b", "whsec_\u{e9}"] {
            assert!(check_stripe_secret(wrong).is_err(), "{wrong}");
        }
        assert!(check_stripe_secret(&format!("whsec_{}", "a".repeat(250))).is_err());
    }
}
