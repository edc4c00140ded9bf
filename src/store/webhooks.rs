//! Webhooks as rows: made, changed, paused, deleted.

use super::word;
use crate::error::{Error, Result};
use crate::id::{WebhookId, WorkspaceId};
use crate::secret::Vault;
use crate::webhook::{Format, Pattern, Webhook, WebhookState};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A webhook as its pages show it: everything but the secret.
#[derive(Debug, Clone)]
pub struct WebhookRow {
    /// Its id.
    pub id: WebhookId,
    /// What people call it.
    pub name: String,
    /// Where it sends.
    pub url: String,
    /// The shape of its bodies.
    pub format: Format,
    /// What it wants.
    pub patterns: Vec<String>,
    /// Whether it sends.
    pub state: WebhookState,
    /// Why it is disabled.
    pub state_reason: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was last changed, Unix milliseconds.
    pub updated_at_ms: i64,
}

const COLUMNS: &str = "SELECT id, name, url, format, patterns, state, state_reason, created_at_ms, updated_at_ms FROM webhook";

fn webhook_row(row: &Row<'_>) -> rusqlite::Result<WebhookRow> {
    Ok(WebhookRow {
        id: row.get("id")?,
        name: row.get("name")?,
        url: row.get("url")?,
        format: word(row, "format", Format::parse)?,
        patterns: serde_json::from_str(&row.get::<_, String>("patterns")?).unwrap_or_default(),
        state: word(row, "state", WebhookState::parse)?,
        state_reason: row.get("state_reason")?,
        created_at_ms: row.get("created_at_ms")?,
        updated_at_ms: row.get("updated_at_ms")?,
    })
}

/// Keeps a new webhook, its secret sealed.
///
/// # Errors
/// When the file refuses.
pub fn insert(
    connection: &Connection,
    vault: &Vault,
    webhook: &Webhook,
    now_ms: i64,
) -> Result<()> {
    let sealed = vault.seal(webhook.id.as_i64(), webhook.secret.as_bytes())?;
    connection.execute(
        "INSERT INTO webhook (id, workspace_id, name, url, format, patterns, state, secret_sealed, created_at_ms, updated_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        params![
            webhook.id,
            webhook.workspace,
            webhook.name,
            webhook.url.as_str(),
            webhook.format.as_str(),
            patterns_text(&webhook.patterns),
            webhook.state.as_str(),
            sealed,
            now_ms
        ],
    )?;
    Ok(())
}

/// What an edit may change.
#[derive(Debug, Clone)]
pub struct WebhookEdit {
    /// What people call it.
    pub name: String,
    /// Where it sends.
    pub url: String,
    /// What it wants.
    pub patterns: Vec<Pattern>,
}

/// Changes a webhook.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it is not there, or deleted.
pub fn update(
    connection: &Connection,
    workspace: WorkspaceId,
    id: WebhookId,
    edit: &WebhookEdit,
    now_ms: i64,
) -> Result<()> {
    let changed = connection.execute(
        "UPDATE webhook SET name = ?3, url = ?4, patterns = ?5, updated_at_ms = ?6
         WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL",
        params![
            workspace,
            id,
            edit.name,
            edit.url,
            patterns_text(&edit.patterns),
            now_ms
        ],
    )?;
    found(changed)
}

/// Puts a webhook in `state`. What that means for what it is owed is `deliveries`' to say.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it is not there, or deleted.
pub fn set_state(
    connection: &Connection,
    workspace: WorkspaceId,
    id: WebhookId,
    state: WebhookState,
    now_ms: i64,
) -> Result<()> {
    let changed = connection.execute(
        "UPDATE webhook SET state = ?3, state_reason = NULL, updated_at_ms = ?4
         WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL",
        params![workspace, id, state.as_str(), now_ms],
    )?;
    found(changed)
}

/// Takes a webhook away. Its history stays readable until retention sweeps it.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it is not there, or deleted already.
pub fn delete(
    connection: &Connection,
    workspace: WorkspaceId,
    id: WebhookId,
    now_ms: i64,
) -> Result<()> {
    let changed = connection.execute(
        "UPDATE webhook SET deleted_at_ms = ?3 WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL",
        params![workspace, id, now_ms],
    )?;
    found(changed)
}

fn found(changed: usize) -> Result<()> {
    if changed == 1 {
        Ok(())
    } else {
        Err(Error::not_found("webhook"))
    }
}

/// The webhooks of a workspace, by name.
///
/// # Errors
/// When the file cannot be read.
pub fn list(connection: &Connection, workspace: WorkspaceId) -> Result<Vec<WebhookRow>> {
    let sql = format!(
        "{COLUMNS} WHERE workspace_id = ?1 AND deleted_at_ms IS NULL ORDER BY lower(name), id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_map([workspace], webhook_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// One webhook of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: WebhookId) -> Result<WebhookRow> {
    let sql = format!("{COLUMNS} WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL");
    connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], webhook_row)
        .optional()?
        .ok_or_else(|| Error::not_found("webhook"))
}

fn patterns_text(patterns: &[Pattern]) -> String {
    serde_json::Value::from(patterns.iter().map(ToString::to_string).collect::<Vec<_>>())
        .to_string()
}
