//! What commands that change the box share: one transaction on the file, whether or not a server runs
//! beside them, and one way to print what was made.

use crate::config::{BoxOptions, Config};
use crate::error::Error;
use crate::id::{IdGenerator, NODE_MAX};
use crate::manage::Actor;
use crate::secret::Vault;
use crate::store::catalog::Catalog;
use crate::store::{self, Files};
use crate::time::now_ms;
use rusqlite::Connection;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs one change in one transaction of its own, whether or not a server runs beside it.
pub(super) fn change<T>(
    which: &BoxOptions,
    work: impl FnOnce(&Connection, &Actor<'_>, &Vault) -> Result<T, Error>,
) -> anyhow::Result<T> {
    let files = Files::prepare(&Config::data_dir(which)?)?;
    let mut connection = files.open_beside()?;
    let transaction = store::begin(&mut connection)?;
    let ids = command_ids(&transaction)?;
    let catalog = Catalog::of_webhooks(&transaction, files.vault())?;
    let actor = Actor {
        user: None,
        address: None,
        now_ms: now_ms(),
        ids: &ids,
        catalog: &catalog,
    };
    let outcome = work(&transaction, &actor, files.vault())?;
    transaction.commit()?;
    Ok(outcome)
}

/// Reads something, whether or not a server runs beside it.
pub(super) fn read<T>(
    which: &BoxOptions,
    work: impl FnOnce(&Connection) -> Result<T, Error>,
) -> anyhow::Result<T> {
    let files = Files::prepare(&Config::data_dir(which)?)?;
    Ok(work(&files.open_beside()?)?)
}

/// Ids of this command: a node of its own, so that they never meet the server's.
fn command_ids(connection: &Connection) -> Result<IdGenerator, Error> {
    store::id_generator(connection, fastrand::u16(1..=NODE_MAX))
}

/// Prints what a command made: one JSON object, or lines for a person.
pub(super) fn print(
    json: bool,
    object: &serde_json::Value,
    lines: &[String],
) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{object}")?;
    } else {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
