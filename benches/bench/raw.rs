//! The raw loop that bulk ingest is measured against: no HTTP, no JSON, one connection that writes
//! the same rows into the same schema in transactions of about the size of the box's groups.

use super::traffic;
use pillarbox::store::prepared::Prepared;
use pillarbox::store::{self, Files, events};
use pillarbox::time::now_ms;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows in one transaction, about as many as the box's groups hold.
const GROUP: u64 = 1_000;

/// Writes for a time, then prints how many rows a second that was and how many bytes each took. Its
/// arguments are an empty folder and the seconds.
///
/// # Errors
/// When the file refuses.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [folder, seconds] = arguments else {
        anyhow::bail!("--raw FOLDER SECONDS")
    };
    let duration = Duration::from_secs(seconds.parse()?);
    let files = Files::prepare(Path::new(folder))?;
    let mut connection = files.open_writer()?;
    let ids = store::id_generator(&connection, 0)?;
    let workspace = ids.next(now_ms());
    let pages = |connection: &rusqlite::Connection| {
        connection.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0))
    };
    let pages_before = pages(&connection)?;
    let mut rows = 0u64;
    let started = Instant::now();
    while started.elapsed() < duration {
        let transaction = store::begin(&mut connection)?;
        let prepared = Prepared::new(&transaction);
        for _ in 0..GROUP {
            let received_at_ms = now_ms();
            let id = ids.next(received_at_ms);
            events::insert(
                &prepared,
                &traffic::row(id, workspace, rows, received_at_ms),
            )?;
            rows += 1;
        }
        drop(prepared);
        transaction.commit()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let bytes = f64::from(pages(&connection)? - pages_before) * f64::from(page_bytes);
    println!("RESULT {} {}", rows as f64 / seconds, bytes / rows as f64);
    Ok(())
}
