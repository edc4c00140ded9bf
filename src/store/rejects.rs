//! Refused requests as rows: the newest of each workspace, how many came too fast to be kept, and what
//! the page of them reads.

use crate::error::{Error, Result};
use crate::id::{ApiKeyId, RejectId, SourceId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// So many refused requests with an API key of a workspace are kept (wire.md, "Errors").
pub const KEPT_REJECTS: i64 = 1_000;
/// So many without: who sends them may be anybody, and displaces no others.
pub const KEPT_REJECTS_WITHOUT_KEY: i64 = 200;
/// So many bytes of a refused body are kept.
pub const SNIPPET_BYTES: usize = 4_096;
/// So many different reasons are counted for the page.
const MAX_CODES: i64 = 100;

/// A part of a request's body, as people are shown it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snippet {
    /// How long the whole body was.
    pub body_bytes: usize,
    /// The bytes, secrets masked; not always text.
    pub bytes: Vec<u8>,
    /// The byte of the body with which it begins.
    pub start: usize,
    /// The place in `bytes` at which reading the body ended.
    pub mark: Option<usize>,
    /// Whether it is the whole body with nothing masked.
    pub is_whole: bool,
}

/// One field of a refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedField {
    /// JSON pointer from the body's root.
    pub pointer: String,
    /// The reason, for machines.
    pub code: String,
    /// The reason, for people.
    pub detail: String,
}

/// Whether a command can send a request again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resend {
    /// It can, with these.
    Command(Recipe),
    /// It cannot: only Stripe can sign it.
    Stripe,
    /// It cannot: a member's session was what let it in.
    Session,
}

/// What a command needs beside the address and the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The body's type.
    pub content_type: Cow<'static, str>,
    /// More headers, none of them secret: names and values.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Where who sends it is said.
    pub sender: SenderPlace,
}

/// Where a request says who sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderPlace {
    /// In the body, by a public id.
    Body,
    /// By an API key in this header.
    Header(Cow<'static, str>),
    /// By an API key as the user name of Basic authentication.
    User,
    /// By this public id as that user name.
    PublicUser(String),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many of its events were refused.
    pub rejected: i64,
    /// How many events it had.
    pub events: i64,
    /// How many of them were stored without a key, so that they are stored once more when they come again.
    pub unkeyed: i64,
}

/// A refused request.
#[derive(Debug, Clone)]
pub struct Reject {
    /// Whose.
    pub workspace: WorkspaceId,
    /// Who sent it.
    pub source: Option<SourceId>,
    /// The key that was shown.
    pub key: Option<ApiKeyId>,
    /// When it came, Unix milliseconds.
    pub at_ms: i64,
    /// The path that was posted to.
    pub endpoint: String,
    /// How it can be sent again.
    pub resend: Resend,
    /// The answer's status.
    pub status: u16,
    /// The reason, for machines.
    pub code: String,
    /// The reason, for people.
    pub detail: String,
    /// The first refused fields.
    pub errors: Vec<RefusedField>,
    /// Of a batch that was taken in parts, these; `None` is the whole request.
    pub batch: Option<Batch>,
    /// The byte of the body at which reading it ended.
    pub offset: Option<usize>,
    /// What there is to see of the body.
    pub snippet: Snippet,
}

/// Keeps a refused request.
///
/// # Errors
/// When the file refuses.
pub fn insert(connection: &Connection, id: RejectId, reject: &Reject) -> Result<()> {
    let errors = serde_json::to_string(&reject.errors).unwrap_or_else(|_| "[]".to_owned());
    let resend = serde_json::to_string(&reject.resend)
        .map_err(|e| Error::internal(anyhow::Error::new(e)))?;
    connection
        .prepare_cached(
            "INSERT INTO reject (id, workspace_id, source_id, key_id, endpoint, resend, status, code, detail,
                errors, rejected, events, unkeyed, body_bytes, error_offset, snippet, snippet_start, snippet_mark, is_whole)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            id,
            reject.workspace,
            reject.source,
            reject.key,
            reject.endpoint,
            resend,
            reject.status,
            reject.code,
            reject.detail,
            errors,
            reject.batch.map(|batch| batch.rejected),
            reject.batch.map(|batch| batch.events),
            reject.batch.map(|batch| batch.unkeyed),
            number(reject.snippet.body_bytes),
            reject.offset.map(number),
            reject.snippet.bytes,
            number(reject.snippet.start),
            reject.snippet.mark.map(number),
            reject.snippet.is_whole,
        ])?;
    Ok(())
}

/// Takes the oldest refused requests of a workspace with a key, or those without, away, `limit` at most, until
/// [`KEPT_REJECTS`] or [`KEPT_REJECTS_WITHOUT_KEY`] are left.
///
/// # Errors
/// When the file refuses.
pub fn trim(
    connection: &Connection,
    workspace: WorkspaceId,
    has_key: bool,
    limit: usize,
) -> Result<usize> {
    let (mut statement, kept) = if has_key {
        let statement = connection.prepare_cached(
            "DELETE FROM reject WHERE id IN (SELECT id FROM reject WHERE workspace_id = ?1 AND key_id IS NOT NULL ORDER BY id DESC LIMIT ?3 OFFSET ?2)",
        )?;
        (statement, KEPT_REJECTS)
    } else {
        let statement = connection.prepare_cached(
            "DELETE FROM reject WHERE id IN (SELECT id FROM reject WHERE workspace_id = ?1 AND key_id IS NULL ORDER BY id DESC LIMIT ?3 OFFSET ?2)",
        )?;
        (statement, KEPT_REJECTS_WITHOUT_KEY)
    };
    Ok(statement.execute(params![workspace, kept, number(limit)])?)
}

/// Adds to the number of refusals of a workspace that came too fast to be kept.
///
/// # Errors
/// When the file refuses.
pub fn add_loss(
    connection: &Connection,
    workspace: WorkspaceId,
    rejects: i64,
    at_ms: i64,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO reject_loss (workspace_id, rejects, last_at_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (workspace_id) DO UPDATE SET rejects = rejects + excluded.rejects, last_at_ms = excluded.last_at_ms",
        )?
        .execute(params![workspace, rejects, at_ms])?;
    Ok(())
}

/// How many refusals of a workspace came too fast to be kept, and when the last of them did (Unix
/// milliseconds); `None` while there were none.
///
/// # Errors
/// When the file cannot be read.
pub fn loss(connection: &Connection, workspace: WorkspaceId) -> Result<Option<(i64, i64)>> {
    Ok(connection
        .prepare_cached("SELECT rejects, last_at_ms FROM reject_loss WHERE workspace_id = ?1")?
        .query_row([workspace], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// A refused request as its page shows it.
#[derive(Debug, Clone)]
pub struct RejectRow {
    /// Its id.
    pub id: RejectId,
    /// The request.
    pub reject: Reject,
    /// The first characters of the key that was shown.
    pub key_prefix: Option<String>,
}

const COLUMNS: &str = "SELECT r.id, r.workspace_id, r.source_id, r.key_id, r.endpoint, r.resend, r.status, r.code, r.detail,
        r.errors, r.rejected, r.events, r.unkeyed, r.body_bytes, r.error_offset, r.snippet, r.snippet_start, r.snippet_mark, r.is_whole,
        k.prefix AS key_prefix
     FROM reject r LEFT JOIN api_key k ON k.id = r.key_id";

fn reject_row(row: &Row<'_>) -> rusqlite::Result<RejectRow> {
    let id: RejectId = row.get("id")?;
    let rejected: Option<i64> = row.get("rejected")?;
    let batch = match rejected {
        Some(rejected) => Some(Batch {
            rejected,
            events: row.get("events")?,
            unkeyed: row.get("unkeyed")?,
        }),
        None => None,
    };
    let resend = serde_json::from_str(&row.get::<_, String>("resend")?).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
    })?;
    let reject = Reject {
        workspace: row.get("workspace_id")?,
        source: row.get("source_id")?,
        key: row.get("key_id")?,
        at_ms: id.unix_ms(),
        endpoint: row.get("endpoint")?,
        resend,
        status: row.get("status")?,
        code: row.get("code")?,
        detail: row.get("detail")?,
        errors: serde_json::from_str(&row.get::<_, String>("errors")?).unwrap_or_default(),
        batch,
        offset: row.get::<_, Option<i64>>("error_offset")?.map(size),
        snippet: Snippet {
            body_bytes: size(row.get("body_bytes")?),
            bytes: row.get("snippet")?,
            start: size(row.get("snippet_start")?),
            mark: row.get::<_, Option<i64>>("snippet_mark")?.map(size),
            is_whole: row.get("is_whole")?,
        },
    };
    Ok(RejectRow {
        id,
        reject,
        key_prefix: row.get("key_prefix")?,
    })
}

/// A page of refused requests, newest first, before `before`; with a code, those of that reason.
///
/// # Errors
/// When the file cannot be read.
pub fn page(
    connection: &Connection,
    workspace: WorkspaceId,
    code: Option<&str>,
    before: Option<RejectId>,
    limit: usize,
) -> Result<Vec<RejectRow>> {
    let before = before.unwrap_or(RejectId::from_i64(i64::MAX));
    let mut statement = match code {
        None => connection.prepare_cached(&format!(
            "{COLUMNS} WHERE r.workspace_id = ?1 AND ?2 IS NULL AND r.id < ?3 ORDER BY r.id DESC LIMIT ?4"
        ))?,
        Some(_) => connection.prepare_cached(&format!(
            "{COLUMNS} WHERE r.workspace_id = ?1 AND r.code = ?2 AND r.id < ?3 ORDER BY r.id DESC LIMIT ?4"
        ))?,
    };
    Ok(statement
        .query_map(params![workspace, code, before, number(limit)], reject_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// One refused request of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(connection: &Connection, workspace: WorkspaceId, id: RejectId) -> Result<RejectRow> {
    connection
        .prepare_cached(&format!(
            "{COLUMNS} WHERE r.workspace_id = ?1 AND r.id = ?2"
        ))?
        .query_row(params![workspace, id], reject_row)
        .optional()?
        .ok_or_else(|| Error::not_found("reject"))
}

/// How many of the requests that are kept were refused for which reason, by reason.
///
/// # Errors
/// When the file cannot be read.
pub fn counts(connection: &Connection, workspace: WorkspaceId) -> Result<Vec<(String, i64)>> {
    Ok(connection
        .prepare_cached(
            "SELECT code, count(*) FROM reject WHERE workspace_id = ?1 GROUP BY code ORDER BY code LIMIT ?2",
        )?
        .query_map(params![workspace, MAX_CODES], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?)
}

fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
