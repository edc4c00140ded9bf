//! Webhooks as rows: made, changed, paused, deleted.

use super::word;
use crate::error::{Error, Result};
use crate::id::{WebhookId, WorkspaceId};
use crate::secret::{Vault, WebhookSecret};
use crate::webhook::{
    Credentials, CustomHeader, Format, RetiredKey, Signing, SigningKey, Webhook, WebhookSettings,
    WebhookState,
};
use rusqlite::{Connection, Row, params};
use std::str::FromStr;
use std::sync::Arc;

/// A webhook with what its pages show beside it.
#[derive(Debug, Clone)]
pub struct WebhookRow {
    /// The webhook.
    pub webhook: Webhook,
    /// Why it is disabled.
    pub state_reason: Option<String>,
    /// When it was made, Unix milliseconds.
    pub created_at_ms: i64,
    /// When it was last changed, Unix milliseconds.
    pub updated_at_ms: i64,
}

/// What [`known`] reads.
const KNOWN_COLUMNS: &str = "SELECT id, workspace_id, name, url, format, patterns, state, secret_sealed, filters,
        headers_sealed, credentials_sealed, signing, previous_signing, previous_secret_sealed, previous_until_ms, schedule,
        concurrency, rate, is_ordered, state_reason, created_at_ms, updated_at_ms
     FROM webhook";

/// The webhook of a row, its secrets opened.
fn known(row: &Row<'_>, vault: &Vault) -> Result<Webhook> {
    let id: WebhookId = row.get("id")?;
    let open = |sealed: Vec<u8>| vault.open(id.as_i64(), &sealed);
    let credentials: Option<Vec<u8>> = row.get("credentials_sealed")?;
    let headers: Option<Vec<u8>> = row.get("headers_sealed")?;
    let schedule: Option<String> = row.get("schedule")?;
    let rate: Option<u32> = row.get("rate")?;
    let previous: Option<Vec<u8>> = row.get("previous_secret_sealed")?;
    let retired_key = match (previous, row.get("previous_until_ms")?) {
        (Some(sealed), Some(until_ms)) => Some(RetiredKey {
            key: SigningKey {
                signing: word(row, "previous_signing", Signing::parse)?,
                secret: WebhookSecret::from_bytes(open(sealed)?),
            },
            until_ms,
        }),
        _ => None,
    };
    Ok(Webhook {
        id,
        workspace: row.get("workspace_id")?,
        changed_at_ms: row.get("updated_at_ms")?,
        state: word(row, "state", WebhookState::parse)?,
        settings: WebhookSettings {
            name: row.get("name")?,
            url: url::Url::parse(&row.get::<_, String>("url")?).map_err(Error::internal)?,
            credentials: credentials
                .map(|sealed| {
                    let text = String::from_utf8(open(sealed)?).map_err(Error::internal)?;
                    Ok::<_, Error>(Credentials::from_text(text))
                })
                .transpose()?,
            format: word(row, "format", Format::parse)?,
            patterns: texts(row, "patterns")?,
            filters: texts(row, "filters")?,
            headers: match headers {
                Some(sealed) => opened_headers(&open(sealed)?)?,
                None => Vec::new(),
            },
            schedule: schedule
                .map(|text| text.parse().map(Arc::new))
                .transpose()
                .map_err(|e: String| Error::internal(anyhow::anyhow!(e)))?,
            concurrency: row.get("concurrency")?,
            rate,
            is_ordered: row.get("is_ordered")?,
        },
        key: SigningKey {
            signing: word(row, "signing", Signing::parse)?,
            secret: WebhookSecret::from_bytes(open(row.get("secret_sealed")?)?),
        },
        retired_key,
    })
}

/// A JSON array of what reads back from its text.
fn texts<T: FromStr<Err = Error>>(row: &Row<'_>, column: &str) -> Result<Vec<T>> {
    let texts: Vec<String> =
        serde_json::from_str(&row.get::<_, String>(column)?).map_err(Error::internal)?;
    texts.iter().map(|text| text.parse()).collect()
}

fn json_of<T: ToString>(values: &[T]) -> String {
    serde_json::Value::from(values.iter().map(ToString::to_string).collect::<Vec<_>>()).to_string()
}

fn opened_headers(json: &[u8]) -> Result<Vec<CustomHeader>> {
    let pairs: Vec<(String, String)> = serde_json::from_slice(json).map_err(Error::internal)?;
    let header = |(name, value)| CustomHeader { name, value };
    Ok(pairs.into_iter().map(header).collect())
}

fn webhook_row(row: &Row<'_>, vault: &Vault) -> Result<WebhookRow> {
    Ok(WebhookRow {
        webhook: known(row, vault)?,
        state_reason: row.get("state_reason")?,
        created_at_ms: row.get("created_at_ms")?,
        updated_at_ms: row.get("updated_at_ms")?,
    })
}

/// What of a webhook's settings is secret, sealed.
struct Sealed {
    headers: Option<Vec<u8>>,
    credentials: Option<Vec<u8>>,
}

impl Sealed {
    fn of(settings: &WebhookSettings, id: WebhookId, vault: &Vault) -> Result<Self> {
        let seal = |bytes: &[u8]| vault.seal(id.as_i64(), bytes);
        let pairs: Vec<_> = settings
            .headers
            .iter()
            .map(|header| (&header.name, &header.value))
            .collect();
        let headers = serde_json::to_vec(&pairs).map_err(Error::internal)?;
        let has_headers = !pairs.is_empty();
        Ok(Self {
            headers: has_headers.then(|| seal(&headers)).transpose()?,
            credentials: settings
                .credentials
                .as_ref()
                .map(|credentials| seal(credentials.as_text().as_bytes()))
                .transpose()?,
        })
    }
}

/// Keeps a new webhook, its secrets sealed.
///
/// # Errors
/// When the file refuses.
pub fn insert(
    connection: &Connection,
    vault: &Vault,
    webhook: &Webhook,
    now_ms: i64,
) -> Result<()> {
    let secret = vault.seal(webhook.id.as_i64(), webhook.key.secret.as_bytes())?;
    connection.execute(
        "INSERT INTO webhook (id, workspace_id, state, signing, secret_sealed, created_at_ms, updated_at_ms, name, url, format, patterns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, '', '', '', '[]')",
        params![
            webhook.id,
            webhook.workspace,
            webhook.state.as_str(),
            webhook.key.signing.as_str(),
            secret,
            now_ms
        ],
    )?;
    update(
        connection,
        vault,
        webhook.workspace,
        webhook.id,
        &webhook.settings,
        now_ms,
    )
}

/// Changes what people say of a webhook.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it is not there, or deleted.
pub fn update(
    connection: &Connection,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
    settings: &WebhookSettings,
    now_ms: i64,
) -> Result<()> {
    let sealed = Sealed::of(settings, id, vault)?;
    let changed = connection.execute(
        "UPDATE webhook SET name = ?3, url = ?4, patterns = ?5, updated_at_ms = ?6, format = ?7, filters = ?8, headers_sealed = ?9,
            credentials_sealed = ?10, schedule = ?11, concurrency = ?12, rate = ?13, is_ordered = ?14
         WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL",
        params![
            workspace,
            id,
            settings.name,
            settings.url.as_str(),
            json_of(&settings.patterns),
            now_ms,
            settings.format.as_str(),
            json_of(&settings.filters),
            sealed.headers,
            sealed.credentials,
            settings.schedule.as_ref().map(ToString::to_string),
            settings.concurrency,
            settings.rate,
            settings.is_ordered
        ],
    )?;
    found(changed)
}

/// Signs with another key from now on, and with the one before as well until `retired` says.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it is not there, or deleted.
pub fn set_key(
    connection: &Connection,
    vault: &Vault,
    webhook: &Webhook,
    key: &SigningKey,
    retired: Option<&RetiredKey>,
    now_ms: i64,
) -> Result<()> {
    let seal = |key: &SigningKey| vault.seal(webhook.id.as_i64(), key.secret.as_bytes());
    let changed = connection.execute(
        "UPDATE webhook SET signing = ?3, secret_sealed = ?4, previous_signing = ?5, previous_secret_sealed = ?6,
            previous_until_ms = ?7, updated_at_ms = ?8
         WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL",
        params![
            webhook.workspace,
            webhook.id,
            key.signing.as_str(),
            seal(key)?,
            retired.map(|retired| retired.key.signing.as_str()),
            retired.map(|retired| seal(&retired.key)).transpose()?,
            retired.map(|retired| retired.until_ms),
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

/// Stops a webhook that sends, for a reason that people are shown; says whether it did send. What that means
/// for what it is owed is `deliveries`' to say.
///
/// # Errors
/// When the file refuses.
pub fn disable(connection: &Connection, id: WebhookId, reason: &str, now_ms: i64) -> Result<bool> {
    let changed = connection.execute(
        "UPDATE webhook SET state = 'disabled', state_reason = ?2, updated_at_ms = ?3
         WHERE id = ?1 AND state = 'active' AND deleted_at_ms IS NULL",
        params![id, reason, now_ms],
    )?;
    Ok(changed == 1)
}

/// Forgets keys that were replaced and whose time is over at `now_ms` (Unix milliseconds): nothing is signed
/// with them any more.
///
/// # Errors
/// When the file refuses.
pub fn forget_retired_keys(connection: &Connection, now_ms: i64) -> Result<()> {
    connection.execute(
        "UPDATE webhook SET previous_signing = NULL, previous_secret_sealed = NULL, previous_until_ms = NULL
         WHERE previous_until_ms <= ?1",
        [now_ms],
    )?;
    Ok(())
}

/// Takes a webhook away, and its secrets at once. Its history stays readable until retention sweeps it.
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
        "UPDATE webhook SET deleted_at_ms = ?3, secret_sealed = x'', headers_sealed = NULL, credentials_sealed = NULL,
            previous_signing = NULL, previous_secret_sealed = NULL, previous_until_ms = NULL
         WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL",
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

/// Every webhook there is. One whose row cannot be understood is left out and said in the log.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn all(connection: &Connection, vault: &Vault) -> Result<Vec<Webhook>> {
    let mut statement = connection.prepare_cached(&format!(
        "{KNOWN_COLUMNS} WHERE deleted_at_ms IS NULL ORDER BY id"
    ))?;
    let mut rows = statement.query([])?;
    let mut webhooks = Vec::new();
    while let Some(row) = rows.next()? {
        match known(row, vault) {
            Ok(webhook) => webhooks.push(webhook),
            Err(e) => tracing::error!(error = %e, "a webhook cannot be read and does not send"),
        }
    }
    Ok(webhooks)
}

/// The webhooks of a workspace, by name.
///
/// # Errors
/// When the file cannot be read, or a secret in it does not open.
pub fn list(
    connection: &Connection,
    vault: &Vault,
    workspace: WorkspaceId,
) -> Result<Vec<WebhookRow>> {
    let sql = format!(
        "{KNOWN_COLUMNS} WHERE workspace_id = ?1 AND deleted_at_ms IS NULL ORDER BY lower(name), id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([workspace])?;
    let mut webhooks = Vec::new();
    while let Some(row) = rows.next()? {
        webhooks.push(webhook_row(row, vault)?);
    }
    Ok(webhooks)
}

/// A webhook as it is named where nothing secret is needed.
#[derive(Debug, Clone)]
pub struct WebhookName {
    /// Its id.
    pub id: WebhookId,
    /// What people call it.
    pub name: String,
    /// Whether it sends.
    pub state: WebhookState,
    /// Why it is disabled.
    pub state_reason: Option<String>,
}

/// The names of a workspace's webhooks, in their order.
///
/// # Errors
/// When the file cannot be read.
pub fn names(connection: &Connection, workspace: WorkspaceId) -> Result<Vec<WebhookName>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, state, state_reason FROM webhook WHERE workspace_id = ?1 AND deleted_at_ms IS NULL ORDER BY lower(name), id",
    )?;
    let name = |row: &Row<'_>| {
        Ok(WebhookName {
            id: row.get("id")?,
            name: row.get("name")?,
            state: word(row, "state", WebhookState::parse)?,
            state_reason: row.get("state_reason")?,
        })
    };
    Ok(statement
        .query_map([workspace], name)?
        .collect::<rusqlite::Result<_>>()?)
}

/// Whether a webhook is or was of a workspace: a deleted one's history stays for a while.
///
/// # Errors
/// When the file cannot be read.
pub fn is_or_was_of(
    connection: &Connection,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM webhook WHERE id = ?1 AND workspace_id = ?2)",
        )?
        .query_row(params![id, workspace], |row| row.get(0))?)
}

/// One webhook of a workspace.
///
/// # Errors
/// [`crate::error::Kind::NotFound`].
pub fn get(
    connection: &Connection,
    vault: &Vault,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<WebhookRow> {
    let sql =
        format!("{KNOWN_COLUMNS} WHERE workspace_id = ?1 AND id = ?2 AND deleted_at_ms IS NULL");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![workspace, id])?;
    match rows.next()? {
        Some(row) => webhook_row(row, vault),
        None => Err(Error::not_found("webhook")),
    }
}
