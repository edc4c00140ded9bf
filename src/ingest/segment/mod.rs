//! The Segment-compatible dialect: `POST /v1/{track,identify,page,screen,group,alias,batch,import}` and the
//! short paths of browsers (wire.md, "Segment-compatible"). Owns who may post there and the order of a
//! call; what a message looks like is in `message.rs`, what a batch adds in `batch.rs`.

mod answers;
mod batch;
mod message;
mod settings;

pub use settings::PublicUrl;

use self::answers::{method_not_allowed, refusal, success};
use self::batch::MAX_MESSAGE_BYTES;
use self::message::Common;
use super::browser;
use super::rejects::{Endpoint, Rejects, Watch};
use super::request::{self, Bodies, Body, Sender};
use crate::accept::{Acceptance, Acceptor, at_root};
use crate::access::Scope;
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Event, EventKind, Verification};
use crate::json;
use crate::normalize::normalize;
use crate::store::catalog::{Catalog, CatalogHandle};
use crate::store::rejects::SenderPlace;
use crate::time::now_ms;
use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, Resource, guard, web};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The paths of the calls, as actix writes a choice.
const CALLS: &str =
    "/v1/{call:track|t|identify|i|page|p|screen|s|group|g|alias|a|batch|b|import|m}";
/// A batch has at most this many bytes (wire.md, "Segment-compatible").
const MAX_BATCH_BYTES: usize = 500 * 1_024;
/// Churnkey's paths, which are not this dialect's to answer.
const CHURNKEY: &str = "/v1/api/";
/// How the public ids of sources begin; everything else is an API key.
const SOURCE_PREFIX: &str = "src_";
/// Where a write key may stand.
const PLACES: &str = "Authorization (Basic or Bearer) or writeKey";

/// The dialect's routes; what else is asked for under `/v1/` is refused in its shape.
pub(super) fn configure(routes: &mut web::ServiceConfig) {
    let others = web::resource("/v1/{rest:.*}")
        .guard(guard::fn_guard(|asked| {
            !asked.head().uri.path().starts_with(CHURNKEY)
        }))
        .route(web::method(Method::OPTIONS).to(browser::preflight))
        .default_service(web::to(no_such_call));
    routes
        .service(takes("POST, OPTIONS", web::resource(CALLS)).route(web::post().to(receive)))
        .service(
            takes(
                "GET, OPTIONS",
                web::resource("/v1/projects/{write_key}/settings"),
            )
            .route(web::get().to(settings::settings)),
        )
        .service(others);
}

/// An endpoint that browsers may ask about, and that refuses every method but those that are named.
fn takes(methods: &'static str, endpoint: Resource) -> Resource {
    endpoint
        .route(web::method(Method::OPTIONS).to(browser::preflight))
        .default_service(web::to(move |request: HttpRequest| async move {
            browser::readable(&request, Ok(method_not_allowed(methods)))
        }))
}

async fn no_such_call(request: HttpRequest) -> HttpResponse {
    let error = Error::new(
        Kind::NotFound,
        "not_found",
        "Nothing is served at this address; the calls are /v1/track, identify, page, screen, group, alias, batch and import.",
    );
    browser::readable(&request, Ok(refusal(&error)))
}

/// What a path asks for.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// One message of this kind.
    One(EventKind),
    /// A batch of them.
    Batch,
    /// What the browser's library says of itself.
    Metrics,
}

impl Call {
    fn of(request: &HttpRequest) -> Option<Self> {
        Some(match request.match_info().get("call")? {
            "batch" | "b" | "import" => Self::Batch,
            "m" => Self::Metrics,
            "t" => Self::One(EventKind::Track),
            "i" => Self::One(EventKind::Identify),
            "p" => Self::One(EventKind::Page),
            "s" => Self::One(EventKind::Screen),
            "g" => Self::One(EventKind::Group),
            "a" => Self::One(EventKind::Alias),
            name => Self::One(EventKind::parse(name)?),
        })
    }

    /// Where the event with an index stands in the body.
    fn place(self) -> fn(usize) -> String {
        match self {
            Self::Batch => |index| format!("/batch/{index}"),
            Self::One(_) | Self::Metrics => at_root,
        }
    }

    fn max_body_bytes(self) -> usize {
        match self {
            Self::Batch => MAX_BATCH_BYTES,
            Self::One(_) | Self::Metrics => MAX_MESSAGE_BYTES,
        }
    }
}

/// Takes a message or a batch; answers after all of it is on disk.
async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> HttpResponse {
    let answer = answer(&request, payload, &bodies, &catalog, &acceptor, &rejects).await;
    browser::readable(&request, Ok(answer.unwrap_or_else(|e| refusal(&e))))
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    bodies: &Bodies,
    catalog: &CatalogHandle,
    acceptor: &Acceptor,
    rejects: &Rejects,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    let call = Call::of(request).ok_or_else(|| Error::not_found("call"))?;
    if matches!(call, Call::Metrics) {
        // They are about the library and nobody else; it only wants to hear that they came.
        bodies
            .within(request, payload, call.max_body_bytes(), Sender::Stranger)
            .await?;
        return Ok(success());
    }
    // A key in a header is judged before the body is read.
    let in_header = header_key(request)
        .map(|key| credential(request, &catalog.current(), &key))
        .transpose()?;
    let sender = match in_header {
        Some(_) => Sender::Known,
        None => Sender::Stranger,
    };
    let body = bodies.within(request, payload, call.max_body_bytes(), sender);
    let (credential, body) = match in_header {
        Some(credential) => (credential, body.await),
        None => {
            let body = body.await?;
            let key = body_key(&body)?;
            (credential(request, &catalog.current(), &key)?, Ok(body))
        }
    };
    let sender = match (credential.key, credential.source) {
        (None, Some(source)) => SenderPlace::PublicUser(source.to_string()),
        _ => SenderPlace::User,
    };
    let endpoint = Endpoint::sent_by(request.path().to_owned(), sender);
    let mut watch = rejects.watch(endpoint, credential, received_at_ms);
    let answer = take(
        call,
        body,
        &credential,
        received_at_ms,
        acceptor,
        &mut watch,
    )
    .await;
    watch.finish_as(&answer, answers::status);
    answer
}

async fn take(
    call: Call,
    body: Result<Body<'_>>,
    credential: &Credential,
    received_at_ms: i64,
    acceptor: &Acceptor,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let body = body?;
    let events = watch.read(&body, |body| {
        read(call, json::check(body)?, credential, received_at_ms)
    })?;
    // Before anything is waited for, so that it is not in memory twice.
    drop(body);
    for acceptance in acceptor.accept(events, call.place()).await? {
        // The libraries know no conflict: they would only send the same again.
        if let Acceptance::Conflict(earlier) = acceptance {
            tracing::debug!(workspace = %credential.workspace, %earlier,
                "another event came under a messageId that is taken; it is not stored");
        }
    }
    Ok(success())
}

fn read(
    call: Call,
    text: &str,
    credential: &Credential,
    received_at_ms: i64,
) -> Result<Vec<Event>> {
    let Call::One(kind) = call else {
        return batch::read(text, credential, received_at_ms);
    };
    let common = Common {
        received_at_ms,
        ..Common::default()
    };
    let raw = message::read(text, Some(kind), &common)?;
    Ok(vec![normalize(raw, credential, received_at_ms)?])
}

// WRITE KEYS --------------------------------------------------------------------------------

/// Whom a write key lets in: a server by its API key, or a browser by its source's public id.
fn credential(request: &HttpRequest, catalog: &Catalog, key: &str) -> Result<Credential> {
    if !key.starts_with(SOURCE_PREFIX) {
        return request::admit(catalog, key, PLACES, &[Scope::WriteEvents]);
    }
    let source = browser::source(catalog, key, "The write key")?;
    browser::check_origin(request, source)?;
    Ok(browser::credential(source, Verification::Unverified))
}

/// The write key as Basic's user name or as a Bearer token.
fn header_key(request: &HttpRequest) -> Option<String> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = header.trim().split_once(' ')?;
    let key = if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
        let user = pair.split_once(':').map_or(&*pair, |(user, _)| user);
        user.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("bearer") {
        value.trim().to_owned()
    } else {
        return None;
    };
    (!key.is_empty()).then_some(key)
}

/// The write key in the body's `writeKey`.
fn body_key(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Key<'a> {
        #[serde(borrow)]
        write_key: Option<&'a RawValue>,
    }
    let text = json::check(body)?;
    let raw = if text.trim_start().starts_with('{') {
        json::read::<Key<'_>>(text)?.write_key
    } else {
        json::read::<&RawValue>(text)?;
        None
    };
    raw.and_then(json::value).ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "missing_api_key",
            "Send a write key as the user name of Basic authentication, as a Bearer token, or as writeKey \
             in the body: an API key of the workspace, or a source's public id.",
        )
    })
}
