//! What attempts say of a webhook's receiver, in the transaction that records them: how often it failed in a
//! row and since when, when its webhook is disabled, and what other webhooks are told of all that. A group
//! whose attempts succeed at receivers that are known to be well costs no statement.

use super::attempt::Made;
use super::books::Books;
use super::notices::{self, Disabled};
use crate::delivery::Trigger;
use crate::error::Result;
use crate::id::WebhookId;
use crate::store::catalog::Catalog;
use crate::store::deliveries::{self, OwedDelivery};
use crate::store::health::{self, NewFailures};
use crate::store::webhooks;
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;

/// With this many failed attempts in a row a webhook is said to be failing (webhooks.md, "Event types").
const FAILING_FROM: u32 = 4;
/// The receiver says that it wants nothing more (webhooks.md, "On the wire").
const GONE: u16 = 410;

/// The webhooks that fail and since when, Unix milliseconds: what the dispatcher knows of the file, so that
/// the file need not be asked after each success.
pub(super) type Failing = HashMap<WebhookId, i64>;

/// Takes over what a group said of its webhooks.
pub(super) fn learn(failing: &mut Failing, health: &[(WebhookId, Option<i64>)]) {
    for (webhook, since_ms) in health {
        match since_ms {
            Some(since_ms) => failing.insert(*webhook, *since_ms),
            None => failing.remove(webhook),
        };
    }
}

/// What recording a group changed besides its deliveries.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Which webhooks fail now, and since when; `None` for one that does no longer.
    pub(super) health: Vec<(WebhookId, Option<i64>)>,
    /// What is owed because of it, and due.
    pub(super) fresh: Vec<OwedDelivery>,
    /// The catalog, where a webhook was disabled.
    pub(super) catalog: Option<Arc<Catalog>>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is kept where it stands.
    Kept,
    /// Its schedule was used up.
    Exhausted,
    /// It was swept, and the attempt with it.
    Gone,
}

/// Whether recording an attempt may disable its webhook: that takes another kind of transaction, because the
/// next job must know of it.
pub(super) fn may_disable(made: &Made, failing: &Failing, disable_after_ms: i64) -> bool {
    if is_gone(made) {
        return true;
    }
    let since = failing.get(&made.webhook);
    counts_as_failure(made)
        && since.is_some_and(|since_ms| made.ended_at_ms - since_ms >= disable_after_ms)
}

fn is_gone(made: &Made) -> bool {
    made.attempt
        .response
        .as_ref()
        .is_some_and(|response| response.status == GONE)
}

fn succeeded(made: &Made) -> bool {
    made.attempt.error.is_none()
}

/// Attempts that people asked for are no part of the series.
fn counts_as_failure(made: &Made) -> bool {
    !succeeded(made) && made.attempt.trigger == Trigger::Automatic
}

/// What a group says of one webhook.
#[derive(Debug, PartialEq, Eq)]
struct Tally {
    webhook: WebhookId,
    did_succeed: bool,
    /// Since it succeeded, or in all.
    failures: u32,
    first_failure_ms: i64,
    is_gone: bool,
    /// The last attempt that failed, by its place in the group.
    last: usize,
}

/// Folds a group's attempts by webhook, in the order in which they ended.
fn fold(group: &[(&Made, Step)]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = Vec::new();
    let mut places: HashMap<WebhookId, usize> = HashMap::new();
    for (n, (made, step)) in group.iter().enumerate() {
        if *step == Step::Gone {
            continue;
        }
        let place = *places.entry(made.webhook).or_insert(tallies.len());
        if place == tallies.len() {
            tallies.push(Tally {
                webhook: made.webhook,
                did_succeed: false,
                failures: 0,
                first_failure_ms: 0,
                is_gone: false,
                last: n,
            });
        }
        let Some(tally) = tallies.get_mut(place) else {
            continue;
        };
        if succeeded(made) {
            tally.did_succeed = true;
            tally.failures = 0;
        } else if counts_as_failure(made) {
            if tally.failures == 0 {
                tally.first_failure_ms = made.ended_at_ms;
            }
            tally.failures += 1;
            tally.last = n;
        }
        if is_gone(made) {
            tally.is_gone = true;
            tally.last = n;
        }
    }
    tallies
}

/// Writes down what a group says of its webhooks, disables those that are to be, and tells others of it.
/// Only where `may_disable` holds is a webhook disabled.
pub(super) fn keep(
    connection: &Connection,
    books: &Books,
    group: &[(&Made, Step)],
    failing: &Failing,
    may_disable: bool,
) -> Result<Changes> {
    let mut changes = Changes::default();
    let is_well = |made: &Made| succeeded(made) && !failing.contains_key(&made.webhook);
    if group.iter().all(|(made, _)| is_well(made)) {
        return Ok(changes);
    }
    let current = books.catalog.current();
    let (mut newly_failing, mut disabled) = (Vec::new(), Vec::new());
    for tally in fold(group) {
        let reaches = count(connection, &current, &tally, group, failing, &mut changes)?;
        if reaches {
            newly_failing.push(tally.last);
        }
        let since_ms = match changes.health.last() {
            Some((webhook, Some(since_ms))) if *webhook == tally.webhook => Some(*since_ms),
            _ => None,
        };
        let Some((made, _)) = group.get(tally.last) else {
            continue;
        };
        let why = if tally.is_gone {
            Some(Disabled::Gone)
        } else {
            since_ms
                .filter(|since_ms| made.ended_at_ms - since_ms >= books.disable_after_ms)
                .filter(|_| tally.failures > 0)
                .map(|since_ms| Disabled::FailedSince { since_ms })
        };
        if let Some(why) = why.filter(|_| may_disable) {
            let reason = why.reason(made.ended_at_ms);
            if webhooks::disable(connection, tally.webhook, &reason, made.ended_at_ms)? {
                let held = deliveries::hold_pending(connection, tally.webhook)?;
                disabled.push((tally.last, reason, held));
            }
        }
    }
    if !disabled.is_empty() {
        changes.catalog = Some(books.catalog.reload(connection)?);
    }
    let catalog = changes.catalog.as_deref().unwrap_or(&current);
    let mut teller = notices::Teller::new(connection, catalog, &books.ids);
    for n in newly_failing {
        if let Some((made, _)) = group.get(n) {
            let since_ms = since_of(&changes.health, made.webhook);
            teller.failing(made, FAILING_FROM, since_ms)?;
        }
    }
    for (n, reason, held) in &disabled {
        if let Some((made, _)) = group.get(*n) {
            teller.disabled(made, reason, *held)?;
        }
    }
    for (made, _) in group.iter().filter(|(_, step)| *step == Step::Exhausted) {
        teller.exhausted(made)?;
    }
    changes.fresh = teller.into_fresh();
    Ok(changes)
}

fn since_of(health: &[(WebhookId, Option<i64>)], webhook: WebhookId) -> Option<i64> {
    let known = health.iter().find(|(id, _)| *id == webhook);
    known.and_then(|(_, since_ms)| *since_ms)
}

/// Writes down what is known of one webhook's receiver now; says whether it has just come to fail.
fn count(
    connection: &Connection,
    catalog: &Catalog,
    tally: &Tally,
    group: &[(&Made, Step)],
    failing: &Failing,
    changes: &mut Changes,
) -> Result<bool> {
    let webhook = tally.webhook;
    if catalog.webhook(webhook).is_none() {
        // Deleted while attempts were on their way.
        return Ok(false);
    }
    if tally.failures == 0 {
        if tally.did_succeed && failing.contains_key(&webhook) {
            health::forget(connection, webhook)?;
            changes.health.push((webhook, None));
        }
        return Ok(false);
    }
    let new = NewFailures {
        count: tally.failures,
        first_at_ms: tally.first_failure_ms,
        after_success: tally.did_succeed,
    };
    let now = health::add(connection, webhook, new)?;
    changes.health.push((webhook, Some(now.failing_since_ms)));
    let before = now.failures.saturating_sub(tally.failures);
    if before >= FAILING_FROM || now.failures < FAILING_FROM {
        return Ok(false);
    }
    // What the box itself has to say counts up to there and no further: two webhooks that fail would
    // otherwise tell each other of it for ever.
    for (made, _) in group {
        let is_failure = made.webhook == webhook && counts_as_failure(made);
        if is_failure && !notices::is_about_notice(connection, made)? {
            return Ok(true);
        }
    }
    health::count_at_most(connection, webhook, FAILING_FROM - 1)?;
    Ok(false)
}
