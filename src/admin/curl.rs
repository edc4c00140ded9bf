//! A delivery's request as a command, signed at the time of looking: what a receiver's developer pastes to
//! have it once more.

use crate::id::MessageId;
use crate::message;
use crate::webhook::{Webhook, is_secret_header};

/// Stands where a secret would.
const PLACEHOLDER: &str = "SECRET";
/// Headers that curl writes itself, or that are made anew.
const MADE_ANEW: [&str; 6] = [
    "host",
    "content-length",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// The command that sends `body` to the webhook as the box would at `now_ms` (Unix milliseconds). `headers` are
/// those of the last attempt, if there was one. `None` when the webhook's key cannot sign.
pub(super) fn signed(
    webhook: &Webhook,
    headers: &[(String, String)],
    id: MessageId,
    body: &[u8],
    now_ms: i64,
) -> Option<String> {
    let (id, timestamp_s) = (id.to_string(), now_ms.div_euclid(1_000));
    let mut signature = webhook.key.signer().ok()?.sign(&id, timestamp_s, body);
    if let Some(retired) = &webhook.retired_key
        && now_ms < retired.until_ms
    {
        let signer = retired.key.signer().ok()?;
        signature = format!("{signature} {}", signer.sign(&id, timestamp_s, body));
    }
    let body = std::str::from_utf8(body).ok()?;
    // -g: braces and brackets in a URL stand for themselves.
    let mut lines = vec![format!(
        "curl -gsS -X POST {}",
        quoted(webhook.settings.url.as_str())
    )];
    let mut header = |name: &str, value: &str| {
        lines.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
    };
    if headers.is_empty() {
        header("content-type", message::content_type(body.as_bytes()));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if MADE_ANEW.contains(&lower.as_str()) {
            continue;
        }
        let is_secret = lower == "authorization" || is_secret_header(&lower);
        header(name, if is_secret { PLACEHOLDER } else { value });
    }
    header("webhook-id", &id);
    header("webhook-timestamp", &timestamp_s.to_string());
    header("webhook-signature", &signature);
    lines.push(format!("--data-binary {}", quoted(body)));
    Some(lines.join(" \\\n  "))
}

/// A word of a shell command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_quotes() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
