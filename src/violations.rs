//! Events that did not match their type's schema, counted in memory and written every so often: so that a
//! count costs the ingest transaction nothing. A crash loses what half a second has counted. There is a
//! place for every type that has a schema, and no more.

use crate::error::{FieldError, Result};
use crate::event::Event;
use crate::id::{EventId, WorkspaceId};
use crate::store::event_types::{self, ViolationRow};
use crate::store::writer::Writer;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long counts gather before they are written.
const GATHER: Duration = Duration::from_millis(500);
/// Types in one transaction.
const GROUP: usize = 64;

type Counts = HashMap<(WorkspaceId, Box<str>), ViolationRow>;

/// What was counted and is not yet written.
#[derive(Debug, Default)]
pub struct Violations {
    counts: Mutex<Counts>,
    grew: Notify,
}

/// An event's first field that did not match, until it is known what became of the event.
#[derive(Debug)]
pub struct Violation {
    workspace: WorkspaceId,
    name: Box<str>,
    at_ms: i64,
    field: FieldError,
}

impl Violation {
    /// What did not match in `event`.
    pub fn of(event: &Event, field: FieldError) -> Self {
        Self {
            workspace: event.workspace,
            name: event.name.clone(),
            at_ms: event.received_at_ms,
            field,
        }
    }
}

impl Violations {
    /// Counts an event that was stored under `event`, or refused.
    pub fn note(&self, violation: Violation, event: Option<EventId>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (violation.workspace, violation.name);
        let before = counts.get(&key).map_or(0, |count| count.events);
        let count = ViolationRow {
            events: before + 1,
            last_at_ms: violation.at_ms,
            last_event: event,
            last_pointer: violation.field.pointer,
            last_detail: violation.field.detail,
        };
        counts.insert(key, count);
        drop(counts);
        self.grew.notify_one();
    }

    /// Writes what is counted until `stop` says so, and then what is left.
    pub async fn keep(&self, writer: Writer, mut stop: watch::Receiver<bool>) {
        let mut stopping = false;
        while !stopping {
            stopping = tokio::select! {
                () = self.grew.notified() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if !stopping {
                // What comes meanwhile is written with it; the end is not waited for.
                let _ = tokio::time::timeout(GATHER, stop.wait_for(|stop| *stop)).await;
            }
            let counts: Vec<_> = self.take().into_iter().collect();
            for group in counts.chunks(GROUP) {
                let group = group.to_vec();
                let written = writer.record(move |connection| {
                    let mut rows = group.iter();
                    rows.try_for_each(|((workspace, name), count)| -> Result<()> {
                        event_types::add_violations(connection, *workspace, name, count)
                    })
                });
                if let Err(e) = written.await {
                    tracing::warn!(error = %e, "counts of schema violations were lost");
                }
            }
        }
    }

    fn take(&self) -> Counts {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
