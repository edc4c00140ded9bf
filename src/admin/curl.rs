//! A delivery's request as a command, signed at the time of looking: what a receiver's developer pastes to
//! have it once more.

use crate::id::MessageId;
use crate::message;
use crate::webhook::{CustomHeader, SigningKey, Webhook, is_secret_header};

/// Stands where a secret would.
const PLACEHOLDER: &str = "SECRET";
/// Where the credentials of a webhook's URL go.
const AUTHORIZATION: &str = "authorization";

/// The command that sends `body` to the webhook as the box would at `now_ms` (Unix milliseconds). `None` when the
/// webhook's keys cannot sign.
pub(super) fn signed(webhook: &Webhook, id: MessageId, body: &[u8], now_ms: i64) -> Option<String> {
    let (id, timestamp_s) = (id.to_string(), now_ms.div_euclid(1_000));
    let signature = signature(webhook, &id, body, now_ms)?;
    let settings = &webhook.settings;
    // Without -g, brackets and braces of the URL would be a list of URLs.
    let mut lines = vec![format!(
        "curl -sS -g -X POST {}",
        quoted(settings.url.as_str())
    )];
    let mut header = |name: &str, value: &str| {
        // That is how curl is told of a header without a value.
        let line = if value.is_empty() {
            format!("{name};")
        } else {
            format!("{name}: {value}")
        };
        lines.push(format!("-H {}", quoted(&line)));
    };
    header("content-type", message::content_type(body));
    for CustomHeader { name, value } in &settings.headers {
        let is_secret = is_secret_header(name);
        header(name, if is_secret { PLACEHOLDER } else { value });
    }
    let is_authorized = |header: &CustomHeader| header.name == AUTHORIZATION;
    if settings.credentials.is_some() && !settings.headers.iter().any(is_authorized) {
        header(AUTHORIZATION, &format!("Basic {PLACEHOLDER}"));
    }
    header("webhook-id", &id);
    header("webhook-timestamp", &timestamp_s.to_string());
    header("webhook-signature", &signature);
    lines.push(format!(
        "--data-binary {}",
        quoted(std::str::from_utf8(body).ok()?)
    ));
    Some(lines.join(" \\\n  "))
}

/// As every attempt has it: by the retired key as well, while that one still signs.
fn signature(webhook: &Webhook, id: &str, body: &[u8], now_ms: i64) -> Option<String> {
    let sign = |key: &SigningKey| {
        let signer = key.signer().ok()?;
        Some(signer.sign(id, now_ms.div_euclid(1_000), body))
    };
    let current = sign(&webhook.key)?;
    let retired = webhook.retired_key.as_ref();
    match retired.filter(|retired| now_ms < retired.until_ms) {
        Some(retired) => Some(format!("{current} {}", sign(&retired.key)?)),
        None => Some(current),
    }
}

/// A word of a shell command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{WebhookId, WorkspaceId};
    use crate::secret::WebhookSecret;
    use crate::webhook::{RetiredKey, Signing, WebhookInput, WebhookState};

    const NOW_MS: i64 = 1_700_000_000_999;

    fn key(byte: u8) -> SigningKey {
        SigningKey {
            signing: Signing::Hmac,
            secret: WebhookSecret::from_bytes(vec![byte; 32]),
        }
    }

    fn webhook(url: &str, headers: &[(&str, &str)]) -> Webhook {
        let input = WebhookInput {
            name: "CRM".to_owned(),
            url: url.to_owned(),
            events: vec!["*".to_owned()],
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..WebhookInput::default()
        };
        Webhook {
            id: WebhookId::from_i64(1),
            workspace: WorkspaceId::from_i64(1),
            state: WebhookState::Active,
            changed_at_ms: 0,
            settings: input.check(None).unwrap(),
            key: key(2),
            retired_key: None,
        }
    }

    fn command(webhook: &Webhook) -> String {
        signed(webhook, MessageId::from_i64(7), b"{}", NOW_MS).unwrap()
    }

    #[test]
    fn both_keys_sign_during_the_overlap() {
        let mut webhook = webhook("https://example.com/", &[]);
        webhook.retired_key = Some(RetiredKey {
            key: key(1),
            until_ms: NOW_MS + 1,
        });
        let id = MessageId::from_i64(7).to_string();
        let by = |byte| {
            let signer = key(byte).signer().unwrap();
            signer.sign(&id, NOW_MS / 1_000, b"{}")
        };
        let both = format!("-H 'webhook-signature: {} {}'", by(2), by(1));
        assert!(command(&webhook).contains(&both));
        webhook.retired_key = webhook.retired_key.map(|retired| RetiredKey {
            until_ms: NOW_MS,
            ..retired
        });
        let one = format!("-H 'webhook-signature: {}'", by(2));
        assert!(command(&webhook).contains(&one));
    }

    #[test]
    fn the_webhooks_own_headers_go_along_and_its_secrets_do_not() {
        let headers = [("x-team", "it's us"), ("x-api-key", "canary")];
        let webhook = webhook("https://ann:canary@example.com/?a[]={b,c}", &headers);
        let command = command(&webhook);
        for line in [
            r"curl -sS -g -X POST 'https://example.com/?a[]={b,c}'",
            r"-H 'x-team: it'\''s us'",
            r"-H 'x-api-key: SECRET'",
            r"-H 'authorization: Basic SECRET'",
        ] {
            assert!(command.contains(line), "{line} is not in {command}");
        }
        assert!(!command.contains("canary"), "{command}");
    }

    #[test]
    fn a_word_keeps_its_quotes() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
