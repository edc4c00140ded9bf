//! THE LOG and all other tables. SQL stands in this folder only, one file per group of tables; callers
//! own the transaction. Here is what those files share: transactions, ids, words, and what SQLite's
//! failures mean to a person. Knows no HTTP.

pub mod access;
mod answers;
pub mod attempts;
pub mod billing;
pub mod catalog;
pub mod checkpoint;
pub mod deliveries;
pub mod event_types;
pub mod events;
mod files;
pub mod funnels;
mod group;
pub mod headers;
pub mod health;
pub mod history;
pub mod journal;
pub mod matching;
pub mod merges;
pub mod past;
pub mod people;
pub mod prepared;
pub mod profiles;
pub mod projection;
mod readers;
pub mod rejects;
pub mod replays;
pub mod retention;
pub mod sources;
pub mod space;
pub mod webhooks;
pub mod workspaces;
pub mod writer;

pub use files::Files;
pub use readers::{Reader, Readers};

use crate::error::{Error, Kind, Result};
use crate::id::{Id, IdGenerator};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

/// A write transaction that takes its lock at once, for the one connection a command holds.
///
/// # Errors
/// When the lock is not to be had within the busy timeout.
pub fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

/// The ids of this process: `node` 0 is the server, commands beside it draw another one. Starts
/// above the highest id in the file, so that a clock that went back changes nothing (promise 12).
///
/// # Errors
/// When the file cannot be read.
pub fn id_generator(connection: &Connection, node: u16) -> Result<IdGenerator> {
    let floor = connection.query_row(
        "SELECT max((SELECT coalesce(max(id), 0) FROM event), (SELECT coalesce(max(id), 0) FROM message),
            (SELECT coalesce(max(id), 0) FROM delivery), (SELECT coalesce(max(id), 0) FROM attempt),
            (SELECT coalesce(max(id), 0) FROM profile), (SELECT coalesce(max(id), 0) FROM workspace),
            (SELECT coalesce(max(id), 0) FROM user), (SELECT coalesce(max(id), 0) FROM source),
            (SELECT coalesce(max(id), 0) FROM api_key), (SELECT coalesce(max(id), 0) FROM webhook),
            (SELECT coalesce(max(id), 0) FROM audit), (SELECT coalesce(max(id), 0) FROM merge),
            (SELECT coalesce(max(id), 0) FROM funnel), (SELECT coalesce(max(id), 0) FROM reject),
            (SELECT coalesce(max(id), 0) FROM replay),
            (SELECT cursor_delivery_id FROM dispatcher WHERE id = 1))",
        [],
        |row| row.get(0),
    )?;
    Ok(IdGenerator::new(node, floor))
}

impl<P> ToSql for Id<P> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_i64()))
    }
}

impl<P> FromSql for Id<P> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self::from_i64)
    }
}

/// A word in the file that the code does not know.
#[derive(Debug, thiserror::Error)]
#[error("the file holds {0:?}, which this version does not know")]
struct UnknownWord(String);

/// Reads a column that holds one of a closed set of words.
fn word<T>(
    row: &rusqlite::Row<'_>,
    column: impl rusqlite::RowIndex,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            0,
            rusqlite::types::Type::Text,
            Box::new(UnknownWord(text)),
        )
    })
}

const FILE_LOCKED: &str = "file_locked";

const DISK_FULL: &str = "disk_full";

const DISK_FAILED: &str = "disk_failed";

fn file_locked() -> Error {
    Error::new(
        Kind::Unavailable,
        FILE_LOCKED,
        "Another process holds the file; nothing was stored. Try again in a moment.",
    )
}

fn disk_full() -> Error {
    Error::new(
        Kind::Full,
        DISK_FULL,
        "The disk of the box is full; nothing was stored. Free some space and try again.",
    )
}

fn disk_failed() -> Error {
    Error::new(
        Kind::Unavailable,
        DISK_FAILED,
        "The disk of the box failed; nothing was stored. The box stops, so that it promises nothing it cannot keep.",
    )
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => disk_full().with_source(e),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                file_locked().with_source(e)
            }
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase,
            ) => disk_failed().with_source(e),
            _ => Self::internal(e),
        }
    }
}
