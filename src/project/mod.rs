//! PROJECT: follows the log from a cursor and brings profiles up to date. Reads a slice, works out
//! what it changes, and has the writer make the changes and move the cursor in one transaction: so
//! each event is projected exactly once, in order, whatever crashes.

mod slice;

use crate::accept::LogGrew;
use crate::error::{Kind, Result};
use crate::id::IdGenerator;
use crate::store::Readers;
use crate::store::writer::Writer;
use crate::store::{events, projection};
use crate::time::now_ms;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

/// The bounds of projecting.
#[derive(Debug, Clone, Copy)]
pub struct ProjectLimits {
    /// Events in one transaction: few enough that ingest does not feel it.
    pub slice_events: usize,
    /// How long to let events gather, milliseconds: profiles follow within a second (design.md).
    pub gather_ms: u64,
}

/// After a failure the projector waits this long before it tries again.
const SETBACK: Duration = Duration::from_secs(1);
/// Without a sign it looks for itself this often, which also is how soon it sees that it should stop.
const LOOK: Duration = Duration::from_millis(500);

/// Reads the log and writes what follows from it.
#[derive(Debug, Clone)]
pub struct Projector {
    writer: Writer,
    readers: Readers,
    ids: Arc<IdGenerator>,
    limits: ProjectLimits,
}

impl Projector {
    /// A projector that has not begun.
    pub fn new(
        writer: Writer,
        readers: Readers,
        ids: Arc<IdGenerator>,
        limits: ProjectLimits,
    ) -> Self {
        Self {
            writer,
            readers,
            ids,
            limits,
        }
    }

    /// Starts its thread, which follows the log until `stop` is set.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        self,
        log_grew: LogGrew,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("projector".to_owned())
            .spawn(move || self.follow(&log_grew, &stop))
    }

    fn follow(&self, log_grew: &LogGrew, stop: &AtomicBool) {
        let gather = Duration::from_millis(self.limits.gather_ms);
        while !stop.load(Ordering::Acquire) {
            match self.step() {
                Ok(projected) if projected == self.limits.slice_events => {}
                Ok(_) => match log_grew.recv_timeout(LOOK) {
                    // A longer slice costs less an event, so what comes together is taken together.
                    Ok(()) => std::thread::sleep(gather),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
                },
                Err(e) => {
                    if e.kind() == Kind::Unavailable && !self.writer.is_alive() {
                        return;
                    }
                    tracing::error!(error = %e, "the projector failed at a slice and will try it again");
                    std::thread::sleep(SETBACK);
                }
            }
        }
    }

    /// Projects the next slice of the log; says how many events that was.
    ///
    /// # Errors
    /// When the file refuses; the cursor has not moved then, and the same slice comes again.
    pub fn step(&self) -> Result<usize> {
        let reader = self.readers.get()?;
        let place = projection::place(&reader)?;
        let events = events::after(&reader, place.cursor, self.limits.slice_events)?;
        let Some(last) = events.last().map(|stored| stored.id) else {
            return Ok(0);
        };
        // The projector is the only one that writes profiles, so what a reader says of them holds
        // until its own next transaction.
        let changes = slice::resolve(&reader, &self.ids, now_ms(), &events)?;
        drop(reader);
        let next = projection::Place {
            cursor: last,
            timeline_rows: place.timeline_rows + changes.timeline_rows(),
        };
        self.writer.alone_blocking(move |connection| {
            projection::advance(connection, place, next)?;
            changes.write(connection, place.segment())
        })?;
        Ok(events.len())
    }
}
