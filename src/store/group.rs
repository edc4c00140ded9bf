//! A group: the jobs that are committed together, which of those that wait they are, and what becomes
//! of all of them when one fails. Knows no queue, no thread and no table.

use super::answers::Answers;
use super::prepared::Prepared;
use crate::error::Error;
use std::collections::VecDeque;
use std::sync::Arc;

/// Why a whole group came to nothing. Kept small and `Clone`, since every job of the group hears it.
#[derive(Debug, Clone)]
pub(super) enum GroupFailure {
    /// Another process held the lock for longer than the busy timeout.
    Locked,
    /// No space left.
    Full,
    /// The disk failed: nothing after it can be trusted (promise 4).
    Fatal(Arc<str>),
    /// Anything else.
    Other(Arc<str>),
}

impl GroupFailure {
    /// Only the cause is kept, in words: the message comes back with [`GroupFailure::to_error`].
    pub(super) fn of(error: &Error) -> Self {
        let why = error.source().map_or_else(
            || error.message().to_owned(),
            |source| format!("{source:#}"),
        );
        match error.code() {
            super::FILE_LOCKED => Self::Locked,
            super::DISK_FULL => Self::Full,
            super::DISK_FAILED => Self::Fatal(why.into()),
            _ => Self::Other(why.into()),
        }
    }

    pub(super) fn to_error(&self) -> Error {
        match self {
            Self::Locked => super::file_locked(),
            Self::Full => super::disk_full(),
            Self::Fatal(why) => super::disk_failed().with_source(anyhow::anyhow!("{why}")),
            Self::Other(why) => Error::internal(anyhow::anyhow!("{why}")),
        }
    }
}

/// How a job's statements are set apart from its group's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// In a transaction of its own: nobody waits longer for an answer because of it.
    Alone,
    /// In a savepoint of its own: it may fail alone.
    Savepoint,
    /// In the group's transaction: it is not expected to fail, and when one does, the group is
    /// run again with savepoints, so that it fails alone after all.
    Group,
}

/// Statements that run together, and an answer that waits for their commit.
pub(super) trait Job: Send {
    /// How its statements are set apart.
    fn isolation(&self) -> Isolation;
    /// Rows that it appends to the log.
    fn rows(&self) -> usize;
    /// Bytes that it holds in memory until its answer.
    fn bytes(&self) -> usize;
    /// Runs the statements; may be called again after a rollback.
    fn run(&mut self, connection: &Prepared<'_>) -> std::result::Result<(), GroupFailure>;
    /// Takes the outcome of the commit: tells those who follow it, and has its answer ready.
    fn settle(&mut self, outcome: std::result::Result<(), GroupFailure>);
    /// Where the thread that waits for its answer finds it; without one, the writer gives it.
    fn answers(&self) -> Option<&Answers<Box<dyn Job>>>;
    /// Gives the answer to whoever waits for it.
    fn answer(self: Box<Self>);
}

/// The jobs that are committed together. A change ends its group: what it publishes after its commit
/// (a webhook paused, a key revoked) is then what the next job works with.
pub(super) fn take_group(waiting: &mut VecDeque<Box<dyn Job>>, limit: usize) -> Vec<Box<dyn Job>> {
    let mut end = 0;
    let mut rows = 0;
    for job in waiting.iter() {
        let isolation = job.isolation();
        rows += job.rows();
        if end > 0 && (isolation == Isolation::Alone || rows > limit) {
            break;
        }
        end += 1;
        if isolation != Isolation::Group {
            break;
        }
    }
    waiting.drain(..end).collect()
}

/// Runs the jobs in one transaction. When one fails that stands in no savepoint, all of them run again
/// with savepoints, so that it fails alone.
pub(super) fn run_group(
    connection: &Prepared<'_>,
    jobs: &mut [Box<dyn Job>],
) -> std::result::Result<(), GroupFailure> {
    match try_group(connection, jobs, false) {
        Err(TryFailure::Job) => match try_group(connection, jobs, true) {
            Err(TryFailure::Group(failure)) => Err(failure),
            Err(TryFailure::Job) => Err(GroupFailure::Other(
                "a job failed outside its savepoint".into(),
            )),
            Ok(()) => Ok(()),
        },
        Err(TryFailure::Group(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
}

enum TryFailure {
    /// A job without a savepoint failed; the group must be run again with savepoints.
    Job,
    /// The transaction itself failed.
    Group(GroupFailure),
}

impl From<rusqlite::Error> for TryFailure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Group(GroupFailure::of(&e.into()))
    }
}

fn try_group(
    connection: &Prepared<'_>,
    jobs: &mut [Box<dyn Job>],
    isolate_all: bool,
) -> std::result::Result<(), TryFailure> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let outcome = run_jobs(connection, jobs, isolate_all).and_then(|()| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    });
    if outcome.is_err() && !connection.is_autocommit() {
        // SQLite has rolled back by itself after some failures; where it has not, this does.
        let _ = connection.execute_batch("ROLLBACK");
    }
    outcome
}

fn run_jobs(
    connection: &Prepared<'_>,
    jobs: &mut [Box<dyn Job>],
    isolate_all: bool,
) -> std::result::Result<(), TryFailure> {
    for job in jobs {
        let in_savepoint = isolate_all || job.isolation() != Isolation::Group;
        if in_savepoint {
            connection.prepare_cached("SAVEPOINT job")?.execute([])?;
        }
        let Err(failure) = job.run(connection) else {
            if in_savepoint {
                connection.prepare_cached("RELEASE job")?.execute([])?;
            }
            continue;
        };
        // The next statement would meet the same disk, or the transaction is gone already.
        if matches!(failure, GroupFailure::Full | GroupFailure::Fatal(_))
            || connection.is_autocommit()
        {
            return Err(TryFailure::Group(failure));
        }
        if !in_savepoint {
            return Err(TryFailure::Job);
        }
        connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
    }
    Ok(())
}
