//! Pillarbox's own dialect: `POST /api/v1/events` (wire.md, "Native"), one event or a batch of them.
//! Owns its endpoint and its answers; what an event looks like there is in `wire.rs`.

mod wire;

use self::wire::{Shape, parse};
use super::rejects::{Endpoint, Rejects, Watch};
use super::request::{self, Admission, Bodies, Body};
use crate::accept::{Acceptance, Acceptor};
use crate::access::Scope;
use crate::error::{Error, FieldError, Kind, Result};
use crate::event::{Credential, Event};
use crate::id::EventId;
use crate::json::{self, Place};
use crate::normalize::normalize;
use crate::store::catalog::CatalogHandle;
use crate::time::now_ms;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::value::RawValue;

const ADMISSION: Admission = Admission {
    takes_bearer: true,
    scopes: &[Scope::WriteEvents, Scope::WriteCustomEvents],
};

const ENDPOINT: Endpoint = Endpoint::with_api_key("/api/v1/events");

/// Takes one event or a batch; answers after what is taken is on disk.
///
/// One event: 200 with its [`Outcome`], or a problem. A batch: an [`Outcome`] for each event in
/// order, with 200 when any of them is in the log, and with 422 when none is. What is wrong with the
/// body as a whole is a problem, and nothing is stored.
pub(super) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    let credential = request::credential(&request, &catalog.current(), &ADMISSION)?;
    let mut watch = rejects.watch(ENDPOINT, credential, received_at_ms);
    let body = bodies.batch(&request, payload).await;
    let answer = take(body, &credential, received_at_ms, &acceptor, &mut watch).await;
    watch.finish(&answer);
    answer
}

async fn take(
    body: Result<Body<'_>>,
    credential: &Credential,
    received_at_ms: i64,
    acceptor: &Acceptor,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let body = body?;
    let posted = watch.read(&body, |body| Posted::read(body, credential, received_at_ms))?;
    if let Some(offset) = posted.first_refused_at {
        watch.turn_to(&body, offset);
    }
    // Before anything is waited for, so that it is not in memory twice.
    drop(body);
    let shape = posted.shape;
    let outcomes = posted.accept(acceptor).await?;
    match shape {
        Shape::One => answer_one(outcomes),
        Shape::Batch => Ok(answer_batch(outcomes, watch)),
    }
}

// ANSWERS -----------------------------------------------------------------------------------

/// What became of one event.
#[derive(Serialize)]
struct Outcome {
    /// `created`, `duplicate` or `rejected`.
    status: &'static str,
    /// The event in the log; of a duplicate, the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Rejection>,
}

/// Why an event of a batch is not in the log.
#[derive(Serialize)]
struct Rejection {
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
}

#[derive(Serialize)]
struct Results {
    results: Vec<Outcome>,
}

impl Outcome {
    fn of(acceptance: Acceptance) -> Result<Self> {
        let (status, id) = match acceptance {
            Acceptance::Created(id) => ("created", id),
            Acceptance::Duplicate(id) => ("duplicate", id),
            Acceptance::Conflict(id) => return Err(conflict(id)),
        };
        Ok(Self {
            status,
            id: Some(id),
            error: None,
        })
    }

    /// The refusal of the event at `index` of a batch, its pointers from the body's root.
    fn rejected(index: usize, error: &Error) -> Self {
        let errors = error.field_errors().iter().map(|field| FieldError {
            pointer: format!("/events/{index}{}", field.pointer),
            ..field.clone()
        });
        Self {
            status: "rejected",
            id: None,
            error: Some(Rejection {
                code: error.code(),
                detail: error.message().to_owned(),
                errors: errors.collect(),
            }),
        }
    }
}

fn conflict(earlier: EventId) -> Error {
    Error::field(
        "/messageId",
        "idempotency_conflict",
        format!(
            "Another event came under this messageId before, {earlier}; give this one its own."
        ),
    )
    .with_kind(Kind::Conflict)
}

fn answer_one(outcomes: Vec<Result<Outcome>>) -> Result<HttpResponse> {
    let outcome = outcomes.into_iter().next().unwrap_or_else(unanswered)?;
    Ok(HttpResponse::Ok().json(outcome))
}

fn answer_batch(outcomes: Vec<Result<Outcome>>, watch: &mut Watch<'_>) -> HttpResponse {
    let status = if outcomes.iter().any(Result::is_ok) {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let refused = outcomes.iter().enumerate().filter_map(|(index, outcome)| {
        let error = outcome.as_ref().err()?;
        Some((format!("/events/{index}"), error))
    });
    watch.reject_events(status.as_u16(), refused);
    let results = outcomes
        .into_iter()
        .enumerate()
        .map(|(index, outcome)| outcome.unwrap_or_else(|e| Outcome::rejected(index, &e)))
        .collect();
    HttpResponse::build(status).json(Results { results })
}

fn unanswered() -> Result<Outcome> {
    Err(Error::internal(anyhow::anyhow!(
        "an event was handed in and nothing was said of it"
    )))
}

// EVENTS ------------------------------------------------------------------------------------

/// What was posted, every rule applied.
struct Posted {
    shape: Shape,
    /// In order, without those that a rule refuses.
    events: Vec<Event>,
    /// The refusals and their places among the events, in order.
    refused: Vec<(usize, Error)>,
    /// A byte of the body within the first event of a batch that is refused, where that is known.
    first_refused_at: Option<usize>,
}

impl Posted {
    /// # Errors
    /// What is wrong with the body as a whole.
    fn read(body: &[u8], credential: &Credential, received_at_ms: i64) -> Result<Self> {
        let (shape, wires) = parse(json::check(body)?)?;
        let mut events = Vec::with_capacity(wires.len());
        let mut refused = Vec::new();
        let mut first_refused_at = None;
        for (index, Place(wire)) in wires.into_iter().enumerate() {
            let value = wire.as_ref().and_then(wire::Wire::any_value);
            let event = match wire {
                Some(wire) => normalize(wire.into_raw(), credential, received_at_ms),
                None => Err(Error::field(
                    "",
                    "wrong_type",
                    "An event must be an object.",
                )),
            };
            match event {
                Ok(event) => events.push(event),
                Err(error) => {
                    if shape == Shape::Batch && refused.is_empty() {
                        first_refused_at = value.map(|value| place_in(body, value));
                    }
                    refused.push((index, error));
                }
            }
        }
        Ok(Self {
            shape,
            events,
            refused,
            first_refused_at,
        })
    }

    /// Has the events stored; what became of each, in the order of the body.
    async fn accept(self, acceptor: &Acceptor) -> Result<Vec<Result<Outcome>>> {
        let len = self.events.len() + self.refused.len();
        let mut accepted = if self.events.is_empty() {
            Vec::new().into_iter()
        } else {
            acceptor.accept_each(self.events).await?.into_iter()
        };
        let mut refused = self.refused.into_iter().peekable();
        Ok((0..len)
            .map(|index| match refused.next_if(|(at, _)| *at == index) {
                Some((_, error)) => Err(error),
                None => match accepted.next() {
                    Some(acceptance) => acceptance.and_then(Outcome::of),
                    None => unanswered(),
                },
            })
            .collect())
    }
}

/// The byte of `body` at which a value of it begins.
fn place_in(body: &[u8], value: &RawValue) -> usize {
    let (start, at) = (body.as_ptr().addr(), value.get().as_ptr().addr());
    at.saturating_sub(start)
}
