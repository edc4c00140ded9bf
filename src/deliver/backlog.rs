//! Reading what webhooks are owed from the file, off the dispatcher's thread: whose backlog is read next,
//! and what the file says.

use super::lane::{Lane, READY_AT_LEAST, Reading, Wish};
use crate::error::{Error, Result};
use crate::id::WebhookId;
use crate::store::deliveries::{self, OwedDelivery, ReadLimit};
use crate::time::now_ms;
use rusqlite::Connection;
use std::collections::{HashMap, VecDeque};

/// Webhooks whose backlogs are read in one go at most.
const TOGETHER: usize = 64;

/// Which lanes are read next. All that ask are read within one look at the file: deliveries of many
/// webhooks lie on the same pages, and what a reader has cached is worth nothing after the next commit.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Lanes that have asked, each at most once, in turn.
    unread: VecDeque<WebhookId>,
    /// Whether one of them cannot wait for others.
    is_urgent: bool,
    is_running: bool,
}

impl Readings {
    /// Notes what a lane wants, if it wants to be read.
    pub(super) fn ask(&mut self, webhook: WebhookId, lane: &mut Lane) {
        let Some(wish) = lane.wants_reading() else {
            return;
        };
        self.is_urgent |= wish == Wish::Now;
        if !lane.is_unread {
            lane.is_unread = true;
            self.unread.push_back(webhook);
        }
    }

    /// What to read now; if there is anything, the reading has begun.
    pub(super) fn begin(&mut self, lanes: &mut HashMap<WebhookId, Lane>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        if self.is_running || !self.is_urgent {
            return wanted;
        }
        // Those that want it no longer do not count, or those behind them would wait for whatever comes next.
        while wanted.len() < TOGETHER
            && let Some(webhook) = self.unread.pop_front()
        {
            let Some(lane) = lanes.get_mut(&webhook) else {
                continue;
            };
            lane.is_unread = false;
            if let Some(reading) = lane.begin_reading() {
                wanted.push(Wanted { webhook, reading });
            }
        }
        self.is_urgent = !self.unread.is_empty();
        self.is_running = !wanted.is_empty();
        wanted
    }

    /// The reading has ended.
    pub(super) fn end(&mut self) {
        self.is_running = false;
    }
}

/// What to read of what a webhook is owed.
pub(super) struct Wanted {
    pub(super) webhook: WebhookId,
    reading: Reading,
}

/// What the file says that a webhook is owed.
pub(super) struct Backlog {
    /// What is due, longest first; or in the order of the events.
    pub(super) due: Vec<OwedDelivery>,
    /// Whether there was more than was asked for.
    pub(super) is_full: bool,
    /// When the next one is due that is not due yet, Unix milliseconds.
    pub(super) next_due_ms: Option<i64>,
}

/// What some webhooks are owed by now, about `bytes` of it in all; all within one look at the file.
pub(super) fn read(
    connection: &Connection,
    wanted: &[Wanted],
    mut bytes: usize,
) -> Result<Vec<Backlog>> {
    let snapshot = connection.unchecked_transaction()?;
    let now_ms = now_ms();
    let mut backlogs = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let backlog = read_one(&snapshot, wanted, now_ms, bytes)?;
        let read: usize = backlog.due.iter().map(|owed| owed.body.len()).sum();
        bytes = bytes.saturating_sub(read);
        backlogs.push(backlog);
    }
    Ok(backlogs)
}

fn read_one(
    connection: &Connection,
    wanted: &Wanted,
    now_ms: i64,
    bytes: usize,
) -> Result<Backlog> {
    let Wanted { webhook, reading } = *wanted;
    let limit = ReadLimit {
        rows: reading.known + reading.enough,
        bytes,
        // So many even where there is no room for their bytes.
        rows_at_least: reading.known + READY_AT_LEAST,
    };
    if reading.is_ordered {
        let (due, is_full, next_due_ms) = deliveries::in_order(connection, webhook, now_ms, limit)?;
        return Ok(Backlog {
            due,
            is_full,
            next_due_ms,
        });
    }
    let (due, is_full) = deliveries::due(connection, webhook, reading.after, now_ms, limit)?;
    Ok(Backlog {
        due,
        is_full,
        next_due_ms: deliveries::next_due_ms(connection, webhook, now_ms)?,
    })
}

/// Runs what waits for the file on a thread that may wait.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::internal(e)))
}
