//! What was said of the room that the disk has left.

use crate::error::Result;
use rusqlite::{Connection, OptionalExtension as _};

/// When it was said that little is left, Unix milliseconds; `None` where there was enough since.
///
/// # Errors
/// When the file cannot be read.
pub fn low_since(connection: &Connection) -> Result<Option<i64>> {
    let found: Option<Option<i64>> = connection
        .prepare_cached("SELECT low_at_ms FROM space_notice WHERE id = 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// Notes that it was said at this time that little is left; `None`, that there is enough again.
///
/// # Errors
/// When the file refuses.
pub fn note_low(connection: &Connection, at_ms: Option<i64>) -> Result<()> {
    connection
        .prepare_cached("UPDATE space_notice SET low_at_ms = ?1 WHERE id = 1")?
        .execute([at_ms])?;
    Ok(())
}
