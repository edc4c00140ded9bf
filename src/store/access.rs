//! Users, sessions, members and the audit trail.

use super::word;
use crate::access::Role;
use crate::error::{Error, Kind, Result};
use crate::id::{AuditId, UserId, WorkspaceId};
use crate::secret::TokenHash;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A person who signs in.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Lower case.
    pub email: String,
    /// What pages call the person.
    pub name: String,
    /// argon2id, PHC string.
    pub password_hash: String,
    /// Whether the person may create workspaces.
    pub is_operator: bool,
}

/// A workspace as one of its members sees it.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What stands in its URLs.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// What this member may do.
    pub role: Role,
}

/// One change, for the audit trail.
#[derive(Debug)]
pub struct AuditEntry<'a> {
    /// Its id.
    pub id: AuditId,
    /// Where; `None` for what concerns the whole box.
    pub workspace: Option<WorkspaceId>,
    /// Who; `None` for the command line.
    pub user: Option<UserId>,
    /// Such as `webhook.paused`.
    pub action: &'static str,
    /// The public id of what was changed.
    pub target: String,
    /// What it was, without secrets.
    pub before: Option<serde_json::Value>,
    /// What it became, without secrets.
    pub after: Option<serde_json::Value>,
    /// From where.
    pub address: Option<&'a str>,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

/// Writes one line of the audit trail, in the transaction of the change itself.
///
/// # Errors
/// When the file refuses.
pub fn insert_audit(connection: &Connection, entry: &AuditEntry<'_>) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit (id, workspace_id, user_id, action, target, before, after, address, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            entry.id,
            entry.workspace,
            entry.user,
            entry.action,
            entry.target,
            entry.before.as_ref().map(ToString::to_string),
            entry.after.as_ref().map(ToString::to_string),
            entry.address,
            entry.at_ms,
        ])?;
    Ok(())
}

fn user_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get("id")?,
        email: row.get("email")?,
        name: row.get("name")?,
        password_hash: row.get("password_hash")?,
        is_operator: row.get("is_operator")?,
    })
}

/// Keeps a new user.
///
/// # Errors
/// [`Kind::Conflict`] when the email is taken.
pub fn insert_user(connection: &Connection, user: &User, now_ms: i64) -> Result<()> {
    if user_by_email(connection, &user.email)?.is_some() {
        return Err(Error::new(
            Kind::Conflict,
            "email_taken",
            "There is a user with this email already; sign in with it, or use another one.",
        ));
    }
    connection.execute(
        "INSERT INTO user (id, email, name, password_hash, is_operator, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![user.id, user.email, user.name, user.password_hash, user.is_operator, now_ms],
    )?;
    Ok(())
}

/// The user with this (canonical) email.
///
/// # Errors
/// When the file cannot be read.
pub fn user_by_email(connection: &Connection, email: &str) -> Result<Option<User>> {
    Ok(connection
        .prepare_cached(
            "SELECT id, email, name, password_hash, is_operator FROM user WHERE email = ?1",
        )?
        .query_row([email], user_row)
        .optional()?)
}

/// Whether anyone can sign in yet.
///
/// # Errors
/// When the file cannot be read.
pub fn has_users(connection: &Connection) -> Result<bool> {
    Ok(connection.query_row("SELECT max(id) IS NOT NULL FROM user", [], |row| row.get(0))?)
}

/// Makes `user` a member of `workspace`, or changes the role.
///
/// # Errors
/// When the file refuses.
pub fn put_member(
    connection: &Connection,
    workspace: WorkspaceId,
    user: UserId,
    role: Role,
    now_ms: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO member (workspace_id, user_id, role, created_at_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role",
        params![workspace, user, role.as_str(), now_ms],
    )?;
    Ok(())
}

fn membership_row(row: &Row<'_>) -> rusqlite::Result<Membership> {
    Ok(Membership {
        workspace: row.get("id")?,
        slug: row.get("slug")?,
        name: row.get("name")?,
        role: word(row, "role", Role::parse)?,
    })
}

/// The one function that decides membership: the workspace that `reference` (its id or its slug)
/// names, if `user` is a member of it (promise 20).
///
/// # Errors
/// [`Kind::NotFound`], the same for "does not exist" and "not a member".
pub fn membership(connection: &Connection, reference: &str, user: UserId) -> Result<Membership> {
    let id: Option<WorkspaceId> = reference.parse().ok();
    connection
        .prepare_cached(
            "SELECT w.id, w.slug, w.name, m.role FROM workspace w JOIN member m ON m.workspace_id = w.id
             WHERE m.user_id = ?1 AND w.id = coalesce(?2, (SELECT id FROM workspace WHERE slug = ?3))",
        )?
        .query_row(params![user, id, reference], membership_row)
        .optional()?
        .ok_or_else(|| Error::not_found("workspace"))
}

/// The workspaces of a user, by name.
///
/// # Errors
/// When the file cannot be read.
pub fn memberships(connection: &Connection, user: UserId) -> Result<Vec<Membership>> {
    let mut statement = connection.prepare_cached(
        "SELECT w.id, w.slug, w.name, m.role FROM member m JOIN workspace w ON w.id = m.workspace_id
         WHERE m.user_id = ?1 ORDER BY lower(w.name), w.id",
    )?;
    Ok(statement
        .query_map([user], membership_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Who a session belongs to, and since when.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who is signed in.
    pub user: User,
    /// When the person signed in, Unix milliseconds.
    pub created_at_ms: i64,
    /// The last request, Unix milliseconds, kept to the minute.
    pub last_seen_at_ms: i64,
}

/// Keeps a new session.
///
/// # Errors
/// When the file refuses.
pub fn insert_session(
    connection: &Connection,
    token: &TokenHash,
    user: UserId,
    now_ms: i64,
) -> Result<()> {
    connection.execute(
        "INSERT INTO session (token_hash, user_id, created_at_ms, last_seen_at_ms) VALUES (?1, ?2, ?3, ?3)",
        params![token, user, now_ms],
    )?;
    Ok(())
}

/// The session behind a token's hash, however old.
///
/// # Errors
/// When the file cannot be read.
pub fn session(connection: &Connection, token: &TokenHash) -> Result<Option<Session>> {
    Ok(connection
        .prepare_cached(
            "SELECT u.id, u.email, u.name, u.password_hash, u.is_operator, s.created_at_ms, s.last_seen_at_ms
             FROM session s JOIN user u ON u.id = s.user_id WHERE s.token_hash = ?1",
        )?
        .query_row([token], |row| {
            Ok(Session {
                user: user_row(row)?,
                created_at_ms: row.get("created_at_ms")?,
                last_seen_at_ms: row.get("last_seen_at_ms")?,
            })
        })
        .optional()?)
}

/// Notes that a session was used.
///
/// # Errors
/// When the file refuses.
pub fn touch_session(connection: &Connection, token: &TokenHash, now_ms: i64) -> Result<()> {
    connection.execute(
        "UPDATE session SET last_seen_at_ms = ?2 WHERE token_hash = ?1",
        params![token, now_ms],
    )?;
    Ok(())
}

/// Ends a session.
///
/// # Errors
/// When the file refuses.
pub fn delete_session(connection: &Connection, token: &TokenHash) -> Result<()> {
    connection.execute("DELETE FROM session WHERE token_hash = ?1", [token])?;
    Ok(())
}

/// One sign-in takes at most this many sessions of the past away; the next ones take the rest.
const STALE_SESSIONS: i64 = 100;

/// Takes away sessions that were last used before `idle_before_ms`. One that has reached its absolute
/// limit cannot be used any more, so it is idle soon too.
///
/// # Errors
/// When the file refuses.
pub fn delete_stale_sessions(connection: &Connection, idle_before_ms: i64) -> Result<()> {
    connection.execute(
        "DELETE FROM session WHERE token_hash IN (
            SELECT token_hash FROM session WHERE last_seen_at_ms < ?1 ORDER BY last_seen_at_ms LIMIT ?2)",
        params![idle_before_ms, STALE_SESSIONS],
    )?;
    Ok(())
}
