//! One attempt: signs, sends, reads what comes within the bounds, and says what happened. Decides
//! nothing about the next one and keeps nothing.

use super::connect::ConnectError;
use super::connections::{Body, Connections};
use crate::delivery::ErrorClass;
use crate::id::MessageId;
use crate::signature::Signer;
use crate::store::attempts::{HeadersText, Phases, Response};
use crate::webhook::Webhook;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
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
/// Headers of a request, so that their map is made once.
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
    signer: Signer,
}

impl Endpoint {
    /// The endpoint of a webhook.
    ///
    /// # Errors
    /// When its URL or secret cannot be used in a request.
    pub fn new(webhook: &Webhook) -> anyhow::Result<Self> {
        let url = &webhook.settings.url;
        let origin = &url[..Position::BeforePath];
        Ok(Self {
            origin: origin.into(),
            dialled: origin.parse()?,
            // A fragment is the browser's business and never goes on the wire.
            target: url[Position::BeforePath..Position::AfterQuery].parse()?,
            host: HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])?,
            signer: Signer::new(webhook.key.secret.as_bytes())?,
        })
    }

    fn request(&self, outgoing: Outgoing<'_>) -> anyhow::Result<Request<Body>> {
        let id = outgoing.message.to_string();
        let timestamp_s = outgoing.now_ms.div_euclid(1_000);
        let signature = self.signer.sign(&id, timestamp_s, outgoing.body);
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, outgoing.body.len().into());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(WEBHOOK_ID, id.try_into()?);
        headers.insert(WEBHOOK_TIMESTAMP, timestamp_s.into());
        headers.insert(WEBHOOK_SIGNATURE, signature.try_into()?);
        let mut request = Request::new(Body::new(outgoing.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
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
    /// As sent.
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
            error: Some((ErrorClass::Request, why)),
            ..Self::begun()
        }
    }

    fn begun() -> Self {
        Self {
            duration: Duration::ZERO,
            address: None,
            request_headers: HeadersText::default(),
            response: None,
            error: None,
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
    let mut outcome = Outcome::begun();
    match endpoint.request(outgoing) {
        Ok(request) => {
            outcome.request_headers = readable(request.headers());
            let cap = limits.response_body_bytes;
            let is_late = {
                // Pinned here: it is large, and would otherwise be copied into the timeout's future.
                let exchange = pin!(exchange(connections, endpoint, request, cap, &mut outcome));
                tokio::time::timeout(limits.total_timeout, exchange)
                    .await
                    .is_err()
            };
            if is_late {
                let detail = format!("no whole answer within {:?}", limits.total_timeout);
                outcome.error = Some((ErrorClass::Timeout, detail));
            }
        }
        Err(e) => return Outcome::not_sent(e.to_string()),
    }
    outcome.duration = started.elapsed();
    outcome
}

async fn exchange(
    connections: &Connections,
    endpoint: &Endpoint,
    request: Request<Body>,
    cap: usize,
    outcome: &mut Outcome,
) {
    let mut connection = match connections.open(&endpoint.origin, &endpoint.dialled).await {
        Ok(connection) => connection,
        Err(e) => {
            let (class, detail, address) = classify(&*e);
            outcome.address = address;
            outcome.error = Some((class, detail));
            return;
        }
    };
    outcome.address.clone_from(&connection.address);
    let answered = connection
        .exchange(request, |answer| receive(answer, cap, outcome))
        .await;
    match answered {
        Ok(true) => connections.keep(&endpoint.origin, connection),
        Ok(false) => {}
        Err(e) => {
            let (class, detail, _) = classify(&e);
            outcome.error = Some((class, detail));
        }
    }
}

/// Takes down what is answered; says whether all of it was read.
async fn receive(answer: hyper::Response<Incoming>, cap: usize, outcome: &mut Outcome) -> bool {
    let (head, body) = answer.into_parts();
    outcome.error = status_error(head.status, &head.headers);
    let length = head.headers.get(CONTENT_LENGTH);
    let response = outcome.response.insert(Response {
        status: head.status.as_u16(),
        headers: readable(&head.headers),
        body: Vec::new(),
        truncated: false,
        length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
    });
    if let Err(e) = read_body(body, cap, response).await {
        let detail = format!("the answer's body broke off: {e}");
        outcome.error = Some((ErrorClass::Protocol, detail));
        return false;
    }
    !response.truncated
}

/// Fills `response` as the body comes in, so that what was read before a timeout is kept.
async fn read_body(mut body: Incoming, cap: usize, response: &mut Response) -> hyper::Result<()> {
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        let room = cap - response.body.len();
        let kept = chunk.get(..room.min(chunk.len())).unwrap_or(&chunk);
        response.body.extend_from_slice(kept);
        if chunk.len() > room {
            // Dropping the body closes the connection, whatever else was to come.
            response.truncated = true;
            return Ok(());
        }
    }
    response.length = i64::try_from(response.body.len()).ok();
    Ok(())
}

/// Success is 2xx only (webhooks.md, "On the wire").
fn status_error(status: StatusCode, headers: &HeaderMap) -> Option<(ErrorClass, String)> {
    if status.is_success() {
        return None;
    }
    let class = match status.as_u16() {
        300..=399 => ErrorClass::Redirect,
        400..=499 => ErrorClass::Http4xx,
        100..=199 => ErrorClass::Protocol,
        _ => ErrorClass::Http5xx,
    };
    let location = headers
        .get(hyper::header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let detail = match (class, location) {
        (ErrorClass::Redirect, Some(location)) => format!("answered {status} to {location}"),
        _ => format!("answered {status}"),
    };
    Some((class, detail))
}

/// Why a connection or an exchange failed: the class, what exactly was met, and the address.
pub(super) fn classify(
    error: &(dyn std::error::Error + 'static),
) -> (ErrorClass, String, Option<Arc<str>>) {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut deepest = error.to_string();
    while let Some(error) = cause {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            let address = connect.address.map(|address| address.to_string().into());
            return (connect.class, connect.detail.clone(), address);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(connect) = inner.and_then(|e| e.downcast_ref::<ConnectError>()) {
            let address = connect.address.map(|address| address.to_string().into());
            return (connect.class, connect.detail.clone(), address);
        }
        let is_tls = error.is::<rustls::Error>() || inner.is_some_and(|e| e.is::<rustls::Error>());
        if is_tls {
            return (ErrorClass::Tls, error.to_string(), None);
        }
        deepest = error.to_string();
        cause = error.source();
    }
    (ErrorClass::Protocol, deepest, None)
}

fn readable(headers: &HeaderMap) -> HeadersText {
    HeadersText::new(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
}
