//! One attempt: signs, sends, reads what comes within the bounds, and says what happened. Decides
//! nothing about the next one and keeps nothing.

use super::answer::{Answer, readable};
use super::connect::{Progress, microseconds_since};
use super::connections::{Body, Connections};
use super::secrets::Secrets;
use crate::delivery::ErrorClass;
use crate::id::MessageId;
use crate::message;
use crate::signature::Signer;
use crate::store::attempts::{Phases, Response};
use crate::store::headers::HeadersText;
use crate::webhook::{Credentials, CustomHeader, Webhook, is_secret_header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use hyper::{Method, Request, Uri};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::Position;

const AGENT: &str = concat!("Pillarbox/", env!("CARGO_PKG_VERSION"));

/// The bounds of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimits {
    /// From dialling to the answer's last byte.
    pub total_timeout: Duration,
    /// At most this much of an answer's body is read and kept.
    pub response_body_bytes: usize,
}

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// Headers of every request, so that their map is made once.
const HEADERS: usize = 7;

/// An endpoint: everything of its requests that is the same each time.
#[derive(Debug)]
pub struct Endpoint {
    /// Scheme, host and port: connections to it may be shared with other endpoints.
    origin: Arc<str>,
    dialled: Uri,
    /// Path and query.
    target: Uri,
    host: HeaderValue,
    /// What people told it to send; secrets are marked as such.
    own_headers: Vec<(HeaderName, HeaderValue)>,
    /// Those of them that are not to be kept of an answer either.
    secrets: Secrets,
    signer: Signer,
    /// Signs as well, until then (Unix milliseconds).
    retired: Option<(Signer, i64)>,
}

impl Endpoint {
    /// The endpoint of a webhook.
    ///
    /// # Errors
    /// When its URL, its headers or its secrets cannot be used in a request.
    pub fn new(webhook: &Webhook) -> anyhow::Result<Self> {
        let settings = &webhook.settings;
        let url = &settings.url;
        let origin = &url[..Position::BeforePath];
        let retired = webhook.retired_key.as_ref();
        let credentials = settings.credentials.as_ref();
        let own_headers = own_headers(&settings.headers, credentials)?;
        let secrets = Secrets::of(&own_headers, credentials.map(Credentials::password));
        Ok(Self {
            origin: origin.into(),
            dialled: origin.parse()?,
            // A fragment is the browser's business and never goes on the wire.
            target: url[Position::BeforePath..Position::AfterQuery].parse()?,
            host: HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?,
            own_headers,
            secrets,
            signer: webhook.key.signer()?,
            retired: retired
                .map(|retired| Ok::<_, anyhow::Error>((retired.key.signer()?, retired.until_ms)))
                .transpose()?,
        })
    }

    fn request(&self, outgoing: Outgoing<'_>) -> anyhow::Result<Request<Body>> {
        let id = outgoing.message.to_string();
        let timestamp_s = outgoing.now_ms.div_euclid(1_000);
        let mut signature = self.signer.sign(&id, timestamp_s, outgoing.body);
        if let Some((retired, until_ms)) = &self.retired
            && outgoing.now_ms < *until_ms
        {
            signature.push(' ');
            signature.push_str(&retired.sign(&id, timestamp_s, outgoing.body));
        }
        let content_type = HeaderValue::from_static(message::content_type(outgoing.body));
        let mut headers = HeaderMap::with_capacity(HEADERS + self.own_headers.len());
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CONTENT_LENGTH, outgoing.body.len().into());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(WEBHOOK_ID, id.try_into()?);
        headers.insert(WEBHOOK_TIMESTAMP, timestamp_s.into());
        headers.insert(WEBHOOK_SIGNATURE, signature.try_into()?);
        for (name, value) in &self.own_headers {
            headers.insert(name.clone(), value.clone());
        }
        let mut request = Request::new(Body::new(outgoing.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// What people told a webhook to send. An `authorization` that they wrote themselves wins over the
/// credentials of the URL.
fn own_headers(
    custom: &[CustomHeader],
    credentials: Option<&Credentials>,
) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::with_capacity(custom.len() + 1);
    for CustomHeader { name, value } in custom {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(is_secret_header(name));
        headers.push((HeaderName::from_bytes(name.as_bytes())?, value));
    }
    if let Some(credentials) = credentials
        && headers.iter().all(|(name, _)| *name != AUTHORIZATION)
    {
        let basic = format!("Basic {}", STANDARD.encode(credentials.as_text()));
        let mut value = HeaderValue::from_str(&basic)?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    Ok(headers)
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The `webhook-id`.
    pub message: MessageId,
    /// The exact body.
    pub body: &'a Bytes,
    /// Unix milliseconds of this attempt.
    pub now_ms: i64,
}

/// What happened.
#[derive(Debug)]
pub struct Outcome {
    /// How long all of it took.
    pub duration: Duration,
    /// The address that was dialled, where one was.
    pub address: Option<Arc<str>>,
    /// As sent, without secrets.
    pub request_headers: HeadersText,
    /// The answer, as far as it came.
    pub response: Option<Response>,
    /// Why it failed; `None` is a success.
    pub error: Option<(ErrorClass, String)>,
    /// How long each part of it took.
    pub phases: Phases,
    /// How long the receiver asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    /// Nothing was sent, for a reason that lies in the webhook itself.
    pub fn not_sent(why: String) -> Self {
        Self {
            duration: Duration::ZERO,
            address: None,
            request_headers: HeadersText::default(),
            response: None,
            error: Some((ErrorClass::Request, why)),
            phases: Phases::default(),
            retry_after: None,
        }
    }
}

/// Makes one attempt.
pub async fn attempt(
    connections: &Connections,
    endpoint: &Endpoint,
    outgoing: Outgoing<'_>,
    limits: AttemptLimits,
) -> Outcome {
    let started = Instant::now();
    let request = match endpoint.request(outgoing) {
        Ok(request) => request,
        Err(e) => return Outcome::not_sent(e.to_string()),
    };
    let request_headers = readable(request.headers());
    let cap = limits.response_body_bytes;
    // Filled in on the way, so that what came before a timeout is kept.
    let (mut progress, mut answer) = (Progress::default(), Answer::default());
    let met = {
        // Pinned here: it is large, and would otherwise be copied into the timeout's future.
        let exchange = pin!(exchange(
            connections,
            endpoint,
            request,
            cap,
            &mut progress,
            &mut answer
        ));
        tokio::time::timeout(limits.total_timeout, exchange).await
    };
    answer.mask(&endpoint.secrets, cap);
    let error = match met {
        Ok(Ok(())) => answer.error,
        Ok(Err(error)) => Some(error),
        Err(_) => {
            let detail = format!("no whole answer within {:?}", limits.total_timeout);
            Some((ErrorClass::Timeout, detail))
        }
    };
    Outcome {
        duration: started.elapsed(),
        address: progress.address,
        request_headers,
        response: answer.response,
        error,
        phases: progress.phases,
        retry_after: answer.retry_after,
    }
}

/// One request and its answer.
///
/// # Errors
/// Why no answer came about; what is wrong with one that did, it says itself.
async fn exchange(
    connections: &Connections,
    endpoint: &Endpoint,
    request: Request<Body>,
    cap: usize,
    progress: &mut Progress,
    answer: &mut Answer,
) -> Result<(), (ErrorClass, String)> {
    let mut connection = connections
        .open(&endpoint.origin, &endpoint.dialled, progress)
        .await
        .map_err(|e| (e.class, e.detail))?;
    let sent = Instant::now();
    let first_byte_us = &mut progress.phases.first_byte_us;
    let is_read = connection
        .exchange(request, |head| {
            *first_byte_us = Some(microseconds_since(sent));
            answer.receive(head, cap, &endpoint.secrets)
        })
        .await
        .map_err(|e| classify(&e))?;
    if is_read {
        connections.keep(&endpoint.origin, connection);
    }
    Ok(())
}

/// Why an exchange failed on a connection that was made.
fn classify(error: &hyper::Error) -> (ErrorClass, String) {
    if error.is_parse_too_large() {
        return (ErrorClass::TooLarge, error.to_string());
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let inner = deepest.downcast_ref::<std::io::Error>();
    let inner = inner.and_then(std::io::Error::get_ref);
    let is_tls = deepest.is::<rustls::Error>() || inner.is_some_and(|e| e.is::<rustls::Error>());
    let class = if is_tls {
        ErrorClass::Tls
    } else {
        ErrorClass::Protocol
    };
    (class, deepest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{WebhookId, WorkspaceId};
    use crate::secret::WebhookSecret;
    use crate::webhook::{RetiredKey, Signing, SigningKey, WebhookInput, WebhookState};
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_700_000_000_999;

    fn key(signing: Signing, byte: u8) -> SigningKey {
        SigningKey {
            signing,
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
            key: key(Signing::Hmac, 1),
            retired_key: None,
        }
    }

    proptest! {
        #[test]
        fn what_can_be_saved_can_be_sent(
            host in "[a-z0-9!-~]{1,6}",
            path in "[ -~\u{80}-\u{24f}]{0,12}",
            name in "[!-~]{1,6}",
            value in "[\t -~]{0,12}",
        ) {
            let input = WebhookInput {
                name: "CRM".to_owned(),
                url: format!("https://{host}/{path}"),
                events: vec!["*".to_owned()],
                headers: vec![(name, value)],
                ..WebhookInput::default()
            };
            if let Ok(settings) = input.check(None) {
                let mut webhook = webhook("https://example.com/", &[]);
                webhook.settings = settings;
                let endpoint = Endpoint::new(&webhook);
                prop_assert!(endpoint.is_ok(), "{:?}: {:?}", webhook.settings.url, endpoint.err());
            }
        }
    }

    fn headers(webhook: &Webhook, now_ms: i64) -> HeaderMap {
        let body = Bytes::from_static(b"{}");
        let outgoing = Outgoing {
            message: MessageId::from_i64(7),
            body: &body,
            now_ms,
        };
        let request = Endpoint::new(webhook).unwrap().request(outgoing).unwrap();
        request.headers().clone()
    }

    fn signature(webhook: &Webhook, now_ms: i64) -> String {
        let headers = headers(webhook, now_ms);
        headers[WEBHOOK_SIGNATURE].to_str().unwrap().to_owned()
    }

    fn by(key: &SigningKey, now_ms: i64) -> String {
        let id = MessageId::from_i64(7).to_string();
        key.signer().unwrap().sign(&id, now_ms / 1_000, b"{}")
    }

    #[test]
    fn both_keys_sign_during_the_overlap_and_not_a_millisecond_longer() {
        for (new, old) in [
            (Signing::Hmac, Signing::Hmac),
            (Signing::Ed25519, Signing::Hmac),
            (Signing::Hmac, Signing::Ed25519),
        ] {
            let (new, old) = (key(new, 2), key(old, 1));
            let mut rotated = webhook("https://example.com/", &[]);
            rotated.key = new.clone();
            rotated.retired_key = Some(RetiredKey {
                key: old.clone(),
                until_ms: NOW_MS,
            });
            let before = NOW_MS - 1;
            let both = format!("{} {}", by(&new, before), by(&old, before));
            assert_eq!(signature(&rotated, before), both);
            assert_eq!(signature(&rotated, NOW_MS), by(&new, NOW_MS));
        }
    }

    #[test]
    fn a_written_authorization_wins_over_the_urls_credentials() {
        let url = "https://ann:s%C3%A9same@example.com/hook";
        let from_url = headers(&webhook(url, &[]), NOW_MS);
        assert_eq!(from_url[AUTHORIZATION], "Basic YW5uOnPDqXNhbWU=");
        let written = [("Authorization", "Bearer t0ken"), ("x-team", "payments")];
        let both = headers(&webhook(url, &written), NOW_MS);
        let values: Vec<_> = both.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer t0ken"]);
        assert_eq!(both["x-team"], "payments");
    }

    #[test]
    fn what_is_kept_of_a_request_has_no_secrets() {
        let written = [("x-api-key", "k-canary"), ("x-team", "payments")];
        let webhook = webhook("https://ann:canary@example.com/", &written);
        let kept = readable(&headers(&webhook, NOW_MS)).pairs();
        let value = |name| kept.iter().find(|(n, _)| n == name).map(|(_, v)| &**v);
        assert_eq!(value("authorization"), Some("(redacted)"));
        assert_eq!(value("x-api-key"), Some("(redacted)"));
        assert_eq!(value("x-team"), Some("payments"));
        assert!(value("webhook-signature").unwrap().starts_with("v1,"));
        assert!(!format!("{kept:?}").contains("canary"));
    }
}
