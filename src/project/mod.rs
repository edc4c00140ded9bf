//! PROJECT: follows the log from a cursor and brings profiles up to date. Reads a window of the log,
//! works out what it changes, and has the writer make the changes in short transactions, each with
//! the place that it reaches: so each event is projected exactly once, in order, whatever crashes.

mod gather;
mod herald;
mod news;
mod pace;
mod portrait;
mod resolve;
mod seen;
#[cfg(test)]
mod tests;
mod usage;
mod window;
mod wishes;

pub use gather::WindowLimits;
pub use pace::{PaceLimits, ProjectorStatus};

use crate::error::{Kind, Result};
use crate::followers::{Followers, LogGrew};
use crate::id::IdGenerator;
use crate::store::Readers;
use crate::store::catalog::CatalogHandle;
use crate::store::merges;
use crate::store::projection::{self, Place};
use crate::store::writer::Writer;
use crate::time::now_ms;
use herald::Herald;
use pace::{LagAlarm, LagNews};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use window::Window;

/// The bounds of projecting.
#[derive(Debug, Clone, Copy)]
pub struct ProjectLimits {
    /// When a window ends.
    pub window: WindowLimits,
    /// Windows that reach the log's end begin at least this long after one another, milliseconds:
    /// what comes meanwhile is taken together.
    pub gather_ms: u64,
    /// Timeline rows in one transaction: few enough that ingest does not feel it.
    pub chunk_rows: usize,
    /// How much of the writer it takes while events arrive.
    pub pace: PaceLimits,
}

/// After a failure the projector waits this long before it tries again.
const SETBACK: Duration = Duration::from_secs(1);
/// Without a sign it looks for itself this often, which also is how soon it sees that it should stop.
const LOOK: Duration = Duration::from_millis(500);

/// Reads the log and writes what follows from it.
#[derive(Debug)]
pub struct Projector {
    writer: Writer,
    readers: Readers,
    catalog: CatalogHandle,
    followers: Followers,
    ids: Arc<IdGenerator>,
    limits: ProjectLimits,
    status: Arc<ProjectorStatus>,
    open: Option<Open>,
}

/// The window that is being written, and the place that is reached.
#[derive(Debug)]
struct Open {
    window: Arc<Window>,
    place: Place,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the log is projected.
    Idle,
    /// It wrote a chunk, which held the writer so long; its window goes on.
    Chunk(Duration),
    /// It wrote the last chunk of a window, which held the writer so long; the log probably goes
    /// on where a bound ended the window.
    WindowEnd {
        /// How long the writer was held.
        held: Duration,
        /// Whether a bound ended it.
        is_full: bool,
    },
}

impl Projector {
    /// A projector that has not begun.
    pub fn new(
        writer: Writer,
        readers: Readers,
        catalog: CatalogHandle,
        followers: Followers,
        ids: Arc<IdGenerator>,
        limits: ProjectLimits,
    ) -> Self {
        Self {
            writer,
            readers,
            catalog,
            followers,
            ids,
            limits,
            status: Arc::default(),
            open: None,
        }
    }

    /// What it shows of itself while it runs.
    pub fn status(&self) -> Arc<ProjectorStatus> {
        Arc::clone(&self.status)
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
        let mut growth = Growth {
            tokens: log_grew,
            is_seen: false,
        };
        std::thread::Builder::new()
            .name("projector".to_owned())
            .spawn(move || self.follow(&mut growth, &stop))
    }

    /// A stop, too, is only looked at between chunks: the window is gone on with after the start.
    fn follow(mut self, growth: &mut Growth, stop: &AtomicBool) {
        let mut alarm = LagAlarm::default();
        let mut window_began = Instant::now();
        while !stop.load(Ordering::Acquire) {
            if self.open.is_none() {
                window_began = Instant::now();
            }
            match self.step() {
                Ok(Step::Idle) => growth.wait(),
                Ok(Step::Chunk(held)) => self.rest(held, growth),
                Ok(Step::WindowEnd { held, is_full }) => {
                    self.rest(held, growth);
                    if !is_full {
                        if !growth.is_seen {
                            self.status.set_waiting(None);
                        }
                        growth.wait();
                        let gather = Duration::from_millis(self.limits.gather_ms);
                        std::thread::sleep(gather.saturating_sub(window_began.elapsed()));
                    }
                }
                Err(e) if e.kind() == Kind::Unavailable && !self.writer.is_alive() => return,
                Err(e) => {
                    tracing::error!(error = %e, "the projector failed and will try the same again");
                    std::thread::sleep(SETBACK);
                }
            }
            self.warn(&mut alarm);
        }
    }

    /// Leaves the writer to ingest for a while, if events are arriving.
    fn rest(&self, held: Duration, growth: &mut Growth) {
        if growth.look() {
            let lag_ms = self.status.lag_ms(now_ms());
            std::thread::sleep(self.limits.pace.rest(held, lag_ms));
        }
    }

    fn warn(&self, alarm: &mut LagAlarm) {
        let lag_ms = self.status.lag_ms(now_ms());
        match alarm.look(lag_ms, &self.limits.pace) {
            Some(LagNews::Behind) => {
                tracing::warn!(
                    lag_ms,
                    "profiles are behind the log: more arrives than is projected, or much was waiting"
                );
            }
            Some(LagNews::CaughtUp) => {
                tracing::info!(lag_ms, "profiles have caught up with the log");
            }
            None => {}
        }
    }

    /// Writes the next chunk, of the window that is open or of the log's next.
    ///
    /// # Errors
    /// When the file refuses; the place in the file has not moved then, and the same window is
    /// read from there again.
    pub fn step(&mut self) -> Result<Step> {
        let Some(Open { window, place }) = self.take_or_read()? else {
            self.status.set_waiting(None);
            return Ok(Step::Idle);
        };
        let chunk = window.chunk(place, self.limits.chunk_rows);
        let next = window.after(place, &chunk);
        let written = Arc::clone(&window);
        let (catalog, ids) = (self.catalog.clone(), Arc::clone(&self.ids));
        let (began, told) = self.writer.alone_blocking(move |connection| {
            let began = Instant::now();
            let (catalog, now_ms) = (catalog.current(), now_ms());
            projection::advance(connection, place, next)?;
            let mut herald = Herald::new(connection, &catalog, &ids, now_ms);
            written.write(connection, &mut herald, place.segment(), &chunk)?;
            let mut told = herald.told();
            if next.open.is_none() {
                for (workspace, month) in written.months() {
                    let at = (month, now_ms);
                    told.add(usage::announce(connection, &catalog, &ids, workspace, at)?);
                }
            }
            Ok((began, told))
        })?;
        let held = began.elapsed();
        self.followers.tell_of_due(&told.due);
        if told.is_more {
            self.followers.tell_of_more();
        }
        if next.open.is_some() {
            let place = next;
            self.open = Some(Open { window, place });
            return Ok(Step::Chunk(held));
        }
        self.status.add_window(window.events);
        // Whatever waits now is younger than the window's end.
        self.status.set_waiting(Some(window.end.unix_ms()));
        Ok(Step::WindowEnd {
            held,
            is_full: window.is_full,
        })
    }

    /// The window that is open, or the next one.
    ///
    /// The projector is the only one that writes profiles, so what a reader says of them holds
    /// until its own next transaction.
    fn take_or_read(&mut self) -> Result<Option<Open>> {
        if let Some(open) = self.open.take() {
            return Ok(Some(open));
        }
        let reader = self.readers.get()?;
        let place = projection::place(&reader)?;
        if place.open.is_none() {
            self.take_apart(&reader)?;
        }
        let catalog = self.catalog.current();
        let limits = &self.limits.window;
        // One snapshot for all of it: between transactions of its own, each lookup that comes after
        // another commit would find its page cache dropped.
        let snapshot = reader.unchecked_transaction()?;
        let window = window::read(&snapshot, &catalog, &self.ids, now_ms(), place, limits)?;
        drop(snapshot);
        Ok(window.map(|window| {
            self.status.set_waiting(Some(window.first.unix_ms()));
            let window = Arc::new(window);
            Open { window, place }
        }))
    }
}

impl Projector {
    /// Takes profiles apart that somebody asked to be. Only between windows: what a window holds of them
    /// would be out of date.
    fn take_apart(&self, reader: &Connection) -> Result<()> {
        while merges::is_undo_waiting(reader)? {
            self.writer
                .alone_blocking(|connection| merges::undo_next(connection, now_ms()))?;
        }
        Ok(())
    }
}

/// Whether the log grows.
struct Growth {
    tokens: LogGrew,
    /// A token was taken that no wait has heard of.
    is_seen: bool,
}

impl Growth {
    /// Whether something was appended since the last look.
    fn look(&mut self) -> bool {
        let grew = self.tokens.try_recv().is_ok();
        self.is_seen |= grew;
        grew
    }

    /// Returns when something was appended since the last wait, or after a while.
    fn wait(&mut self) {
        if std::mem::take(&mut self.is_seen) {
            return;
        }
        if let Err(RecvTimeoutError::Disconnected) = self.tokens.recv_timeout(LOOK) {
            std::thread::sleep(LOOK);
        }
    }
}
