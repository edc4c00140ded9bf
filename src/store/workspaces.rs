//! Workspaces and their API keys.

use crate::access::Scope;
use crate::error::{Error, Kind, Result};
use crate::id::{ApiKeyId, SourceId, UserId, WorkspaceId};
use crate::secret::TokenHash;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A slug that is taken gets a number behind it, up to this one.
const MAX_SLUG_NUMBER: u32 = 10_000;

/// Keeps a new workspace under the first free slug that begins with `slug`, and says which.
///
/// # Errors
/// When the file refuses.
pub fn insert_workspace(
    connection: &Connection,
    id: WorkspaceId,
    name: &str,
    slug: &str,
    now_ms: i64,
) -> Result<String> {
    let mut is_taken =
        connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM workspace WHERE slug = ?1)")?;
    for number in 1..=MAX_SLUG_NUMBER {
        let candidate = if number == 1 {
            slug.to_owned()
        } else {
            format!("{slug}-{number}")
        };
        if is_taken.query_row([&candidate], |row| row.get::<_, bool>(0))? {
            continue;
        }
        connection.execute(
            "INSERT INTO workspace (id, slug, name, created_at_ms) VALUES (?1, ?2, ?3, ?4)",
            params![id, candidate, name, now_ms],
        )?;
        return Ok(candidate);
    }
    Err(Error::field(
        "/name",
        "name_taken",
        "Too many workspaces have this name; choose another.",
    ))
}

/// Gives a workspace another name; its slug stays, so that links go on working.
///
/// # Errors
/// When the file refuses.
pub fn rename_workspace(connection: &Connection, id: WorkspaceId, name: &str) -> Result<()> {
    connection.execute(
        "UPDATE workspace SET name = ?2 WHERE id = ?1",
        params![id, name],
    )?;
    Ok(())
}

/// How many people may be active in a month before the workspace is told.
///
/// # Errors
/// When the file cannot be read.
pub fn mau_limit(connection: &Connection, id: WorkspaceId) -> Result<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT mau_limit FROM workspace WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .flatten())
}

/// Sets how many people may be active in a month before the workspace is told.
///
/// # Errors
/// When the file refuses.
pub fn set_mau_limit(connection: &Connection, id: WorkspaceId, limit: Option<i64>) -> Result<()> {
    connection.execute(
        "UPDATE workspace SET mau_limit = ?2 WHERE id = ?1",
        params![id, limit],
    )?;
    // What was said of the old limit is not said of the new one.
    connection.execute("DELETE FROM mau_notice WHERE workspace_id = ?1", [id])?;
    Ok(())
}

/// The workspace that an id or a slug names, for commands: they ask nobody for membership.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn find_workspace(connection: &Connection, reference: &str) -> Result<WorkspaceId> {
    let id: Option<WorkspaceId> = reference.parse().ok();
    connection
        .query_row(
            "SELECT id FROM workspace WHERE id = ?1 OR slug = ?2",
            params![id, reference],
            |row| row.get(0),
        )
        .optional()?
        .ok_or_else(|| {
            let message =
                format!("There is no workspace \"{reference}\"; give its id or its slug.");
            Error::new(Kind::NotFound, "not_found", message)
        })
}

/// An API key to be kept.
#[derive(Debug)]
pub struct NewApiKeyRow<'a> {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose events it writes.
    pub workspace: WorkspaceId,
    /// The source it stands for.
    pub source: Option<SourceId>,
    /// What people call it.
    pub name: &'a str,
    /// Its first characters.
    pub prefix: &'a str,
    /// Its hash.
    pub hash: &'a TokenHash,
    /// What it may do.
    pub scopes: &'a [Scope],
    /// Who made it; `None` for the command line.
    pub created_by: Option<UserId>,
    /// When, Unix milliseconds.
    pub created_at_ms: i64,
}

/// Keeps a new API key.
///
/// # Errors
/// When the file refuses.
pub fn insert_api_key(connection: &Connection, key: &NewApiKeyRow<'_>) -> Result<()> {
    connection.execute(
        "INSERT INTO api_key (id, workspace_id, source_id, name, prefix, key_hash, scopes, created_by, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            key.id,
            key.workspace,
            key.source,
            key.name,
            key.prefix,
            key.hash,
            scopes_text(key.scopes),
            key.created_by,
            key.created_at_ms
        ],
    )?;
    Ok(())
}

/// An API key as its page shows it.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The source it stands for, by name.
    pub source_name: Option<String>,
    /// Who made it, by name; `None` for the command line.
    pub created_by_name: Option<String>,
    /// When, Unix milliseconds.
    pub created_at_ms: i64,
    /// When it stopped working, Unix milliseconds.
    pub revoked_at_ms: Option<i64>,
}

const API_KEY_COLUMNS: &str = "SELECT k.id, k.name, k.prefix, k.scopes, s.name AS source_name, u.name AS created_by_name,
        k.created_at_ms, k.revoked_at_ms
     FROM api_key k LEFT JOIN source s ON s.id = k.source_id LEFT JOIN user u ON u.id = k.created_by";

fn api_key_row(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: row.get("id")?,
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        scopes: parse_scopes(&row.get::<_, String>("scopes")?),
        source_name: row.get("source_name")?,
        created_by_name: row.get("created_by_name")?,
        created_at_ms: row.get("created_at_ms")?,
        revoked_at_ms: row.get("revoked_at_ms")?,
    })
}

/// The newest `limit` keys of a workspace, working ones first.
///
/// # Errors
/// When the file cannot be read.
pub fn api_keys(
    connection: &Connection,
    workspace: WorkspaceId,
    limit: usize,
) -> Result<Vec<ApiKey>> {
    let sql = format!(
        "{API_KEY_COLUMNS} WHERE k.workspace_id = ?1 ORDER BY k.revoked_at_ms IS NOT NULL, k.id DESC LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(statement
        .query_map(params![workspace, limit], api_key_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// One key of a workspace.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn api_key(connection: &Connection, workspace: WorkspaceId, id: ApiKeyId) -> Result<ApiKey> {
    let sql = format!("{API_KEY_COLUMNS} WHERE k.workspace_id = ?1 AND k.id = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], api_key_row)
        .optional()?
        .ok_or_else(|| Error::not_found("API key"))
}

/// Stops a key from working. Revoking twice keeps the first time.
///
/// # Errors
/// When the file refuses.
pub fn revoke_api_key(
    connection: &Connection,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now_ms: i64,
) -> Result<()> {
    connection.execute(
        "UPDATE api_key SET revoked_at_ms = coalesce(revoked_at_ms, ?3) WHERE workspace_id = ?1 AND id = ?2",
        params![workspace, id, now_ms],
    )?;
    Ok(())
}

fn scopes_text(scopes: &[Scope]) -> String {
    scopes
        .iter()
        .map(|scope| scope.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The scopes in a stored list; words that this version does not know grant nothing.
pub(super) fn parse_scopes(text: &str) -> Vec<Scope> {
    text.split(' ').filter_map(Scope::parse).collect()
}
