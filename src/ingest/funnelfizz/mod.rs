//! FunnelFizz's server-side events: `POST /api/tracking/server-events?workspaceId=ws_…` (seed "Server-side
//! events"; wire.md, "FunnelFizz"), for pages of one's own that a signed-in member looks at. Owns its endpoint
//! and its answers; what a request looks like is in `wire.rs`, and who is signed in is `admin`'s business.

mod wire;

use self::wire::read;
use super::quota::{EVENTS_PER_HOUR, EventQuota};
use super::rejects::{Endpoint, Rejects};
use super::request::Bodies;
use crate::accept::{Acceptor, Contradiction};
use crate::access::Role;
use crate::admin;
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Event, Verification};
use crate::id::{EventId, UserId};
use crate::store::catalog::CatalogHandle;
use crate::store::rejects::Resend;
use crate::time::now_ms;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _, web};
use serde::Serialize;
use url::form_urlencoded;

#[derive(Serialize)]
struct Answer {
    accepted: usize,
    ids: Vec<EventId>,
}

/// Takes up to fifty events, all or none; answers after they are on disk.
pub(super) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    quota: web::Data<EventQuota>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    check_sender(&request)?;
    let member = admin::member(&request, workspace_id(&request)?).await?;
    if member.role < Role::Member {
        // What somebody else's workspace answers.
        return Err(Error::not_found("workspace"));
    }
    let poster = Credential {
        workspace: member.workspace,
        source: None,
        key: None,
        verification: Verification::Session,
        customers_are_accounts: false,
    };
    let endpoint = Endpoint::without_command("/api/tracking/server-events", Resend::Session);
    let mut watch = rejects.watch(endpoint, poster, received_at_ms);
    let answer = async {
        let body = bodies.batch(&request, payload).await?;
        let events = watch.read(&body, |body| {
            read(body, &catalog.current(), member, received_at_ms)
        })?;
        // Before anything is waited for, so that it is not in memory twice.
        drop(body);
        take(events, member.user, &acceptor, &quota, received_at_ms).await
    }
    .await;
    watch.finish(&answer);
    Ok(counted(answer, &quota, member.user))
}

/// Stores the events within the member's hourly share.
async fn take(
    events: Vec<Event>,
    user: UserId,
    acceptor: &Acceptor,
    quota: &EventQuota,
    now_ms: i64,
) -> Result<HttpResponse> {
    let accepted = events.len();
    quota.take(user, accepted, now_ms)?;
    let outcome = match acceptor
        .accept_all(events, |index| format!("/events/{index}"))
        .await
    {
        Ok(placed) => placed.map_err(conflict),
        Err(error) => Err(error.of_properties("props")),
    };
    if outcome.is_err() {
        quota.give_back(user, accepted);
    }
    Ok(HttpResponse::Ok().json(Answer {
        accepted,
        ids: outcome?,
    }))
}

fn conflict(Contradiction { index, earlier }: Contradiction) -> Error {
    let other = match earlier {
        Some(id) => format!("Another event came under this messageId before, {id}"),
        None => "Another event of this request has this messageId".to_owned(),
    };
    Error::field(
        format!("/events/{index}/messageId"),
        "idempotency_conflict",
        format!("{other}; give this one its own. Nothing was stored."),
    )
    .with_kind(Kind::Conflict)
}

/// Says beside the answer what is left of the member's hourly share.
fn counted(answer: Result<HttpResponse>, quota: &EventQuota, user: UserId) -> HttpResponse {
    let mut response = answer.unwrap_or_else(|error| error.error_response());
    let left = quota.left(user, now_ms());
    for (name, value) in [
        ("x-ratelimit-limit", EVENTS_PER_HOUR),
        ("x-ratelimit-remaining", left.events),
        ("x-ratelimit-reset", left.full_at_s),
    ] {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    response
}

// WHO ---------------------------------------------------------------------------------------

/// A cookie goes along with whatever a browser sends here, so the browser must say that our own page sent it
/// (wire.md: "CSRF"). A form of another site cannot say that it sends JSON.
fn check_sender(request: &HttpRequest) -> Result<()> {
    if !admin::comes_from_our_pages(request) {
        return Err(Error::new(
            Kind::Forbidden,
            "foreign_request",
            "Only pages at the box's own address may post here, since a cookie says who posts: the Origin header must \
             be that address. Nothing was stored; from anywhere else post to /api/v1/events with an API key.",
        ));
    }
    if !request
        .content_type()
        .eq_ignore_ascii_case("application/json")
    {
        return Err(Error::new(
            Kind::Unsupported,
            "unsupported_media_type",
            "Say Content-Type: application/json; nothing was stored.",
        ));
    }
    Ok(())
}

fn workspace_id(request: &HttpRequest) -> Result<String> {
    form_urlencoded::parse(request.query_string().as_bytes())
        .find(|(name, _)| name == "workspaceId")
        .map(|(_, id)| id.into_owned())
        .ok_or_else(|| {
            let detail = "Name the workspace in the address: ?workspaceId=ws_….";
            Error::field("/workspaceId", "required", detail)
        })
}
