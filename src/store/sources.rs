//! Sources: the sites and apps that send, and what each says of itself.

use crate::error::{Error, Result};
use crate::id::{SourceId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A site or app that sends.
#[derive(Debug)]
pub struct NewSource<'a> {
    /// Its id.
    pub id: SourceId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// What people say of it.
    pub about: &'a SourceAbout,
    /// Its identity secret, sealed.
    pub identity_secret_sealed: &'a [u8],
    /// When, Unix milliseconds.
    pub created_at_ms: i64,
}

/// What people say of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceAbout {
    /// What they call it.
    pub name: String,
    /// Web origins that may post as it, as a browser writes them.
    pub origins: Vec<String>,
    /// Whether a customer is an account and not a person (wire.md, "Churnkey").
    pub customers_are_accounts: bool,
}

impl SourceAbout {
    fn origins_text(&self) -> Result<String> {
        serde_json::to_string(&self.origins).map_err(Error::internal)
    }
}

/// A source as its page shows it.
#[derive(Debug, Clone)]
pub struct SourceRow {
    /// Its id.
    pub id: SourceId,
    /// What people say of it.
    pub about: SourceAbout,
    /// Whether it is known what the payment provider signs with.
    pub has_stripe_secret: bool,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: i64,
}

const SOURCE_COLUMNS: &str = "SELECT id, name, origins, customers_are_accounts,
        stripe_secret_sealed IS NOT NULL AS has_stripe_secret, created_at_ms FROM source";

fn source_row(row: &Row<'_>) -> rusqlite::Result<SourceRow> {
    let origins: String = row.get("origins")?;
    Ok(SourceRow {
        id: row.get("id")?,
        about: SourceAbout {
            name: row.get("name")?,
            // What cannot be read lets nobody in.
            origins: serde_json::from_str(&origins).unwrap_or_default(),
            customers_are_accounts: row.get("customers_are_accounts")?,
        },
        has_stripe_secret: row.get("has_stripe_secret")?,
        created_at_ms: row.get("created_at_ms")?,
    })
}

/// Keeps a new source.
///
/// # Errors
/// When the file refuses.
pub fn insert(connection: &Connection, source: &NewSource<'_>) -> Result<()> {
    connection.execute(
        "INSERT INTO source (id, workspace_id, name, origins, customers_are_accounts, identity_secret_sealed, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            source.id,
            source.workspace,
            source.about.name,
            source.about.origins_text()?,
            source.about.customers_are_accounts,
            source.identity_secret_sealed,
            source.created_at_ms
        ],
    )?;
    Ok(())
}

/// Whether the source is of that workspace.
///
/// # Errors
/// When the file cannot be read.
pub fn exists(connection: &Connection, workspace: WorkspaceId, source: SourceId) -> Result<bool> {
    Ok(connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM source WHERE workspace_id = ?1 AND id = ?2)",
        params![workspace, source],
        |row| row.get(0),
    )?)
}

/// The newest `limit` sources of a workspace.
///
/// # Errors
/// When the file cannot be read.
pub fn list(
    connection: &Connection,
    workspace: WorkspaceId,
    limit: usize,
) -> Result<Vec<SourceRow>> {
    let sql = format!("{SOURCE_COLUMNS} WHERE workspace_id = ?1 ORDER BY id DESC LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection
        .prepare_cached(&sql)?
        .query_map(params![workspace, limit], source_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// One source of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: SourceId) -> Result<SourceRow> {
    let sql = format!("{SOURCE_COLUMNS} WHERE workspace_id = ?1 AND id = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], source_row)
        .optional()?
        .ok_or_else(|| Error::not_found("source"))
}

/// Changes what people say of a source.
///
/// # Errors
/// When the file refuses.
pub fn update(
    connection: &Connection,
    workspace: WorkspaceId,
    id: SourceId,
    about: &SourceAbout,
) -> Result<()> {
    connection.execute(
        "UPDATE source SET name = ?3, origins = ?4, customers_are_accounts = ?5 WHERE workspace_id = ?1 AND id = ?2",
        params![
            workspace,
            id,
            about.name,
            about.origins_text()?,
            about.customers_are_accounts
        ],
    )?;
    Ok(())
}

/// Keeps what the payment provider signs with, sealed.
///
/// # Errors
/// When the file refuses.
pub fn set_stripe_secret(
    connection: &Connection,
    workspace: WorkspaceId,
    id: SourceId,
    sealed: &[u8],
) -> Result<()> {
    connection.execute(
        "UPDATE source SET stripe_secret_sealed = ?3 WHERE workspace_id = ?1 AND id = ?2",
        params![workspace, id, sealed],
    )?;
    Ok(())
}

/// Replaces what browser identities are signed with, sealed.
///
/// # Errors
/// When the file refuses.
pub fn set_identity_secret(
    connection: &Connection,
    workspace: WorkspaceId,
    id: SourceId,
    sealed: &[u8],
) -> Result<()> {
    connection.execute(
        "UPDATE source SET identity_secret_sealed = ?3 WHERE workspace_id = ?1 AND id = ?2",
        params![workspace, id, sealed],
    )?;
    Ok(())
}
