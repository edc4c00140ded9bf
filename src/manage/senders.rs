//! Who sends events: sources and API keys.

use super::actor::Actor;
use crate::access::{self, Scope};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, SourceId, WorkspaceId};
use crate::secret::{self, Vault};
use crate::source;
use crate::store;
use crate::store::sources::{self, SourceAbout};
use rusqlite::Connection;
use serde_json::{Value, json};

/// What a person says of a source, unchecked.
#[derive(Debug, Clone, Default)]
pub struct SourceInput {
    /// What to call it.
    pub name: String,
    /// Web origins that may post as it.
    pub origins: Vec<String>,
    /// Whether a customer is an account and not a person.
    pub customers_are_accounts: bool,
}

impl SourceInput {
    /// Checks every field, and says all that is wrong at once.
    ///
    /// # Errors
    /// Names the fields `name` and `origin`.
    pub fn check(&self) -> Result<SourceAbout> {
        match (
            access::check_name(&self.name),
            source::check_origins(&self.origins),
        ) {
            (Ok(name), Ok(origins)) => Ok(SourceAbout {
                name,
                origins,
                customers_are_accounts: self.customers_are_accounts,
            }),
            (name, origins) => Err(Error::fields(
                [name.err(), origins.err()]
                    .into_iter()
                    .flatten()
                    .flat_map(|e| e.field_errors().to_vec())
                    .collect(),
            )),
        }
    }
}

fn told(about: &SourceAbout) -> Value {
    json!({
        "name": about.name,
        "origins": about.origins,
        "customers_are_accounts": about.customers_are_accounts,
    })
}

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
/// Refused fields.
pub fn create_source(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    input: &SourceInput,
) -> Result<CreatedSource> {
    let about = input.check()?;
    let id: SourceId = actor.ids.next(actor.now_ms);
    let identity_secret = secret::random_token()?;
    sources::insert(
        connection,
        &sources::NewSource {
            id,
            workspace,
            about: &about,
            identity_secret_sealed: &vault.seal(id.as_i64(), identity_secret.as_bytes())?,
            created_at_ms: actor.now_ms,
        },
    )?;
    actor.note(
        connection,
        Some(workspace),
        "source.created",
        id.to_string(),
        None,
        Some(told(&about)),
    )?;
    Ok(CreatedSource {
        id,
        identity_secret,
    })
}

/// Changes what is said of a source.
///
/// # Errors
/// Refused fields, or [`crate::error::Kind::NotFound`].
pub fn edit_source(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: SourceId,
    input: &SourceInput,
) -> Result<()> {
    let before = sources::get(connection, workspace, id)?.about;
    let about = input.check()?;
    sources::update(connection, workspace, id, &about)?;
    let (before, after) = (Some(told(&before)), Some(told(&about)));
    actor.note(
        connection,
        Some(workspace),
        "source.updated",
        id.to_string(),
        before,
        after,
    )
}

/// Keeps what Stripe signs this source's events with; what was kept before is replaced.
///
/// # Errors
/// A refused field, or [`crate::error::Kind::NotFound`].
pub fn set_stripe_secret(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: SourceId,
    secret: &str,
) -> Result<()> {
    let source = sources::get(connection, workspace, id)?;
    let secret = source::check_stripe_secret(secret)?;
    let sealed = vault.seal(id.as_i64(), secret.as_bytes())?;
    sources::set_stripe_secret(connection, workspace, id, &sealed)?;
    // Only whether there was one before: what it is stays a secret here too.
    let name = source.about.name;
    let before = Some(json!({"name": name, "stripe_secret": source.has_stripe_secret}));
    let after = Some(json!({"name": name, "stripe_secret": true}));
    actor.note(
        connection,
        Some(workspace),
        "source.stripe_secret_set",
        id.to_string(),
        before,
        after,
    )
}

/// Gives a source another identity secret, and says it this once; what the old one signed is refused from
/// the next request on.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn rotate_identity_secret(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<String> {
    let name = sources::get(connection, workspace, id)?.about.name;
    let secret = secret::random_token()?;
    let sealed = vault.seal(id.as_i64(), secret.as_bytes())?;
    sources::set_identity_secret(connection, workspace, id, &sealed)?;
    // That it was changed is all that may be kept of it.
    actor.note(
        connection,
        Some(workspace),
        "source.identity_secret_rotated",
        id.to_string(),
        Some(json!({"name": name})),
        Some(json!({"name": name})),
    )?;
    Ok(secret)
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
        && !sources::exists(connection, workspace, source)?
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
