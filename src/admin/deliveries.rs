//! Deliveries: what left. The list, and one of them with every attempt, the exact request and
//! response, the cause in plain words, and an attempt at once.

use super::answer::{Page, ok, see_other};
use super::flash::{self, Flash, Said};
use super::format::{bytes, duration, number};
use super::forms::Form;
use super::json_view::BodyView;
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, State, When, cut_page};
use crate::access::Role;
use crate::deliver::AttemptRequests;
use crate::delivery::{DeliveryState, ErrorClass, Trigger};
use crate::error::{Error, Kind, Result};
use crate::id::DeliveryId;
use crate::manage;
use crate::store::attempts::{self, AttemptRow};
use crate::store::events;
use crate::store::history::{self, DeliveryFilter, DeliveryRow};
use actix_web::web;
use askama::Template;
use serde::Deserialize;

/// Attempts that the page shows; a schedule has ten.
const MAX_ATTEMPTS: usize = 50;
/// A page whose next attempt is nearer than this asks often.
const SOON_MS: i64 = 60_000;
const POLL_SOON: &str = "every 2s";
const POLL_LATER: &str = "every 20s";

/// A delivery in a list.
pub(super) struct DeliveryLine {
    /// Where it leads.
    pub(super) href: String,
    /// The event type.
    pub(super) event_type: String,
    /// The webhook's name.
    pub(super) webhook: String,
    /// Where it stands.
    pub(super) state: State,
    /// The last answer, or why there was none.
    pub(super) outcome: String,
    /// Attempts made.
    pub(super) attempts: String,
    /// When the next one is due.
    pub(super) next: Option<When>,
    /// When the event came.
    pub(super) when: When,
}

impl DeliveryLine {
    /// The line of a row.
    pub(super) fn new(row: DeliveryRow, base: &str, now_ms: i64) -> Self {
        Self {
            href: format!("{base}/deliveries/{}", row.id),
            state: State::of_delivery(row.state, row.attempts),
            outcome: outcome(row.last_status, row.last_error),
            attempts: number(row.attempts),
            next: row.next_attempt_at_ms.map(|at| When::due(at, now_ms)),
            when: When::new(row.id.unix_ms(), now_ms),
            event_type: row.event_type,
            webhook: row.webhook_name,
        }
    }
}

fn outcome(status: Option<u16>, error: Option<ErrorClass>) -> String {
    match (status, error) {
        (Some(status), _) => status.to_string(),
        (None, Some(class)) => class.as_str().replace('_', " "),
        (None, None) => String::new(),
    }
}

#[derive(Deserialize)]
pub(super) struct Filter {
    state: Option<String>,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    shell: Shell,
    only_failed: bool,
    rows: Vec<DeliveryLine>,
    is_first: bool,
    next: Option<String>,
}

/// The newest deliveries, all or the failed ones.
pub(super) async fn list(
    visitor: Visitor,
    filter: web::Query<Filter>,
    cursor: web::Query<Cursor>,
) -> Page {
    let workspace = visitor.membership.workspace;
    let only_failed = filter.state.as_deref() == Some("failed");
    let filter = if only_failed {
        DeliveryFilter::Failed
    } else {
        DeliveryFilter::All
    };
    let before: Option<DeliveryId> = cursor.before();
    let mut rows = visitor
        .desk()
        .read(move |connection| history::page(connection, workspace, filter, before, PAGE_ROWS + 1))
        .await?;
    let next = cut_page(&mut rows, |row| row.id.to_string());
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    ok(&List {
        shell: Shell::new(
            &visitor,
            Section::Deliveries,
            "Deliveries",
            &Flash::default(),
        ),
        only_failed,
        rows: rows
            .into_iter()
            .map(|row| DeliveryLine::new(row, &base, now_ms))
            .collect(),
        is_first: before.is_none(),
        next,
    })
}

/// One attempt in the strip.
struct Dot {
    href: String,
    number: String,
    state: State,
    outcome: String,
    trigger: String,
    when: When,
    took: String,
    is_shown: bool,
}

struct ResponseView {
    status: u16,
    headers: Vec<(String, String)>,
    body: BodyView,
    size: String,
    note: Option<String>,
}

/// The attempt that the page shows in full.
struct AttemptView {
    number: String,
    state: State,
    when: When,
    took: String,
    url: String,
    address: String,
    trigger: String,
    cause: Option<(&'static str, String)>,
    headers: Vec<(String, String)>,
    response: Option<ResponseView>,
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Show {
    shell: Shell,
    id: String,
    href: String,
    event_type: String,
    state: State,
    event: Option<String>,
    webhook: Option<String>,
    webhook_name: String,
    message: String,
    summary: String,
    next_attempt: Option<When>,
    poll: Option<&'static str>,
    poll_href: String,
    dots: Vec<Dot>,
    attempt: Option<AttemptView>,
    body: BodyView,
    body_size: String,
    may_retry: bool,
    /// Whether it is over without need of a person: sending it again is possible, but not called for.
    is_over: bool,
}

#[derive(Deserialize)]
pub(super) struct AttemptQuery {
    attempt: Option<i64>,
}

fn delivery_id(path: &(String, String)) -> Result<DeliveryId> {
    path.1.parse().map_err(|_| Error::not_found("delivery"))
}

/// One delivery.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    query: web::Query<AttemptQuery>,
    flash: web::Query<Flash>,
) -> Page {
    let (workspace, id) = (visitor.membership.workspace, delivery_id(&path)?);
    let (row, body, attempts, event) = visitor
        .desk()
        .read(move |connection| {
            let row = history::get(connection, workspace, id)?;
            let body = history::message_body(connection, workspace, row.message)?;
            let attempts = attempts::of_delivery(connection, id, MAX_ATTEMPTS)?;
            // An event may be swept before its deliveries are.
            let event = match row.event {
                Some(event) => events::find(connection, workspace, event)?.map(|stored| stored.id),
                None => None,
            };
            Ok((row, body, attempts, event))
        })
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let href = format!("{base}/deliveries/{id}");
    let shown = query
        .attempt
        .and_then(|number| attempts.iter().position(|attempt| attempt.number == number))
        .unwrap_or(0);
    let newest = attempts.first().map(|attempt| attempt.number);
    let dots = attempts
        .iter()
        .enumerate()
        .map(|(place, attempt)| dot(attempt, &href, now_ms, place == shown, newest))
        .rev()
        .collect();
    let is_asked_for = flash
        .attempts_before_retry()
        .is_some_and(|before| row.attempts <= before);
    ok(&Show {
        shell: Shell::new(&visitor, Section::Deliveries, &row.event_type, &flash),
        id: id.to_string(),
        state: State::of_delivery(row.state, row.attempts),
        event: event.map(|event| format!("{base}/events/{event}")),
        webhook: (!row.webhook_deleted).then(|| format!("{base}/webhooks/{}", row.webhook)),
        message: row.message.to_string(),
        summary: summary(&row, visitor.desk().settings.attempts),
        next_attempt: row.next_attempt_at_ms.map(|at| When::due(at, now_ms)),
        poll: poll(&row, is_asked_for, now_ms),
        poll_href: if is_asked_for {
            flash::to(&href, Said::Retrying, count(row.attempts))
        } else {
            href.clone()
        },
        dots,
        attempt: attempts
            .into_iter()
            .nth(shown)
            .map(|attempt| attempt_view(attempt, now_ms)),
        body: BodyView::of(&body),
        body_size: bytes(body.len()),
        may_retry: visitor.is_at_least(Role::Member) && !row.webhook_deleted,
        is_over: matches!(
            row.state,
            DeliveryState::Succeeded | DeliveryState::Cancelled
        ),
        event_type: row.event_type,
        webhook_name: row.webhook_name,
        href,
    })
}

fn count(attempts: i64) -> usize {
    usize::try_from(attempts).unwrap_or(0)
}

/// How often the page asks again: while something is to come, and after an attempt was asked for.
fn poll(row: &DeliveryRow, is_asked_for: bool, now_ms: i64) -> Option<&'static str> {
    match row.next_attempt_at_ms {
        _ if is_asked_for => Some(POLL_SOON),
        Some(at) if at - now_ms < SOON_MS => Some(POLL_SOON),
        Some(_) => Some(POLL_LATER),
        None => None,
    }
}

/// Where the delivery stands, in a sentence.
fn summary(row: &DeliveryRow, schedule: usize) -> String {
    let of_schedule = format!("{} of {schedule}", number(row.automatic_attempts));
    match row.state {
        DeliveryState::Pending if row.attempts == 0 => {
            "The first attempt is due as soon as the webhook's turn comes.".to_owned()
        }
        DeliveryState::Pending => format!(
            "{of_schedule} automatic attempts are made; the last one did not get a 2xx answer, so the schedule goes on."
        ),
        DeliveryState::Succeeded => match row.attempts {
            1 => "The receiver answered 2xx at the first attempt.".to_owned(),
            attempts => format!("The receiver answered 2xx after {} attempts.", number(attempts)),
        },
        DeliveryState::Failed => format!(
            "All {of_schedule} automatic attempts are used up. It is not sent again unless somebody asks for it."
        ),
        DeliveryState::Held => {
            "The webhook does not send, so this delivery waits. Activating the webhook asks what becomes of it.".to_owned()
        }
        DeliveryState::Cancelled => {
            "This delivery was given up: what was held was discarded, or the webhook was deleted.".to_owned()
        }
    }
}

fn dot(attempt: &AttemptRow, href: &str, now_ms: i64, is_shown: bool, newest: Option<i64>) -> Dot {
    let status = attempt.response.as_ref().map(|response| response.status);
    Dot {
        // The newest attempt is what the page shows by itself.
        href: if newest == Some(attempt.number) {
            href.to_owned()
        } else {
            format!("{href}?attempt={}", attempt.number)
        },
        number: number(attempt.number),
        state: State::of_attempt(attempt.error.is_none()),
        outcome: outcome(status, attempt.error.as_ref().map(|(class, _)| *class)),
        trigger: attempt.trigger.clone(),
        when: When::new(attempt.started_at_ms, now_ms),
        took: duration(attempt.duration_us),
        is_shown,
    }
}

fn attempt_view(attempt: AttemptRow, now_ms: i64) -> AttemptView {
    AttemptView {
        number: number(attempt.number),
        state: State::of_attempt(attempt.error.is_none()),
        when: When::new(attempt.started_at_ms, now_ms),
        took: duration(attempt.duration_us),
        url: attempt.url,
        address: attempt
            .address
            .unwrap_or_else(|| "none was dialled".to_owned()),
        trigger: attempt.trigger,
        cause: attempt.error.map(|(class, detail)| {
            (
                class.explain(attempt.response.as_ref().map(|r| r.status)),
                detail,
            )
        }),
        headers: attempt.request_headers.pairs(),
        response: attempt.response.map(|response| ResponseView {
            status: response.status,
            headers: response.headers.pairs(),
            body: BodyView::of(&response.body),
            size: bytes(response.body.len()),
            note: response.truncated.then(|| match response.length {
                Some(length) => format!(
                    "Cut off: the first {} of {} are kept.",
                    bytes(response.body.len()),
                    bytes(usize::try_from(length).unwrap_or(usize::MAX))
                ),
                None => format!(
                    "Cut off: the first {} are kept.",
                    bytes(response.body.len())
                ),
            }),
        }),
    }
}

/// Asks for an attempt at once; the schedule stays as it is.
pub(super) async fn retry(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, delivery_id(&path)?);
    let row = visitor
        .desk()
        .read(move |connection| history::get(connection, workspace, id))
        .await?;
    form.open_signed(&visitor.person.form_token, &[])?;
    if row.webhook_deleted {
        let message = "The webhook of this delivery is deleted, so there is nowhere to send it.";
        return Err(Error::new(Kind::Conflict, "webhook_deleted", message).into());
    }
    attempts.request(id, Trigger::Manual, None)?;
    visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::note_retry(connection, actor, workspace, id)
        })
        .await?;
    let shown = format!("{}/deliveries/{id}", visitor.base());
    Ok(see_other(&flash::to(
        &shown,
        Said::Retrying,
        count(row.attempts),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_a_status_or_a_reason() {
        assert_eq!(outcome(Some(503), Some(ErrorClass::Http5xx)), "503");
        assert_eq!(
            outcome(None, Some(ErrorClass::ConnectRefused)),
            "connect refused"
        );
        assert_eq!(outcome(None, None), "");
    }
}
