//! Users, workspaces and members.

use super::actor::Actor;
use super::profiles;
use crate::access::{self, Role};
use crate::error::{Error, Result};
use crate::id::{UserId, WorkspaceId};
use crate::store;
use crate::store::access::{Membership, User};
use rusqlite::Connection;
use serde_json::json;

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
    profiles::create_default_funnel(connection, id, actor.now_ms)?;
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
