//! Who sends events: sources and API keys.

use super::actor::Actor;
use crate::access::{self, Scope};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, SourceId, WorkspaceId};
use crate::secret::{self, Vault};
use crate::store;
use rusqlite::Connection;
use serde_json::json;

/// A source that was just made.
#[derive(Debug)]
pub struct CreatedSource {
    /// Its id.
    pub id: SourceId,
    /// Signs browser identities.
    pub identity_secret: String,
}

/// Makes a source.
///
/// # Errors
/// A refused name.
pub fn create_source(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    name: &str,
) -> Result<CreatedSource> {
    let name = access::check_name(name)?;
    let id: SourceId = actor.ids.next(actor.now_ms);
    let identity_secret = secret::random_token()?;
    store::workspaces::insert_source(
        connection,
        &store::workspaces::NewSource {
            id,
            workspace,
            name: &name,
            identity_secret_sealed: &vault.seal(id.as_i64(), identity_secret.as_bytes())?,
            created_at_ms: actor.now_ms,
        },
    )?;
    let after = json!({"name": name});
    actor.note(
        connection,
        Some(workspace),
        "source.created",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok(CreatedSource {
        id,
        identity_secret,
    })
}

/// An API key that was just made: the only time that the whole of it is known.
#[derive(Debug)]
pub struct CreatedApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The whole key, to be shown once.
    pub key: String,
}

/// Makes an API key.
///
/// # Errors
/// A refused name, no scope, or a source of another workspace.
pub fn create_api_key(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    name: &str,
    source: Option<SourceId>,
    scopes: &[Scope],
) -> Result<CreatedApiKey> {
    let name = access::check_name(name)?;
    if scopes.is_empty() {
        return Err(Error::field(
            "/scope",
            "required",
            "Choose at least one thing that the key may do.",
        ));
    }
    if let Some(source) = source
        && !store::workspaces::has_source(connection, workspace, source)?
    {
        return Err(Error::field(
            "/source",
            "not_found",
            "This workspace has no such source.",
        ));
    }
    let new = secret::new_api_key()?;
    let id = actor.ids.next(actor.now_ms);
    store::workspaces::insert_api_key(
        connection,
        &store::workspaces::NewApiKeyRow {
            id,
            workspace,
            source,
            name: &name,
            prefix: &new.prefix,
            hash: &new.hash,
            scopes,
            created_by: actor.user,
            created_at_ms: actor.now_ms,
        },
    )?;
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let after = json!({"name": name, "prefix": new.prefix, "scopes": scopes});
    actor.note(
        connection,
        Some(workspace),
        "api_key.created",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok(CreatedApiKey { id, key: new.key })
}

/// Stops an API key from working; the next request with it is refused (promise 21).
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn revoke_api_key(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: ApiKeyId,
) -> Result<()> {
    let key = store::workspaces::api_key(connection, workspace, id)?;
    store::workspaces::revoke_api_key(connection, workspace, id, actor.now_ms)?;
    let before = json!({"name": key.name, "prefix": key.prefix});
    actor.note(
        connection,
        Some(workspace),
        "api_key.revoked",
        id.to_string(),
        Some(before),
        None,
    )
}
