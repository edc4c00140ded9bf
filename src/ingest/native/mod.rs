//! Pillarbox's own dialect: `POST /api/v1/events` (wire.md, "Native"), one event or a batch of them.
//! Owns its endpoint and its answers; what an event looks like there is in `wire.rs`, what one a line means
//! in `lines.rs`, and the `Idempotency-Key` header in `key.rs`.

mod key;
mod lines;
mod wire;

use self::key::Key;
use self::wire::{Shape, Wire, parse};
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

/// So many refused fields of a batch are named; of events after that, one each.
const MAX_NAMED_FIELDS: usize = 1_000;

const ADMISSION: Admission = Admission {
    takes_bearer: true,
    scopes: &[Scope::WriteEvents, Scope::WriteCustomEvents],
};

/// Takes one event or many; answers after what is taken is on disk.
///
/// One event: 200 with its [`Outcome`], or a problem. A batch, or an event a line: an [`Outcome`] for each
/// event in order, with 200 when any of them is in the log, and with 422 when none is. What is wrong with
/// the body as a whole is a problem, and nothing is stored.
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
    let is_lines = lines::announced(&request);
    let key = Key::of(&request);
    let endpoint = endpoint(key.as_ref().ok().and_then(Option::as_ref), is_lines);
    let mut watch = rejects.watch(endpoint, credential, received_at_ms);
    let body = bodies.batch(&request, payload).await;
    let posted = Posted::new(&credential, received_at_ms, is_lines);
    let answer = match key {
        Ok(key) => take(body, posted.under(key), &acceptor, &mut watch).await,
        Err(error) => Err(error),
    };
    watch.finish(&answer);
    answer
}

/// What a command that posts the same again needs.
fn endpoint(key: Option<&Key>, is_lines: bool) -> Endpoint {
    let mut endpoint = Endpoint::with_key_in("/api/v1/events", "x-api-key");
    if is_lines {
        endpoint = endpoint.of_type(lines::CONTENT_TYPE);
    }
    match key {
        Some(key) => endpoint.with_header(key::HEADER, key.as_str()),
        None => endpoint,
    }
}

async fn take(
    body: Result<Body<'_>>,
    posted: Posted<'_>,
    acceptor: &Acceptor,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let body = body?;
    let posted = watch.read(&body, |body| posted.read(body))?;
    if let Some(offset) = posted.first_refused_at {
        watch.turn_to(&body, offset);
    }
    // Before anything is waited for, so that it is not in memory twice.
    drop(body);
    let form = posted.form;
    let outcomes = posted.accept(acceptor).await?;
    match form {
        Form::One => answer_one(outcomes),
        Form::Batch | Form::Lines => Ok(answer_many(form, outcomes, watch)),
    }
}

/// How the events came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The body is the event.
    One,
    /// Under `events`.
    Batch,
    /// One a line.
    Lines,
}

impl Form {
    /// Where the event at `index` stands, from the body's root: of lines, as if they were the items of an
    /// array.
    fn place(self, index: usize) -> String {
        match self {
            Self::Lines => format!("/{index}"),
            Self::One | Self::Batch => format!("/events/{index}"),
        }
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
    /// Whether it is the same event when it comes again.
    #[serde(skip)]
    has_key: bool,
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
    fn of(acceptance: Acceptance, keyed_by: KeyedBy) -> Result<Self> {
        let (status, id) = match acceptance {
            Acceptance::Created(id) => ("created", id),
            Acceptance::Duplicate(id) => ("duplicate", id),
            Acceptance::Conflict(id) => return Err(conflict(id, keyed_by)),
        };
        Ok(Self {
            status,
            id: Some(id),
            error: None,
            has_key: keyed_by != KeyedBy::Nothing,
        })
    }

    /// The refusal of the event at `index`, its pointers from the body's root, with at most `max_fields`
    /// of its fields.
    fn rejected(form: Form, index: usize, error: &Error, max_fields: usize) -> Self {
        let place = form.place(index);
        let errors = error.field_errors().iter().take(max_fields);
        let errors = errors.map(|field| FieldError {
            pointer: format!("{place}{}", field.pointer),
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
            has_key: false,
        }
    }
}

fn conflict(earlier: EventId, keyed_by: KeyedBy) -> Error {
    let (pointer, key) = if keyed_by == KeyedBy::Header {
        ("", "Idempotency-Key")
    } else {
        ("/messageId", "messageId")
    };
    Error::field(
        pointer,
        "idempotency_conflict",
        format!("Another event came under this {key} before, {earlier}; give this one its own."),
    )
    .with_kind(Kind::Conflict)
}

fn answer_one(outcomes: Vec<Result<Outcome>>) -> Result<HttpResponse> {
    let outcome = outcomes.into_iter().next().unwrap_or_else(unanswered)?;
    Ok(HttpResponse::Ok().json(outcome))
}

fn answer_many(form: Form, outcomes: Vec<Result<Outcome>>, watch: &mut Watch<'_>) -> HttpResponse {
    let status = if outcomes.iter().any(Result::is_ok) {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let refused = outcomes.iter().enumerate().filter_map(|(index, outcome)| {
        let error = outcome.as_ref().err()?;
        Some((form.place(index), error))
    });
    let stored = outcomes.iter().flatten();
    let unkeyed = stored.filter(|outcome| !outcome.has_key).count();
    watch.reject_events(status.as_u16(), outcomes.len(), unkeyed, refused);
    let mut room = MAX_NAMED_FIELDS;
    let results = outcomes
        .into_iter()
        .enumerate()
        .map(|(index, outcome)| {
            outcome.unwrap_or_else(|error| {
                let fields = room.max(1);
                room = room.saturating_sub(error.field_errors().len());
                Outcome::rejected(form, index, &error, fields)
            })
        })
        .collect();
    HttpResponse::build(status).json(Results { results })
}

fn unanswered() -> Result<Outcome> {
    Err(Error::internal(anyhow::anyhow!(
        "an event was handed in and nothing was said of it"
    )))
}

// EVENTS ------------------------------------------------------------------------------------

/// What an event is known by when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyedBy {
    /// The request's `Idempotency-Key`.
    Header,
    /// Its own `messageId`.
    Itself,
    /// Nothing: it is another one then.
    Nothing,
}

/// What was posted, every rule applied.
struct Posted<'a> {
    credential: &'a Credential,
    received_at_ms: i64,
    key: Option<Key>,
    form: Form,
    /// In order, without those that a rule refuses.
    events: Vec<Event>,
    /// What each of these is known by.
    keyed_by: Vec<KeyedBy>,
    /// The refusals and their places among the events, in order.
    refused: Vec<(usize, Error)>,
    /// A byte of the body within the first of many that is refused, where that is known.
    first_refused_at: Option<usize>,
}

impl<'a> Posted<'a> {
    fn new(credential: &'a Credential, received_at_ms: i64, is_lines: bool) -> Self {
        Self {
            credential,
            received_at_ms,
            key: None,
            form: if is_lines { Form::Lines } else { Form::One },
            events: Vec::new(),
            keyed_by: Vec::new(),
            refused: Vec::new(),
            first_refused_at: None,
        }
    }

    /// With the key that holds for the whole request.
    fn under(self, key: Option<Key>) -> Self {
        Self { key, ..self }
    }

    /// # Errors
    /// What is wrong with the body as a whole.
    fn read(mut self, body: &[u8]) -> Result<Self> {
        match self.form {
            Form::Lines => self.read_lines(body)?,
            Form::One | Form::Batch => self.read_object(body)?,
        }
        Ok(self)
    }

    /// Reads one event or a batch.
    fn read_object(&mut self, body: &[u8]) -> Result<()> {
        let (shape, wires) = parse(json::check(body)?)?;
        self.expect(
            match shape {
                Shape::One => Form::One,
                Shape::Batch => Form::Batch,
            },
            wires.len(),
        )?;
        for (index, Place(wire)) in wires.into_iter().enumerate() {
            self.take(body, index, Ok(wire));
        }
        Ok(())
    }

    /// Reads an event a line.
    fn read_lines(&mut self, body: &[u8]) -> Result<()> {
        let lines = lines::read(body)?;
        self.expect(Form::Lines, lines.len())?;
        for (index, line) in lines.into_iter().enumerate() {
            self.take(body, index, line.map(|Place(wire)| wire));
        }
        Ok(())
    }

    fn expect(&mut self, form: Form, count: usize) -> Result<()> {
        self.form = form;
        self.events.reserve_exact(count);
        match &self.key {
            Some(key) if form != Form::One => key.check_shared(),
            _ => Ok(()),
        }
    }

    /// Takes the event at `index` in, or its refusal; what is no object is `None`.
    fn take(&mut self, body: &[u8], index: usize, wire: Result<Option<Wire<'_>>>) {
        let value = wire.as_ref().ok().and_then(Option::as_ref);
        let value = value.and_then(Wire::any_value);
        match wire.and_then(|wire| self.event(index, wire)) {
            Ok((event, keyed_by)) => {
                self.events.push(event);
                self.keyed_by.push(keyed_by);
            }
            Err(error) => {
                if self.form != Form::One && self.refused.is_empty() {
                    self.first_refused_at = value.map(|value| place_in(body, value));
                }
                self.refused.push((index, error));
            }
        }
    }

    fn event(&self, index: usize, wire: Option<Wire<'_>>) -> Result<(Event, KeyedBy)> {
        let Some(wire) = wire else {
            let detail = "An event must be an object.";
            return Err(Error::field("", "wrong_type", detail));
        };
        let mut raw = wire.into_raw();
        let keyed_by_header = match &self.key {
            None => false,
            Some(key) if self.form == Form::One => key.name_only(&mut raw),
            Some(key) => key.name_one_of_many(&mut raw, index),
        };
        let event = normalize(raw, self.credential, self.received_at_ms)?;
        let keyed_by = match &event.dedup_key {
            None => KeyedBy::Nothing,
            Some(_) if keyed_by_header => KeyedBy::Header,
            Some(_) => KeyedBy::Itself,
        };
        Ok((event, keyed_by))
    }

    /// Has the events stored; what became of each, in the order of the body.
    async fn accept(self, acceptor: &Acceptor) -> Result<Vec<Result<Outcome>>> {
        let len = self.events.len() + self.refused.len();
        let accepted = if self.events.is_empty() {
            Vec::new()
        } else {
            acceptor.accept_each(self.events).await?
        };
        let mut accepted = accepted.into_iter().zip(self.keyed_by);
        let mut refused = self.refused.into_iter().peekable();
        Ok((0..len)
            .map(|index| match refused.next_if(|(at, _)| *at == index) {
                Some((_, error)) => Err(error),
                None => match accepted.next() {
                    Some((acceptance, keyed_by)) => Outcome::of(acceptance?, keyed_by),
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
