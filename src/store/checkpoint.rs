//! Moves what the WAL holds into the database, on a connection and a thread of its own, so that the
//! writer seldom has to: its answers would wait for it. Passive checkpoints only, which wait for nobody
//! and delay nobody (promises.md, "Storage rules"); the writer's own bounds the WAL and starts it anew.

use super::files::Files;
use super::writer::Writer;
use super::{DISK_FAILED, disk_failed};
use crate::error::Result;
use anyhow::Context as _;
use rusqlite::Connection;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the WAL is looked at. With nothing new in it that costs no write and no fsync.
const INTERVAL: Duration = Duration::from_millis(200);

/// The checkpointing thread; it ends when this is dropped or [`Checkpointer::stop`]ped.
#[derive(Debug)]
pub struct Checkpointer {
    /// Closed to end the thread: nothing is ever sent.
    _running: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts it on a file that `writer` has opened.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn start(files: &Files, writer: Writer) -> anyhow::Result<Self> {
        let connection = files.open_checkpointer()?;
        let (running, stop) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(move || run(&connection, &writer, &stop))
            .context("starting the checkpointer")?;
        Ok(Self {
            _running: running,
            thread,
        })
    }

    /// Ends the thread; its handle, to be joined before the writer closes the file for good.
    pub fn stop(self) -> JoinHandle<()> {
        self.thread
    }
}

fn run(connection: &Connection, writer: &Writer, stop: &mpsc::Receiver<()>) {
    while stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        match checkpoint(connection) {
            Err(e) if e.code() == DISK_FAILED => {
                // After a failed fsync the next one can falsely succeed, so it is as final here as it
                // is in the writer (promise 4), which ends the box.
                tracing::error!(error = %e, "a checkpoint failed");
                let _ = writer.alone_blocking(|_| Err::<(), _>(disk_failed()));
                return;
            }
            // A full disk or a busy file: the WAL has it all, and the next checkpoint comes soon.
            Err(e) => tracing::warn!(error = %e, "a checkpoint was put off"),
            Ok(()) => {}
        }
    }
}

fn checkpoint(connection: &Connection) -> Result<()> {
    // The answer's row says how far it came; a busy file is as good as a finished one here.
    Ok(connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], |_| Ok(()))?)
}
