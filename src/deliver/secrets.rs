//! The secrets that an endpoint's requests carry, as they would stand in its answer: a receiver that says back
//! what it was sent must not put them into the history, which more people read than may know them. Knows no
//! webhook. It finds what is there to the letter or escaped for JSON, not what was encoded in other ways.

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::fmt;

/// What is kept in place of a secret.
pub(super) const REDACTED: &str = "(redacted)";
/// A shorter secret is not looked for: it would be found everywhere.
const MIN_BYTES: usize = 6;

/// What is not to be kept of an answer.
#[derive(Default)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Those among the headers of a request, which are marked as such, and a password that one of them holds in
    /// another form.
    pub(super) fn of(headers: &[(HeaderName, HeaderValue)], password: Option<&str>) -> Self {
        let mut secrets = Self::default();
        for (name, value) in headers.iter().filter(|(_, value)| value.is_sensitive()) {
            let Ok(text) = value.to_str() else {
                continue;
            };
            secrets.add(match text.split_once(' ') {
                // The scheme is no secret, and what follows it may be said back alone.
                Some((_, rest)) if *name == AUTHORIZATION => rest,
                _ => text,
            });
        }
        password.into_iter().for_each(|text| secrets.add(text));
        // The longest first: one may be a part of another.
        secrets.0.sort_by_key(|text| std::cmp::Reverse(text.len()));
        secrets
    }

    fn add(&mut self, text: &str) {
        if text.len() < MIN_BYTES {
            return;
        }
        let quoted = serde_json::Value::from(text).to_string();
        let escaped = quoted.trim_start_matches('"');
        let escaped = escaped.strip_suffix('"').unwrap_or(escaped);
        // Some write `/` as `\/`.
        for form in [text, escaped, &escaped.replace('/', "\\/")] {
            if self.0.iter().all(|known| known != form.as_bytes()) {
                self.0.push(form.as_bytes().to_vec());
            }
        }
    }

    /// What may be kept of a part of an answer.
    pub(super) fn masked<'a>(&self, said: &'a [u8]) -> Cow<'a, [u8]> {
        let mut kept = Cow::Borrowed(said);
        for secret in &self.0 {
            if let Some(without) = without(&kept, secret) {
                kept = Cow::Owned(without);
            }
        }
        kept
    }
}

/// A text with something in its place wherever a secret was; `None` where it is not there.
fn without(said: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let find = |rest: &[u8]| rest.windows(secret.len()).position(|part| part == secret);
    let mut at = find(said)?;
    let (mut kept, mut rest) = (Vec::with_capacity(said.len()), said);
    loop {
        let (before, from) = rest.split_at(at);
        kept.extend_from_slice(before);
        kept.extend_from_slice(REDACTED.as_bytes());
        rest = from.get(secret.len()..).unwrap_or_default();
        match find(rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    kept.extend_from_slice(rest);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(headers: &[(&'static str, &'static str)], password: Option<&str>) -> Secrets {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| {
                let mut value = HeaderValue::from_static(value);
                value.set_sensitive(*name != "x-team");
                (HeaderName::from_static(name), value)
            })
            .collect();
        Secrets::of(&headers, password)
    }

    fn kept(secrets: &Secrets, said: &str) -> String {
        String::from_utf8(secrets.masked(said.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn what_is_said_back_is_masked_to_the_letter_and_escaped() {
        let secrets = secrets(
            &[
                ("authorization", "Bearer canary/1"),
                ("x-api-key", "a \"canary\""),
                ("x-team", "payments"),
            ],
            Some("canary/1+2"),
        );
        for (said, is_kept) in [
            ("", ""),
            ("payments", "payments"),
            (
                "Bearer canary/1, canary/1!",
                "Bearer (redacted), (redacted)!",
            ),
            (r#"{"k":"canary\/1"}"#, r#"{"k":"(redacted)"}"#),
            (r#"{"k":"a \"canary\""}"#, r#"{"k":"(redacted)"}"#),
            ("canary/1+2", "(redacted)"),
        ] {
            assert_eq!(kept(&secrets, said), is_kept, "{said}");
        }
        assert!(!format!("{secrets:?}").contains("canary"));
    }

    #[test]
    fn what_is_too_short_to_be_told_apart_is_left() {
        let secrets = secrets(&[("x-api-key", "ok")], Some(""));
        assert_eq!(kept(&secrets, "ok, ok"), "ok, ok");
    }
}
