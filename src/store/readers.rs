//! The pool of readers: read-only connections beside the one writer.

use crate::error::{Error, Kind, Result};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::OpenFlags;
use std::path::Path;
use std::time::Duration;

/// Reader connections.
const READERS: u32 = 4;
/// How long a page waits for a reader.
const READER_WAIT: Duration = Duration::from_secs(3);
/// How long a reader waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of one reader, in KiB (negative is SQLite's spelling of KiB).
const READER_CACHE_KIB: i64 = -8_192;

/// A pooled reader.
pub type Reader = r2d2::PooledConnection<SqliteConnectionManager>;

/// The readers of the file. Taking one may wait, so never on an async thread.
#[derive(Debug, Clone)]
pub struct Readers(r2d2::Pool<SqliteConnectionManager>);

impl Readers {
    /// Opens the pool on a file that has its schema.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(database: &Path) -> anyhow::Result<Self> {
        let manager = SqliteConnectionManager::file(database)
            .with_flags(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(|connection| {
                connection.busy_timeout(BUSY_TIMEOUT)?;
                connection.pragma_update(None, "query_only", true)?;
                connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
                connection.pragma_update(None, "temp_store", "memory")
            });
        let pool = r2d2::Pool::builder()
            .max_size(READERS)
            .connection_timeout(READER_WAIT)
            .test_on_check_out(false)
            .build(manager)?;
        Ok(Self(pool))
    }

    /// A reader.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when all of them stay busy.
    pub fn get(&self) -> Result<Reader> {
        self.0.get().map_err(|e| {
            Error::new(
                Kind::Unavailable,
                "readers_busy",
                "The box is busy reading; try again in a moment.",
            )
            .with_source(e)
        })
    }
}
