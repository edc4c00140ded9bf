//! Churnkey's event tracking: `POST /v1/api/events/{new,bulk,customer-update}` from servers and `/client`
//! from browsers (seed "Event Tracking"; wire.md, "Churnkey"). Owns the endpoints, who may post to them and
//! their answers; what is posted there is in `wire.rs`.

mod wire;

use super::browser;
use super::fields::all_or_none;
use super::rejects::{Endpoint, Rejects, Watch};
use super::request::{self, Bodies, Body};
use crate::accept::{Acceptor, at_root};
use crate::access::Scope;
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Event, RawEvent, Verification};
use crate::http::method_not_allowed;
use crate::id::{EventId, SourceId};
use crate::json;
use crate::normalize::normalize;
use crate::store::catalog::{Catalog, CatalogHandle};
use crate::time::now_ms;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

const SCOPES: [Scope; 1] = [Scope::WriteEvents];
/// Holds the API key.
const KEY_HEADER: &str = "x-ck-api-key";
/// Names the source that events come from.
const APP_HEADER: &str = "x-ck-app";

/// What an event's properties are called here.
const PROPERTIES: &str = "eventData";

/// The dialect's routes.
pub(super) fn configure(routes: &mut web::ServiceConfig) {
    let at = |path: &str| {
        web::resource(format!("/v1/api/events/{path}"))
            .default_service(web::to(|| async { method_not_allowed("POST") }))
    };
    routes
        .service(at("new").route(web::post().to(new)))
        .service(at("bulk").route(web::post().to(bulk)))
        .service(at("customer-update").route(web::post().to(customer_update)))
        .service(
            at("client")
                .route(web::post().to(client))
                .route(web::method(actix_web::http::Method::OPTIONS).to(browser::preflight)),
        );
}

/// The answer to one event or update.
#[derive(Serialize)]
struct Answer {
    status: &'static str,
    /// Whether the box knows who sent it.
    verified: bool,
    id: EventId,
}

#[derive(Serialize)]
struct BulkAnswer {
    status: &'static str,
    event_count: usize,
    verified: bool,
}

// FROM SERVERS ------------------------------------------------------------------------------

/// Who posts, and what is to be known of the source.
#[derive(Debug, Clone, Copy)]
struct Sender {
    credential: Credential,
    source: SourceId,
    customers_are_accounts: bool,
    received_at_ms: i64,
}

impl Sender {
    /// The sender behind both headers, which must belong together.
    fn of(request: &HttpRequest, catalog: &Catalog) -> Result<Self> {
        let received_at_ms = now_ms();
        let header = |name, code, detail| {
            let value = request.headers().get(name);
            // What is no text is neither key nor id, but it was sent.
            let text = value.map(|value| value.to_str().unwrap_or("").trim());
            text.ok_or_else(|| Error::new(Kind::Unauthorized, code, detail))
        };
        let key = header(
            KEY_HEADER,
            "missing_api_key",
            "Send an API key of the workspace in the x-ck-api-key header.",
        )?;
        let credential = request::admit(catalog, key, KEY_HEADER, &SCOPES)?;
        let app = header(
            APP_HEADER,
            "missing_app_id",
            "Send the id of the source that the events come from in the x-ck-app header.",
        )?;
        let source = browser::source(catalog, app, APP_HEADER)?;
        if source.workspace != credential.workspace {
            // Another workspace's source is not there for this one.
            return Err(browser::unknown_source(APP_HEADER));
        }
        if credential.source.is_some_and(|own| own != source.id) {
            return Err(Error::new(
                Kind::Unauthorized,
                "app_mismatch",
                "The API key in x-ck-api-key belongs to another source than x-ck-app names; use that source's own key.",
            ));
        }
        Ok(Self {
            credential: Credential {
                source: Some(source.id),
                customers_are_accounts: source.customers_are_accounts,
                ..credential
            },
            source: source.id,
            customers_are_accounts: source.customers_are_accounts,
            received_at_ms,
        })
    }

    fn watch<'r>(&self, rejects: &'r Rejects, path: &'static str) -> Watch<'r> {
        let endpoint = Endpoint::with_key_in(path, KEY_HEADER)
            .with_header(APP_HEADER, self.source.to_string());
        rejects.watch(endpoint, self.credential, self.received_at_ms)
    }

    fn normalize(&self, raw: RawEvent<'_>) -> Result<Event> {
        normalize(raw, &self.credential, self.received_at_ms)
    }

    /// The events of one request, in order.
    fn normalize_all(&self, raws: Vec<RawEvent<'_>>) -> Result<Vec<Event>> {
        // The last one first: it is the one that carries the refusals of all fields.
        let backwards = raws.into_iter().rev().map(|raw| self.normalize(raw));
        let mut events = backwards.collect::<Result<Vec<_>>>()?;
        events.reverse();
        Ok(events)
    }
}

/// Takes one event, with what it says of the customer and the user; answers after all of it is on disk.
async fn new(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let sender = Sender::of(&request, &catalog.current())?;
    let mut watch = sender.watch(&rejects, "/v1/api/events/new");
    let body = bodies.event(&request, payload).await;
    let answer = take_one(body, &acceptor, sender, wire::new, &mut watch).await;
    watch.finish(&answer);
    answer
}

/// Takes what is known of a customer or a user; answers after it is on disk.
async fn customer_update(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let sender = Sender::of(&request, &catalog.current())?;
    let mut watch = sender.watch(&rejects, "/v1/api/events/customer-update");
    let body = bodies.event(&request, payload).await;
    let answer = take_one(body, &acceptor, sender, wire::customer_update, &mut watch).await;
    watch.finish(&answer);
    answer
}

async fn take_one(
    body: Result<Body<'_>>,
    acceptor: &Acceptor,
    sender: Sender,
    read: fn(&str, bool) -> Result<Vec<RawEvent<'_>>>,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let body = body?;
    let events = watch.read(&body, |body| {
        sender.normalize_all(read(json::check(body)?, sender.customers_are_accounts)?)
    })?;
    answer_one(acceptor, events).await
}

async fn answer_one(acceptor: &Acceptor, events: Vec<Event>) -> Result<HttpResponse> {
    let verified = events
        .iter()
        .all(|event| event.verification != Verification::Unverified);
    let stored = acceptor.accept(events, at_root).await;
    let stored = stored.map_err(|refusal| refusal.of_properties(PROPERTIES))?;
    let last = stored.last().ok_or_else(|| {
        Error::internal(anyhow::anyhow!(
            "events were handed in and nothing was said of them"
        ))
    })?;
    Ok(HttpResponse::Ok().json(Answer {
        status: "success",
        verified,
        id: last.id(),
    }))
}

/// Takes up to 100 events, all or none; answers after they are on disk.
async fn bulk(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let sender = Sender::of(&request, &catalog.current())?;
    let mut watch = sender.watch(&rejects, "/v1/api/events/bulk");
    let body = bodies.batch(&request, payload).await;
    let answer = take_bulk(body, &acceptor, sender, &mut watch).await;
    watch.finish(&answer);
    answer
}

async fn take_bulk(
    body: Result<Body<'_>>,
    acceptor: &Acceptor,
    sender: Sender,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let body = body?;
    let events = watch.read(&body, |body| {
        let raws = wire::bulk(json::check(body)?, sender.customers_are_accounts)?;
        all_or_none("", raws.map(|raw| sender.normalize(raw?)))
    })?;
    // Before anything is waited for, so that it is not in memory twice.
    drop(body);
    let stored = acceptor.accept(events, |index| format!("/{index}")).await;
    let stored = stored.map_err(|refusal| refusal.of_properties(PROPERTIES))?;
    Ok(HttpResponse::Ok().json(BulkAnswer {
        status: "success",
        event_count: stored.len(),
        verified: true,
    }))
}

// FROM BROWSERS -----------------------------------------------------------------------------

/// Takes one event from a page of a site that the source lists; answers after it is on disk.
async fn client(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> HttpResponse {
    let answer = take_client(&request, payload, &bodies, &catalog, &acceptor, &rejects).await;
    browser::readable(&request, answer)
}

async fn take_client(
    request: &HttpRequest,
    payload: web::Payload,
    bodies: &Bodies,
    catalog: &CatalogHandle,
    acceptor: &Acceptor,
    rejects: &Rejects,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    let body = bodies.event(request, payload).await?;
    let posted = wire::Client::read(json::check(&body)?)?;
    let (watch, event) = {
        let catalog = catalog.current();
        let source = browser::named_source(&catalog, posted.app_id, "appId")?;
        let credential = browser::credential(source, Verification::Unverified);
        let endpoint = Endpoint::new("/v1/api/events/client");
        let mut watch = rejects.watch(endpoint, credential, received_at_ms);
        let event = watch.read(&body, |_| {
            browser::check_origin(request, source)?;
            let said = posted.into_said(source.customers_are_accounts);
            let verification = browser::verification(source, said.who(), said.auth_hash())?;
            let credential = browser::credential(source, verification);
            normalize(said.raw, &credential, received_at_ms)
        });
        (watch, event)
    };
    let answer = match event {
        Ok(event) => answer_one(acceptor, vec![event]).await,
        Err(refusal) => Err(refusal),
    };
    watch.finish(&answer);
    answer
}
