//! MANAGE: every change that a person makes, once for the pages and the command line. Each function
//! checks, writes and leaves its audit entry inside the caller's transaction. Knows no HTTP.

use crate::access::{self, Role, Scope};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, DeliveryId, IdGenerator, SourceId, UserId, WebhookId, WorkspaceId};
use crate::secret::{self, Vault, WebhookSecret};
use crate::store::access::{AuditEntry, Membership, User};
use crate::store::{self, deliveries, webhooks};
use crate::webhook::{self, Format, Webhook, WebhookState};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Who changes something, when and from where.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The user; `None` is the command line.
    pub user: Option<UserId>,
    /// From where; `None` is the command line.
    pub address: Option<&'a str>,
    /// When, Unix milliseconds.
    pub now_ms: i64,
    /// Makes the ids.
    pub ids: &'a IdGenerator,
}

impl Actor<'_> {
    fn note(
        &self,
        connection: &Connection,
        workspace: Option<WorkspaceId>,
        action: &'static str,
        target: String,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<()> {
        store::access::insert_audit(
            connection,
            &AuditEntry {
                id: self.ids.next(self.now_ms),
                workspace,
                user: self.user,
                action,
                target,
                before,
                after,
                address: self.address,
                at_ms: self.now_ms,
            },
        )
    }
}

/// What a new user is made of. The password is hashed before the transaction, since that is slow.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// What one signs in with.
    pub email: String,
    /// What pages call the person; empty takes what stands before the @.
    pub name: String,
    /// argon2id, PHC string.
    pub password_hash: String,
    /// Whether the person may create workspaces.
    pub is_operator: bool,
}

/// Makes a user.
///
/// # Errors
/// A refused field, or an email that is taken.
pub fn create_user(connection: &Connection, actor: &Actor<'_>, new: &NewUser) -> Result<User> {
    let email = access::check_email(&new.email)?;
    let name = match new.name.trim() {
        "" => email.split('@').next().unwrap_or("user").to_owned(),
        name => access::check_name(name)?,
    };
    let user = User {
        id: actor.ids.next(actor.now_ms),
        email,
        name,
        password_hash: new.password_hash.clone(),
        is_operator: new.is_operator,
    };
    store::access::insert_user(connection, &user, actor.now_ms)?;
    let after = json!({"email": user.email, "name": user.name, "operator": user.is_operator});
    actor.note(
        connection,
        None,
        "user.created",
        user.id.to_string(),
        None,
        Some(after),
    )?;
    Ok(user)
}

/// Makes a workspace; `owner` becomes its first member.
///
/// # Errors
/// A refused name.
pub fn create_workspace(
    connection: &Connection,
    actor: &Actor<'_>,
    name: &str,
    owner: Option<UserId>,
) -> Result<(WorkspaceId, String)> {
    let name = access::check_name(name)?;
    let id = actor.ids.next(actor.now_ms);
    let slug = store::workspaces::insert_workspace(
        connection,
        id,
        &name,
        &access::slugify(&name),
        actor.now_ms,
    )?;
    if let Some(owner) = owner {
        store::access::put_member(connection, id, owner, Role::Owner, actor.now_ms)?;
    }
    let after = json!({"name": name, "slug": slug});
    actor.note(
        connection,
        Some(id),
        "workspace.created",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok((id, slug))
}

/// Gives a workspace another name; its slug stays.
///
/// # Errors
/// A refused name.
pub fn rename_workspace(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: &Membership,
    name: &str,
) -> Result<()> {
    let name = access::check_name(name)?;
    store::workspaces::rename_workspace(connection, workspace.workspace, &name)?;
    actor.note(
        connection,
        Some(workspace.workspace),
        "workspace.renamed",
        workspace.workspace.to_string(),
        Some(json!({"name": workspace.name})),
        Some(json!({"name": name})),
    )
}

/// Makes the user with this email a member, or changes the role.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when nobody has the email.
pub fn add_member(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    email: &str,
    role: Role,
) -> Result<UserId> {
    let email = access::check_email(email)?;
    let user = store::access::user_by_email(connection, &email)?.ok_or_else(|| {
        let message = format!("There is no user {email}; make one with `pillarbox user create`.");
        Error::new(crate::error::Kind::NotFound, "not_found", message)
    })?;
    store::access::put_member(connection, workspace, user.id, role, actor.now_ms)?;
    let after = json!({"email": email, "role": role.as_str()});
    actor.note(
        connection,
        Some(workspace),
        "member.added",
        user.id.to_string(),
        None,
        Some(after),
    )?;
    Ok(user.id)
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

/// What a person says of a webhook, unchecked.
#[derive(Debug, Clone)]
pub struct WebhookInput {
    /// What to call it.
    pub name: String,
    /// Where it sends.
    pub url: String,
    /// Event-type patterns.
    pub events: Vec<String>,
}

impl WebhookInput {
    /// Checks every field, and says all that is wrong at once.
    ///
    /// # Errors
    /// Names the fields `name`, `url` and `event`.
    pub fn check(&self) -> Result<(String, url::Url, Vec<webhook::Pattern>)> {
        let name = webhook::check_name(&self.name);
        let url = webhook::check_url(&self.url);
        let patterns = webhook::check_patterns(&self.events);
        match (name, url, patterns) {
            (Ok(name), Ok(url), Ok(patterns)) => Ok((name, url, patterns)),
            (name, url, patterns) => Err(Error::fields(
                [name.err(), url.err(), patterns.err()]
                    .into_iter()
                    .flatten()
                    .flat_map(|e| e.field_errors().to_vec())
                    .collect(),
            )),
        }
    }
}

/// A webhook that was just made.
#[derive(Debug)]
pub struct CreatedWebhook {
    /// Its id.
    pub id: WebhookId,
    /// What it signs with (`whsec_…`).
    pub secret: String,
}

/// Makes a webhook, active.
///
/// # Errors
/// Refused fields.
pub fn create_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    vault: &Vault,
    workspace: WorkspaceId,
    input: &WebhookInput,
    format: Format,
) -> Result<CreatedWebhook> {
    let (name, url, patterns) = input.check()?;
    let webhook = Webhook {
        id: actor.ids.next(actor.now_ms),
        workspace,
        name: name.into(),
        url,
        format,
        state: WebhookState::Active,
        patterns,
        secret: WebhookSecret::generate()?,
    };
    webhooks::insert(connection, vault, &webhook, actor.now_ms)?;
    let events: Vec<_> = webhook.patterns.iter().map(ToString::to_string).collect();
    let after = json!({"name": &*webhook.name, "url": webhook.url.as_str(), "events": events});
    actor.note(
        connection,
        Some(workspace),
        "webhook.created",
        webhook.id.to_string(),
        None,
        Some(after),
    )?;
    Ok(CreatedWebhook {
        id: webhook.id,
        secret: webhook.secret.reveal(),
    })
}

/// Changes a webhook's name, URL and events.
///
/// # Errors
/// Refused fields, or [`crate::error::Kind::NotFound`].
pub fn edit_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
    input: &WebhookInput,
) -> Result<()> {
    let before = webhooks::get(connection, workspace, id)?;
    let (name, url, patterns) = input.check()?;
    let edit = webhooks::WebhookEdit {
        name,
        url: url.into(),
        patterns,
    };
    webhooks::update(connection, workspace, id, &edit, actor.now_ms)?;
    let events: Vec<_> = edit.patterns.iter().map(ToString::to_string).collect();
    actor.note(
        connection,
        Some(workspace),
        "webhook.updated",
        id.to_string(),
        Some(json!({"name": before.name, "url": before.url, "events": before.patterns})),
        Some(json!({"name": edit.name, "url": edit.url, "events": events})),
    )
}

/// Pauses a webhook: what it is owed is held. Says how much that was.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn pause_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<usize> {
    webhooks::set_state(
        connection,
        workspace,
        id,
        WebhookState::Paused,
        actor.now_ms,
    )?;
    let held = deliveries::hold_pending(connection, id)?;
    let after = json!({"held": held});
    actor.note(
        connection,
        Some(workspace),
        "webhook.paused",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok(held)
}

/// What becomes of what was held while a webhook did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is sent now.
    Send,
    /// It is given up.
    Discard,
}

/// Lets a webhook send again. Says how much of what was held is sent or given up.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn activate_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
    held: Held,
) -> Result<usize> {
    webhooks::set_state(
        connection,
        workspace,
        id,
        WebhookState::Active,
        actor.now_ms,
    )?;
    let (count, word) = match held {
        Held::Send => (
            deliveries::release_held(connection, id, actor.now_ms)?,
            "sent",
        ),
        Held::Discard => (deliveries::cancel_held(connection, id)?, "discarded"),
    };
    let after = json!({ word: count });
    actor.note(
        connection,
        Some(workspace),
        "webhook.activated",
        id.to_string(),
        None,
        Some(after),
    )?;
    Ok(count)
}

/// Deletes a webhook: what it is owed is cancelled, its history stays until retention. Says how
/// much was cancelled.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn delete_webhook(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<usize> {
    let before = webhooks::get(connection, workspace, id)?;
    webhooks::delete(connection, workspace, id, actor.now_ms)?;
    let cancelled = deliveries::cancel_owed(connection, id)?;
    actor.note(
        connection,
        Some(workspace),
        "webhook.deleted",
        id.to_string(),
        Some(json!({"name": before.name, "url": before.url})),
        Some(json!({"cancelled": cancelled})),
    )?;
    Ok(cancelled)
}

/// Notes that a person asked for an attempt outside the schedule; `deliver` makes it.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn note_retry(
    connection: &Connection,
    actor: &Actor<'_>,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<()> {
    let delivery = deliveries::get(connection, workspace, id)?;
    let after = json!({"attempts": delivery.attempts, "webhook": delivery.webhook.to_string()});
    actor.note(
        connection,
        Some(workspace),
        "delivery.retried",
        id.to_string(),
        None,
        Some(after),
    )
}
