//! A box's file, looked at from outside while the box runs: how far the projector is behind, what is
//! still owed, how large the WAL is. Reads only, and never for long.

use pillarbox::id::{EventId, ProfileId, WorkspaceId};
use pillarbox::time::now_ms;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a watched file is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// An open file.
#[derive(Debug)]
pub(crate) struct Look {
    connection: Connection,
    wal: PathBuf,
}

impl Look {
    /// Opens the file of a data folder.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn at(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("pillarbox.db");
        let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(Self {
            connection,
            wal: folder.join("pillarbox.db-wal"),
        })
    }

    /// The age of the oldest event that the projector has not projected, milliseconds; 0 when there
    /// is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn lag_ms(&self) -> anyhow::Result<i64> {
        let oldest: Option<EventId> = self
            .connection
            .prepare_cached(
                "SELECT id FROM event WHERE id > (SELECT cursor_event_id FROM projector) ORDER BY id LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(oldest.map_or(0, |id| (now_ms() - id.unix_ms()).max(1)))
    }

    /// How many events of a workspace are projected.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn projected(&self, workspace: WorkspaceId) -> anyhow::Result<u64> {
        self.count(
            "SELECT count(*) FROM event WHERE workspace_id = ?1
                AND id <= (SELECT cursor_event_id FROM projector)",
            [workspace],
        )
    }

    /// How many attempts are recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn attempts(&self) -> anyhow::Result<u64> {
        self.count("SELECT count(*) FROM attempt", [])
    }

    /// How many attempts are recorded that did not succeed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn failed_attempts(&self) -> anyhow::Result<u64> {
        self.count(
            "SELECT count(*) FROM attempt WHERE error_class IS NOT NULL",
            [],
        )
    }

    /// Whether a delivery is still pending: on a due list, or behind the place up to which the lists are complete.
    /// Asked of all deliveries, it would read past everything that is settled; that cost a sixth of the rate, since
    /// it is asked often and on the box's own cores.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn is_owed(&self) -> anyhow::Result<bool> {
        // In one snapshot: between two, a delivery may move from behind that place to a list.
        let sql = "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_due WHERE next_attempt_at_ms IS NOT NULL)
            OR EXISTS (SELECT 1 FROM delivery
                WHERE id > (SELECT cursor_delivery_id FROM dispatcher) AND state = 'pending')";
        Ok(self.count(sql, [])? > 0)
    }

    /// The id of the `n`th newest row of a table of the workspace.
    ///
    /// # Errors
    /// When the file cannot be read or has fewer.
    pub(crate) fn nth_newest(
        &self,
        table: &str,
        workspace: WorkspaceId,
        n: u64,
    ) -> anyhow::Result<i64> {
        let sql = format!(
            "SELECT id FROM {table} WHERE workspace_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET {n}"
        );
        Ok(self
            .connection
            .query_row(&sql, [workspace], |row| row.get(0))?)
    }

    /// The profile that holds a user id.
    ///
    /// # Errors
    /// When the file cannot be read or there is none.
    pub(crate) fn profile(&self, user: &str) -> anyhow::Result<ProfileId> {
        let sql = "SELECT profile_id FROM identifier WHERE kind = 'user_id' AND value = ?1";
        Ok(self.connection.query_row(sql, [user], |row| row.get(0))?)
    }

    /// The `n`th newest event of a profile's timeline.
    ///
    /// # Errors
    /// When the file cannot be read or there is none.
    pub(crate) fn nth_newest_of_profile(
        &self,
        profile: ProfileId,
        n: u64,
    ) -> anyhow::Result<EventId> {
        let sql = format!(
            "SELECT event_id FROM timeline WHERE profile_id = ?1 ORDER BY event_id DESC LIMIT 1 OFFSET {n}"
        );
        Ok(self
            .connection
            .query_row(&sql, [profile], |row| row.get(0))?)
    }

    /// How many events a profile's timeline has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn timeline_length(&self, profile: ProfileId) -> anyhow::Result<u64> {
        self.count(
            "SELECT count(*) FROM timeline WHERE profile_id = ?1",
            [profile],
        )
    }

    /// The body of the longest message.
    ///
    /// # Errors
    /// When the file cannot be read or has none.
    pub(crate) fn longest_message(&self) -> anyhow::Result<String> {
        let sql = "SELECT CAST(body AS TEXT) FROM message ORDER BY length(body) DESC LIMIT 1";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    fn count(&self, sql: &str, params: impl rusqlite::Params) -> anyhow::Result<u64> {
        let count: i64 = self
            .connection
            .prepare_cached(sql)?
            .query_row(params, |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }

    fn wal_bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |metadata| metadata.len())
    }
}

/// A file that is looked at while a run goes on.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Watched>>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// When, since the beginning, and how far the projector was behind, milliseconds.
    pub(crate) lags_ms: Vec<(Duration, i64)>,
    /// The largest the WAL was.
    pub(crate) wal_bytes: u64,
}

impl Watch {
    /// Begins to look at the file of a data folder.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn begin(folder: &Path) -> anyhow::Result<Self> {
        let look = Look::at(folder)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(&look, &stopping));
        Ok(Self { stop, thread })
    }

    /// Ends looking.
    ///
    /// # Errors
    /// When the file could not be read.
    pub(crate) fn end(self) -> anyhow::Result<Watched> {
        self.stop.store(true, Ordering::Release);
        let watched = self.thread.join();
        watched.unwrap_or_else(|_| anyhow::bail!("the watching thread panicked"))
    }
}

fn watch(look: &Look, stop: &AtomicBool) -> anyhow::Result<Watched> {
    let began = Instant::now();
    let mut watched = Watched::default();
    while !stop.load(Ordering::Acquire) {
        watched.lags_ms.push((began.elapsed(), look.lag_ms()?));
        watched.wal_bytes = watched.wal_bytes.max(look.wal_bytes());
        std::thread::sleep(WATCH_EVERY);
    }
    watched.lags_ms.push((began.elapsed(), look.lag_ms()?));
    Ok(watched)
}

impl Watched {
    /// The furthest that the projector was behind, from `after` the beginning on, milliseconds.
    pub(crate) fn lag_ms(&self, after: Duration) -> i64 {
        let later = self.lags_ms.iter().filter(|(at, _)| *at >= after);
        later.map(|(_, lag_ms)| *lag_ms).max().unwrap_or(0)
    }
}
