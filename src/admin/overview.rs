//! Is it working? The three first steps until they are done, then what came, what left, and what
//! needs a person, failing endpoints first.

use super::answer::{Page, ok};
use super::flash::Flash;
use super::format::{bounded_number, number};
use super::keys::curl;
use super::login::LAST_WORKSPACE_COOKIE;
use super::session::Visitor;
use super::view::{CopyBlock, Section, Shell, State, When};
use crate::access::Role;
use crate::delivery::DeliveryState;
use crate::error::{Error, Result};
use crate::id::WorkspaceId;
use crate::store::history::{self, COUNT_LIMIT, DeliveryFilter};
use crate::store::{events, profiles, webhooks};
use crate::webhook::WebhookState;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::web;
use askama::Template;
use rusqlite::Connection;
use serde::Deserialize;
use std::collections::HashMap;

const HOURS: i64 = 24;
const MS_PER_HOUR: i64 = 3_600_000;
/// Newest events and failures that are shown.
const NEWEST: usize = 6;
/// Webhooks whose health is read; the list has a page of its own.
const MAX_WEBHOOKS: usize = 50;
/// The chart's height, in its own units.
const CHART_HEIGHT: i64 = 64;
/// The width of one hour in the chart.
const BAR_WIDTH: i64 = 20;
/// What stands in a curl where the key is not known any more.
const KEY_PLACEHOLDER: &str = "YOUR_API_KEY";

/// The first three things to do with a box.
pub(super) struct Steps {
    /// The workspace's path.
    pub(super) base: String,
    /// The newest event, once there is one.
    pub(super) event: Option<Line>,
    /// Whether there is a webhook.
    pub(super) has_webhook: bool,
    /// The newest delivery, once there is one.
    pub(super) delivery: Option<Line>,
    /// Whether the newest delivery has been tried, which is what one waits for in the end.
    was_tried: bool,
}

impl Steps {
    fn are_done(&self) -> bool {
        self.event.is_some() && self.has_webhook && self.delivery.is_some()
    }

    /// Whether there is something to wait for.
    pub(super) fn are_awaited(&self) -> bool {
        !(self.are_done() && self.was_tried)
    }
}

/// How far the first three steps are.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn steps(
    connection: &Connection,
    workspace: WorkspaceId,
    base: String,
    now_ms: i64,
) -> Result<Steps> {
    let newest = history::page(connection, workspace, DeliveryFilter::All, None, 1)?.pop();
    Ok(Steps {
        event: newest_events(connection, workspace, &base, now_ms, 1)?.pop(),
        has_webhook: !webhooks::names(connection, workspace)?.is_empty(),
        was_tried: newest.as_ref().is_some_and(|row| row.attempts > 0),
        delivery: newest.map(|row| delivery_line(&row, &base, now_ms)),
        base,
    })
}

/// A line of one of the short lists.
pub(super) struct Line {
    /// Where it leads.
    pub(super) href: String,
    /// What it is.
    pub(super) name: String,
    /// What else there is to say.
    pub(super) about: String,
    /// Its state, if it has one.
    pub(super) state: Option<State>,
    /// When.
    pub(super) when: Option<When>,
}

fn newest_events(
    connection: &Connection,
    workspace: WorkspaceId,
    base: &str,
    now_ms: i64,
    limit: usize,
) -> Result<Vec<Line>> {
    Ok(events::page(connection, workspace, None, limit)?
        .into_iter()
        .map(|stored| Line {
            href: format!("{base}/events/{}", stored.id),
            name: stored.event.name.to_string(),
            about: stored
                .event
                .identifiers
                .user_id
                .map(String::from)
                .unwrap_or_default(),
            state: None,
            when: Some(When::new(stored.event.received_at_ms, now_ms)),
        })
        .collect())
}

fn delivery_line(row: &history::DeliveryRow, base: &str, now_ms: i64) -> Line {
    Line {
        href: format!("{base}/deliveries/{}", row.id),
        name: row.event_type.clone(),
        about: row.webhook_name.clone(),
        state: Some(State::of_delivery(row.state, row.attempts)),
        when: Some(When::new(
            row.last_attempt_at_ms.unwrap_or(row.id.unix_ms()),
            now_ms,
        )),
    }
}

struct Bar {
    x: i64,
    y: i64,
    height: i64,
    label: String,
    events: String,
}

struct Numbers {
    events: String,
    success: String,
    waiting: String,
    held: String,
}

struct Found {
    steps: Steps,
    numbers: Numbers,
    bars: Vec<Bar>,
    troubles: Vec<Line>,
    events: Vec<Line>,
    failures: Vec<Line>,
}

/// What a page that waits for the first steps asks for: it shows them green when the last is done.
#[derive(Deserialize)]
pub(super) struct Waiting {
    steps: Option<u8>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    shell: Shell,
    show_steps: bool,
    curl: CopyBlock,
    may_make_keys: bool,
    found: Found,
}

/// The overview.
pub(super) async fn show(
    visitor: Visitor,
    flash: web::Query<Flash>,
    waiting: web::Query<Waiting>,
) -> Page {
    let (workspace, base, now_ms) = (
        visitor.membership.workspace,
        visitor.base(),
        visitor.desk().now_ms,
    );
    let found = visitor
        .desk()
        .read(move |connection| find(connection, workspace, &base, now_ms))
        .await?;
    let settings = &visitor.desk().settings;
    let overview = Overview {
        shell: Shell::new(&visitor, Section::Overview, "Overview", &flash),
        show_steps: waiting.steps.is_some() || !found.steps.are_done(),
        may_make_keys: visitor.is_at_least(Role::Admin),
        curl: CopyBlock::new("the command", curl(settings, KEY_PLACEHOLDER, now_ms)),
        found,
    };
    let mut response = ok(&overview)?;
    let last = Cookie::build(LAST_WORKSPACE_COOKIE, visitor.membership.slug.clone())
        .path("/")
        .http_only(true)
        .secure(settings.is_https())
        .same_site(SameSite::Lax)
        .max_age(actix_web::cookie::time::Duration::days(90))
        .finish();
    response.add_cookie(&last).map_err(Error::internal)?;
    Ok(response)
}

fn find(connection: &Connection, workspace: WorkspaceId, base: &str, now_ms: i64) -> Result<Found> {
    let last_hour = now_ms / MS_PER_HOUR;
    let usage: HashMap<i64, i64> =
        profiles::usage(connection, workspace, last_hour - HOURS + 1, HOURS)?
            .into_iter()
            .collect();
    let mut troubles = Vec::new();
    let (mut succeeded, mut failed, mut pending, mut held) = (0, 0, 0, 0);
    for webhook in webhooks::names(connection, workspace)?
        .into_iter()
        .take(MAX_WEBHOOKS)
    {
        let outcomes = history::recent_outcomes(connection, webhook.id)?;
        let waiting = history::waiting(connection, webhook.id)?;
        succeeded += outcomes.succeeded;
        failed += outcomes.failed + outcomes.retrying;
        pending += waiting.pending;
        held += waiting.held;
        let about = match webhook.state {
            WebhookState::Disabled => webhook.state_reason.clone().unwrap_or_default(),
            WebhookState::Paused if waiting.held > 0 => {
                format!("{} held", bounded_number(waiting.held, COUNT_LIMIT))
            }
            WebhookState::Active if outcomes.failed + outcomes.retrying > 0 => {
                unsuccessful(outcomes.failed, outcomes.retrying)
            }
            WebhookState::Paused | WebhookState::Active => continue,
        };
        troubles.push(Line {
            href: format!("{base}/webhooks/{}", webhook.id),
            name: webhook.name,
            about,
            state: Some(match webhook.state {
                WebhookState::Active if outcomes.failed > 0 => State::of_attempt(false),
                WebhookState::Active => State::of_delivery(DeliveryState::Pending, 1),
                state => State::of_webhook(state),
            }),
            when: outcomes.last_attempt_at_ms.map(|at| When::new(at, now_ms)),
        });
    }
    let failures = history::page(connection, workspace, DeliveryFilter::Failed, None, NEWEST)?
        .iter()
        .map(|row| delivery_line(row, base, now_ms))
        .collect();
    Ok(Found {
        steps: steps(connection, workspace, base.to_owned(), now_ms)?,
        numbers: Numbers {
            events: number(usage.values().sum()),
            success: share(succeeded, failed),
            waiting: bounded_number(pending, COUNT_LIMIT),
            held: bounded_number(held, COUNT_LIMIT),
        },
        bars: bars(&usage, last_hour),
        troubles,
        events: newest_events(connection, workspace, base, now_ms, NEWEST)?,
        failures,
    })
}

/// What did not succeed among a webhook's newest deliveries.
fn unsuccessful(failed: i64, retrying: i64) -> String {
    let counts = match (failed, retrying) {
        (failed, 0) => format!("{} failed", number(failed)),
        (0, retrying) => format!("{} retrying", number(retrying)),
        (failed, retrying) => format!(
            "{} failed and {} retrying",
            number(failed),
            number(retrying)
        ),
    };
    format!("{counts} of its newest deliveries")
}

/// The share of successes, with a digit behind the point where it tells something.
pub(super) fn share(succeeded: i64, failed: i64) -> String {
    let total = succeeded + failed;
    if total == 0 {
        return "–".to_owned();
    }
    let per_mille = succeeded * 1_000 / total;
    match per_mille % 10 {
        0 => format!("{} %", per_mille / 10),
        tenth => format!("{}.{tenth} %", per_mille / 10),
    }
}

fn bars(usage: &HashMap<i64, i64>, last_hour: i64) -> Vec<Bar> {
    let highest = usage.values().copied().max().unwrap_or(0).max(1);
    (0..HOURS)
        .map(|place| {
            let hour = last_hour - HOURS + 1 + place;
            let events = usage.get(&hour).copied().unwrap_or(0);
            // Every hour with an event shows at least a sliver.
            let height = (events * CHART_HEIGHT / highest).max(i64::from(events > 0) * 2);
            Bar {
                x: place * BAR_WIDTH,
                y: CHART_HEIGHT - height,
                height,
                label: format!("{:02}:00", hour.rem_euclid(24)),
                events: number(events),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_honest() {
        assert_eq!(share(0, 0), "–");
        assert_eq!(share(1, 0), "100 %");
        assert_eq!(share(999, 1), "99.9 %");
        assert_eq!(share(0, 5), "0 %");
    }

    #[test]
    fn what_is_nothing_is_not_counted_out() {
        assert_eq!(unsuccessful(2, 0), "2 failed of its newest deliveries");
        assert_eq!(unsuccessful(0, 1), "1 retrying of its newest deliveries");
        assert_eq!(
            unsuccessful(2, 1_000),
            "2 failed and 1,000 retrying of its newest deliveries"
        );
    }

    #[test]
    fn the_chart_has_every_hour() {
        let bars = bars(&HashMap::from([(100, 1_000), (99, 1)]), 100);
        assert_eq!(bars.len(), 24);
        assert_eq!((bars[23].height, bars[23].y), (CHART_HEIGHT, 0));
        assert_eq!(bars[22].height, 2);
        assert_eq!(bars[0].height, 0);
    }
}
