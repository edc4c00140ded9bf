//! Replays: the list, and one of them with its estimate, its progress, and what starts and stops it.

use super::answer::{Page, ok, see_other};
use super::flash::Flash;
use super::format::number;
use super::forms::Form;
use super::history_filter::{FIELDS, HistoryFilter};
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, State, When, cut_page};
use super::webhook_form::webhook_id;
use crate::access::Role;
use crate::deliver::replays::Replays;
use crate::delivery::DeliveryState;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, ReplayId, WorkspaceId};
use crate::manage::{self, Actor};
use crate::replay::{self, DEFAULT_RATE, MAX_RATE, ReplayState, Selection, moment};
use crate::store::replays::{self, ReplayRow};
use crate::store::webhooks;
use crate::time::rfc3339;
use actix_web::{HttpResponse, web};
use askama::Template;
use rusqlite::Connection;

/// A page whose replay runs asks for itself again this often.
const POLL: &str = "every 1s";
/// The progress bar's width, in its own units.
const BAR_WIDTH: i64 = 1_000;

struct Line {
    href: String,
    about: String,
    state: State,
    done: String,
    of: String,
    failed: String,
    when: When,
}

#[derive(Template)]
#[template(path = "replays.html")]
struct List {
    shell: Shell,
    rows: Vec<Line>,
    is_first: bool,
    next: Option<String>,
}

/// The workspace's replays, newest first.
pub(super) async fn list(visitor: Visitor, cursor: web::Query<Cursor>) -> Page {
    let workspace = visitor.membership.workspace;
    let before: Option<ReplayId> = cursor.before();
    let mut rows = visitor
        .desk()
        .read(move |connection| replays::page(connection, workspace, before, PAGE_ROWS + 1))
        .await?;
    let next = cut_page(&mut rows, |row| row.id.to_string());
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    ok(&List {
        shell: Shell::new(&visitor, Section::Deliveries, "Replays", &Flash::default()),
        rows: rows
            .into_iter()
            .map(|row| Line {
                href: format!("{base}/replays/{}", row.id),
                about: about(&row),
                state: State::of_replay(row.state),
                done: number(row.counts.done()),
                of: estimate(&row),
                failed: number(row.counts.failed),
                when: When::new(row.created_at_ms, now_ms),
            })
            .collect(),
        is_first: before.is_none(),
        next,
    })
}

fn estimate(row: &ReplayRow) -> String {
    if row.is_more {
        format!("more than {}", number(row.estimate))
    } else {
        number(row.estimate)
    }
}

/// What a replay sends, in words.
fn about(row: &ReplayRow) -> String {
    if row.is_chosen {
        return "Deliveries that were chosen one by one".to_owned();
    }
    let selection = &row.selection;
    let mut words = match selection.state {
        Some(DeliveryState::Pending) => "Waiting deliveries".to_owned(),
        Some(state) => {
            let word = state.as_str();
            let (first, rest) = word.split_at(1);
            format!("{}{rest} deliveries", first.to_uppercase())
        }
        None => "All deliveries".to_owned(),
    };
    if let Some(pattern) = &selection.event_type {
        words.push_str(&format!(" of {pattern}"));
    }
    if selection.webhook.is_some() {
        let name = row.webhook_name.as_deref().unwrap_or("a webhook");
        words.push_str(&format!(" to {name}"));
    }
    if selection.after.as_i64() > 0 {
        words.push_str(&format!(", from {}", minute(selection.after)));
    }
    words.push_str(&format!(", until {}", minute(selection.before)));
    words
}

fn minute(id: DeliveryId) -> String {
    let text = rfc3339(id.unix_ms());
    let (date, time) = (text.get(..10), text.get(11..16));
    format!("{} {} UTC", date.unwrap_or(""), time.unwrap_or(""))
}

#[derive(Template)]
#[template(path = "replay.html")]
struct Show {
    shell: Shell,
    id: String,
    href: String,
    about: String,
    state: State,
    reason: Option<String>,
    lede: String,
    sent: String,
    succeeded: String,
    failed: String,
    skipped: String,
    estimate: String,
    created_by: String,
    created: When,
    started: Option<When>,
    ended: Option<When>,
    /// The widths of what succeeded, failed and was skipped.
    bar: [i64; 3],
    bar_width: i64,
    rate: u32,
    max_rate: u32,
    is_new: bool,
    may_start: bool,
    may_pause: bool,
    may_cancel: bool,
    poll: Option<&'static str>,
}

fn replay_id(path: &(String, String)) -> Result<ReplayId> {
    path.1.parse().map_err(|_| Error::not_found("replay"))
}

/// One replay.
pub(super) async fn show(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    let (workspace, id) = (visitor.membership.workspace, replay_id(&path)?);
    let row = visitor
        .desk()
        .read(move |connection| replays::get(connection, workspace, id))
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let may_change = visitor.is_at_least(Role::Member);
    let counts = row.counts;
    let whole = row.estimate.max(counts.done()).max(1);
    let width = |count: i64| count.saturating_mul(BAR_WIDTH) / whole;
    ok(&Show {
        shell: Shell::new(&visitor, Section::Deliveries, "Replay", &Flash::default()),
        id: id.to_string(),
        href: format!("{base}/replays/{id}"),
        about: about(&row),
        state: State::of_replay(row.state),
        lede: lede(&row),
        sent: number(counts.sent),
        succeeded: number(counts.succeeded),
        failed: number(counts.failed),
        skipped: number(counts.skipped),
        estimate: estimate(&row),
        created_by: row.created_by.unwrap_or_else(|| "somebody".to_owned()),
        created: When::new(row.created_at_ms, now_ms),
        started: row.started_at_ms.map(|at| When::new(at, now_ms)),
        ended: row.ended_at_ms.map(|at| When::new(at, now_ms)),
        bar: [counts.succeeded, counts.failed, counts.skipped].map(width),
        bar_width: BAR_WIDTH,
        rate: row.rate,
        max_rate: MAX_RATE,
        is_new: row.state == ReplayState::Ready,
        may_start: may_change && row.state.may_start(),
        may_pause: may_change && row.state.may_pause(),
        may_cancel: may_change && row.state.may_cancel(),
        poll: (row.state == ReplayState::Running).then_some(POLL),
        reason: row.reason,
    })
}

/// Where the replay stands, in a sentence.
fn lede(row: &ReplayRow) -> String {
    let rate = i64::from(row.rate);
    match row.state {
        ReplayState::Ready if row.estimate == 0 && !row.is_more => {
            "Nothing matches, so there is nothing to send.".to_owned()
        }
        ReplayState::Ready => format!(
            "{} to send, which takes about {} at {} a second. Nothing is sent before somebody starts it.",
            match (row.is_more, row.estimate) {
                (false, 1) => "1 delivery".to_owned(),
                (true, _) => format!("More than {} deliveries", number(row.estimate)),
                (false, _) => format!("{} deliveries", number(row.estimate)),
            },
            span(row.estimate / rate.max(1)),
            number(rate),
        ),
        ReplayState::Running => format!("It sends at most {} a second.", number(rate)),
        ReplayState::Paused => {
            "It is stopped for now, and goes on from its place when somebody starts it.".to_owned()
        }
        ReplayState::Done => "All of it was sent or skipped.".to_owned(),
        ReplayState::Cancelled => "It was given up. What it had sent is sent.".to_owned(),
    }
}

fn span(seconds: i64) -> String {
    match seconds {
        ..2 => "a second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3_600),
    }
}

/// Makes a replay of what a filter of the history lets through.
pub(super) async fn create(visitor: Visitor, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let mut allowed = FIELDS.to_vec();
    allowed.push("rate");
    let fields = form.open_signed(&visitor.person.form_token, &allowed)?;
    let selection = HistoryFilter::of(&fields).selection(visitor.desk().now_ms)?;
    let rate = replay::rate(fields.one("rate"))?;
    make(&visitor, selection, rate).await
}

/// Makes a replay of what failed at one webhook since a moment.
pub(super) async fn create_of_webhook(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    let vault = visitor.desk().vault.clone();
    visitor
        .desk()
        .read(move |connection| webhooks::get(connection, &vault, workspace, id))
        .await?;
    let fields = form.open_signed(&visitor.person.form_token, &["since"])?;
    let since_ms = moment("since", fields.one("since"), visitor.desk().now_ms)?;
    let selection = Selection {
        webhook: Some(id),
        state: Some(DeliveryState::Failed),
        after: DeliveryId::from_i64(DeliveryId::first_at(since_ms).as_i64() - 1),
        ..Selection::default()
    };
    make(&visitor, selection, DEFAULT_RATE).await
}

async fn make(visitor: &Visitor, selection: Selection, rate: u32) -> Page {
    let workspace = visitor.membership.workspace;
    // What was made to try a webhook is not sent again with the rest.
    let selection = Selection {
        with_tests: false,
        ..selection
    };
    let counted = selection.clone();
    let estimate = visitor
        .desk()
        .read(move |connection| manage::estimate(connection, workspace, &counted))
        .await?;
    let id = visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::create_replay(connection, actor, workspace, &selection, estimate, rate)
        })
        .await?;
    Ok(shown(visitor, id))
}

fn shown(visitor: &Visitor, id: ReplayId) -> HttpResponse {
    see_other(&format!("{}/replays/{id}", visitor.base()))
}

/// Starts it, for the first time or again.
pub(super) async fn start(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    replays: web::Data<Replays>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, replay_id(&path)?);
    let row = visitor
        .desk()
        .read(move |connection| replays::get(connection, workspace, id))
        .await?;
    let fields = form.open_signed(&visitor.person.form_token, &["rate"])?;
    let rate = match fields.one("rate").trim() {
        "" => row.rate,
        text => replay::rate(text)?,
    };
    visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::start_replay(connection, actor, workspace, id, rate)
        })
        .await?;
    replays.changed();
    Ok(shown(&visitor, id))
}

/// Stops it for now.
pub(super) async fn pause(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    replays: web::Data<Replays>,
    form: Form,
) -> Page {
    stop(&visitor, &path, &replays, form, manage::pause_replay).await
}

/// Gives it up.
pub(super) async fn cancel(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    replays: web::Data<Replays>,
    form: Form,
) -> Page {
    stop(&visitor, &path, &replays, form, manage::cancel_replay).await
}

/// How a replay is stopped.
type Stop = fn(&Connection, &Actor<'_>, WorkspaceId, ReplayId) -> Result<()>;

async fn stop(
    visitor: &Visitor,
    path: &(String, String),
    replays: &Replays,
    form: Form,
    how: Stop,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, replay_id(path)?);
    form.open_signed(&visitor.person.form_token, &[])?;
    visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            how(connection, actor, workspace, id)
        })
        .await?;
    replays.changed();
    Ok(shown(visitor, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_the_unit_that_fits() {
        assert_eq!(span(0), "a second");
        assert_eq!(span(119), "119 seconds");
        assert_eq!(span(1_000), "16 minutes");
        assert_eq!(span(7_200), "2 hours");
    }
}
