//! One attempt: signs, sends, reads what comes within the bounds, and says what happened. Decides
//! nothing about the next one and keeps nothing.

use super::connect::{Body, ConnectError, DialledAddress, HttpClient};
use crate::delivery::ErrorClass;
use crate::id::MessageId;
use crate::signature::Signer;
use crate::store::attempts::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use std::time::{Duration, Instant};
use url::Url;

const AGENT: &str = concat!("Pillarbox/", env!("CARGO_PKG_VERSION"));

/// The bounds of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimits {
    /// From dialling to the answer's last byte.
    pub total_timeout: Duration,
    /// At most this much of an answer's body is read and kept.
    pub response_body_bytes: usize,
}

/// What is sent where.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The endpoint.
    pub url: &'a Url,
    /// Signs with the webhook's secret.
    pub signer: &'a Signer,
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
    pub address: Option<String>,
    /// As sent.
    pub request_headers: Vec<(String, String)>,
    /// The answer, as far as it came.
    pub response: Option<Response>,
    /// Why it failed; `None` is a success.
    pub error: Option<(ErrorClass, String)>,
}

/// Makes one attempt.
pub async fn attempt(
    client: &HttpClient,
    outgoing: Outgoing<'_>,
    limits: AttemptLimits,
) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome {
        duration: Duration::ZERO,
        address: None,
        request_headers: Vec::new(),
        response: None,
        error: None,
    };
    match request(outgoing) {
        Ok(request) => {
            outcome.request_headers = readable(request.headers());
            let exchange = exchange(client, request, limits.response_body_bytes, &mut outcome);
            if tokio::time::timeout(limits.total_timeout, exchange)
                .await
                .is_err()
            {
                let detail = format!("no whole answer within {:?}", limits.total_timeout);
                outcome.error = Some((ErrorClass::Timeout, detail));
            }
        }
        Err(e) => outcome.error = Some((ErrorClass::Request, e.to_string())),
    }
    outcome.duration = started.elapsed();
    outcome
}

fn request(outgoing: Outgoing<'_>) -> anyhow::Result<Request<Body>> {
    let id = outgoing.message.to_string();
    let timestamp_s = outgoing.now_ms.div_euclid(1_000);
    let signature = outgoing.signer.sign(&id, timestamp_s, outgoing.body);
    let host = match outgoing.url.port() {
        Some(port) => format!("{}:{port}", outgoing.url.host_str().unwrap_or("")),
        None => outgoing.url.host_str().unwrap_or("").to_owned(),
    };
    // A fragment is the browser's business and never goes on the wire.
    let mut target = outgoing.url.clone();
    target.set_fragment(None);
    Ok(Request::post(target.as_str())
        .header(HOST, host)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(CONTENT_LENGTH, outgoing.body.len())
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp_s)
        .header("webhook-signature", signature)
        .body(Body::new(outgoing.body.clone()))?)
}

async fn exchange(client: &HttpClient, request: Request<Body>, cap: usize, outcome: &mut Outcome) {
    let answer = match client.request(request).await {
        Ok(answer) => answer,
        Err(e) => {
            let (class, detail, address) = classify(&e);
            outcome.address = address;
            outcome.error = Some((class, detail));
            return;
        }
    };
    let dialled = answer.extensions().get::<DialledAddress>();
    outcome.address = dialled.map(|DialledAddress(address)| address.to_string());
    let status = answer.status();
    let length = answer
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let headers = readable(answer.headers());
    outcome.error = status_error(status, answer.headers());
    let response = outcome.response.insert(Response {
        status: status.as_u16(),
        headers,
        body: Vec::new(),
        truncated: false,
        length,
    });
    if let Err(e) = read_body(answer.into_body(), cap, response).await {
        outcome.error = Some((
            ErrorClass::Protocol,
            format!("the answer's body broke off: {e}"),
        ));
    }
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

fn classify(error: &(dyn std::error::Error + 'static)) -> (ErrorClass, String, Option<String>) {
    let mut cause = Some(error);
    let mut deepest = error.to_string();
    while let Some(error) = cause {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            let address = connect.address.map(|address| address.to_string());
            return (connect.class, connect.detail.clone(), address);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(connect) = inner.and_then(|e| e.downcast_ref::<ConnectError>()) {
            let address = connect.address.map(|address| address.to_string());
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

fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}
