//! What the hot path must know without touching the disk: API keys, sources' names and webhooks,
//! and the schemas of event types, as one snapshot that is replaced whole after every change.

use super::webhooks;
use super::word;
use super::workspaces::parse_scopes;
use super::writer::Writer;
use crate::access::Scope;
use crate::error::{Error, Result};
use crate::event_type::{CheckedType, Mode};
use crate::funnel::Stage;
use crate::id::{ApiKeyId, FunnelId, SourceId, WebhookId, WorkspaceId};
use crate::schema::Schema;
use crate::secret::{SecretBytes, TokenHash, Vault};
use crate::webhook::Webhook;
use arc_swap::{ArcSwap, Guard};
use rusqlite::{Connection, Row};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A working API key.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose events it writes.
    pub workspace: WorkspaceId,
    /// The source it stands for.
    pub source: Option<SourceId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// A source, with what requests of browsers and of the payment provider are checked against.
#[derive(Debug)]
pub struct KnownSource {
    /// Its id.
    pub id: SourceId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: Box<str>,
    /// Web origins that may post as it, as a browser writes them.
    pub origins: Vec<Box<str>>,
    /// Whether a customer is an account and not a person (wire.md, "Churnkey").
    pub customers_are_accounts: bool,
    /// Signs browser identities.
    pub identity_secret: SecretBytes,
    /// What the payment provider signs with, where it is known.
    pub stripe_secret: Option<SecretBytes>,
}

/// One snapshot.
#[derive(Debug, Default)]
pub struct Catalog {
    keys: HashMap<TokenHash, KnownKey>,
    sources: HashMap<SourceId, KnownSource>,
    webhooks: HashMap<WebhookId, Arc<Webhook>>,
    webhooks_by_workspace: HashMap<WorkspaceId, Vec<Arc<Webhook>>>,
    stages: HashMap<WorkspaceId, StagesByType>,
    funnels: HashMap<WorkspaceId, Vec<FunnelId>>,
    mau_limits: HashMap<WorkspaceId, i64>,
    checked_types: HashMap<WorkspaceId, HashMap<Box<str>, Arc<CheckedType>>>,
}

/// Where an event of a type leads, in which funnel.
type StagesByType = HashMap<Box<str>, Vec<(FunnelId, Stage)>>;

impl Catalog {
    /// Reads everything. A webhook whose row cannot be understood is left out and said in the log,
    /// so that one bad row stops neither the box nor the others. Schemas that `before` has compiled are
    /// taken from there: compiling them takes longer than the writer's thread has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(connection: &Connection, vault: &Vault, before: &Self) -> Result<Self> {
        let mut catalog = Self::default();
        let mut statement = connection.prepare_cached(
            "SELECT id, workspace_id, source_id, key_hash, scopes FROM api_key WHERE revoked_at_ms IS NULL",
        )?;
        for entry in statement.query_map([], key_row)? {
            let (hash, key) = entry?;
            catalog.keys.insert(hash, key);
        }
        let mut statement = connection.prepare_cached(
            "SELECT id, workspace_id, name, origins, customers_are_accounts, identity_secret_sealed, stripe_secret_sealed FROM source",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match source(row, vault) {
                Ok(source) => {
                    catalog.sources.insert(source.id, source);
                }
                Err(e) => tracing::error!(error = %e, "a source cannot be read and may not send"),
            }
        }
        for webhook in webhooks::all(connection, vault)? {
            catalog.add_webhook(Arc::new(webhook));
        }
        let mut statement = connection.prepare_cached(
            "SELECT f.workspace_id, f.id, r.event_type, r.stage FROM funnel f JOIN funnel_rule r ON r.funnel_id = f.id",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let stage = word(row, 3, Stage::parse)?;
            let of_workspace = catalog.stages.entry(row.get(0)?).or_default();
            let of_type = of_workspace.entry(row.get(2)?).or_default();
            of_type.push((row.get(1)?, stage));
        }
        let mut statement = connection.prepare_cached("SELECT id, workspace_id FROM funnel")?;
        for entry in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, workspace) = entry?;
            catalog.funnels.entry(workspace).or_default().push(id);
        }
        let mut statement = connection
            .prepare_cached("SELECT id, mau_limit FROM workspace WHERE mau_limit IS NOT NULL")?;
        for entry in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, limit) = entry?;
            catalog.mau_limits.insert(id, limit);
        }
        let mut statement = connection.prepare_cached(
            "SELECT workspace_id, name, schema, mode FROM declared_event_type WHERE schema IS NOT NULL",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (workspace, name) = (row.get(0)?, row.get::<_, Box<str>>(1)?);
            match checked_type(row, before.checked_type(workspace, &name)) {
                Ok(checked) => {
                    let types = catalog.checked_types.entry(workspace).or_default();
                    types.insert(name, checked);
                }
                Err(e) => {
                    tracing::error!(error = %e, "a schema cannot be read and checks nothing");
                }
            }
        }
        Ok(catalog)
    }

    /// Reads the webhooks alone: what a command needs to say what it changed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_webhooks(connection: &Connection, vault: &Vault) -> Result<Self> {
        let mut catalog = Self::default();
        for webhook in webhooks::all(connection, vault)? {
            catalog.add_webhook(Arc::new(webhook));
        }
        Ok(catalog)
    }

    /// The webhooks of one workspace without one of them, and nothing else.
    #[must_use]
    pub fn webhooks_but(&self, workspace: WorkspaceId, left_out: Option<WebhookId>) -> Self {
        let mut catalog = Self::default();
        let others = self.webhooks_of(workspace).iter();
        for webhook in others.filter(|webhook| Some(webhook.id) != left_out) {
            catalog.add_webhook(Arc::clone(webhook));
        }
        catalog
    }

    fn add_webhook(&mut self, webhook: Arc<Webhook>) {
        let of_workspace = self.webhooks_by_workspace.entry(webhook.workspace);
        of_workspace.or_default().push(Arc::clone(&webhook));
        self.webhooks.insert(webhook.id, webhook);
    }

    /// The working key with this hash.
    pub fn key(&self, hash: &TokenHash) -> Option<&KnownKey> {
        self.keys.get(hash)
    }

    /// A source of any workspace.
    pub fn source(&self, id: SourceId) -> Option<&KnownSource> {
        self.sources.get(&id)
    }

    /// What people call a source.
    pub fn source_name(&self, id: SourceId) -> Option<&str> {
        self.sources.get(&id).map(|source| &*source.name)
    }

    /// Where an event of a type leads its person, in each funnel that names it.
    pub fn stages(&self, workspace: WorkspaceId, event_type: &str) -> &[(FunnelId, Stage)] {
        self.stages
            .get(&workspace)
            .and_then(|of_workspace| of_workspace.get(event_type))
            .map_or(&[], Vec::as_slice)
    }

    /// The funnels of a workspace.
    pub fn funnels_of(&self, workspace: WorkspaceId) -> &[FunnelId] {
        self.funnels.get(&workspace).map_or(&[], Vec::as_slice)
    }

    /// How many people may be active in a month before the workspace is told.
    pub fn mau_limit(&self, workspace: WorkspaceId) -> Option<i64> {
        self.mau_limits.get(&workspace).copied()
    }

    /// A webhook, in whatever state.
    pub fn webhook(&self, id: WebhookId) -> Option<&Arc<Webhook>> {
        self.webhooks.get(&id)
    }

    /// The webhooks of a workspace, in whatever state.
    pub fn webhooks_of(&self, workspace: WorkspaceId) -> &[Arc<Webhook>] {
        self.webhooks_by_workspace
            .get(&workspace)
            .map_or(&[], Vec::as_slice)
    }

    /// The type of that name, where it is declared with a schema. A workspace without any costs one look,
    /// and a box without any none.
    pub fn checked_type(&self, workspace: WorkspaceId, name: &str) -> Option<&Arc<CheckedType>> {
        self.checked_types.get(&workspace)?.get(name)
    }

    /// Every webhook there is.
    pub fn webhooks(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.webhooks.values()
    }
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<(TokenHash, KnownKey)> {
    let key = KnownKey {
        id: row.get("id")?,
        workspace: row.get("workspace_id")?,
        source: row.get("source_id")?,
        scopes: parse_scopes(&row.get::<_, String>("scopes")?),
    };
    Ok((row.get("key_hash")?, key))
}

fn source(row: &Row<'_>, vault: &Vault) -> Result<KnownSource> {
    let id: SourceId = row.get("id")?;
    let open =
        |sealed: Vec<u8>| Ok::<_, Error>(SecretBytes::new(vault.open(id.as_i64(), &sealed)?));
    Ok(KnownSource {
        id,
        workspace: row.get("workspace_id")?,
        name: row.get("name")?,
        origins: serde_json::from_str(&row.get::<_, String>("origins")?)
            .map_err(Error::internal)?,
        customers_are_accounts: row.get("customers_are_accounts")?,
        identity_secret: open(row.get("identity_secret_sealed")?)?,
        stripe_secret: row
            .get::<_, Option<Vec<u8>>>("stripe_secret_sealed")?
            .map(open)
            .transpose()?,
    })
}

fn checked_type(row: &Row<'_>, before: Option<&Arc<CheckedType>>) -> Result<Arc<CheckedType>> {
    let mode = word(row, "mode", Mode::parse)?;
    let text: String = row.get("schema")?;
    match before {
        Some(known) if known.mode == mode && known.schema.text() == text => Ok(Arc::clone(known)),
        _ => Ok(Arc::new(CheckedType {
            mode,
            schema: Schema::compile(&text)?,
        })),
    }
}

/// The current snapshot, shared by everyone, replaced on the writer thread.
#[derive(Debug, Clone)]
pub struct CatalogHandle {
    current: Arc<ArcSwap<Catalog>>,
    changed: Arc<Notify>,
    vault: Vault,
}

impl CatalogHandle {
    /// Reads the first snapshot, on the connection that the writer will own.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(connection: &Connection, vault: &Vault) -> Result<(Self, FileVersion)> {
        // Before the reading: what another process commits in between is then seen as a change.
        let version = file_version(connection)?;
        let catalog = Catalog::load(connection, vault, &Catalog::default())?;
        let handle = Self {
            current: Arc::new(ArcSwap::from_pointee(catalog)),
            changed: Arc::new(Notify::new()),
            vault: vault.clone(),
        };
        Ok((handle, version))
    }

    /// The snapshot as it is now. Not to be kept: every request looks at it, and one that counted its
    /// users would be fought over by all threads.
    pub fn current(&self) -> Guard<Arc<Catalog>> {
        self.current.load()
    }

    /// Reads what a transaction has just written, to be [`CatalogHandle::publish`]ed after its commit.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn reload(&self, connection: &Connection) -> Result<Arc<Catalog>> {
        Catalog::load(connection, &self.vault, &self.current()).map(Arc::new)
    }

    /// Makes a snapshot the current one.
    pub fn publish(&self, catalog: Arc<Catalog>) {
        self.current.store(catalog);
        self.tell();
    }

    /// Says that a change was committed of which webhooks may be told, whether or not it changed the catalog.
    pub fn tell(&self) {
        self.changed.notify_one();
    }

    /// Returns when a snapshot was published, or [`CatalogHandle::tell`] called, since the last call. For one
    /// listener, the dispatcher.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// SQLite's count of commits by connections other than the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion(i64);

fn file_version(connection: &Connection) -> Result<FileVersion> {
    Ok(FileVersion(connection.pragma_query_value(
        None,
        "data_version",
        |row| row.get(0),
    )?))
}

/// How often the box looks for changes that another process made to the file.
const OTHER_PROCESS_POLL: Duration = Duration::from_millis(400);

/// Publishes a new snapshot whenever another process (the command line) has changed the file, within
/// a second (design.md, "The log first"). Ends when the writer does.
pub async fn follow_other_processes(writer: Writer, catalog: CatalogHandle, mut seen: FileVersion) {
    while writer.is_alive() {
        let handle = catalog.clone();
        let publish = catalog.clone();
        let outcome = writer
            .change(
                move |connection| {
                    let version = file_version(connection)?;
                    let fresh = (version != seen)
                        .then(|| handle.reload(connection))
                        .transpose()?;
                    Ok((version, fresh))
                },
                move |(_, fresh)| {
                    if let Some(fresh) = fresh {
                        publish.publish(Arc::clone(fresh));
                    }
                },
            )
            .await;
        match outcome {
            Ok((version, _)) => seen = version,
            Err(e) => tracing::warn!(error = %e, "looking for other processes' changes failed"),
        }
        tokio::time::sleep(OTHER_PROCESS_POLL).await;
    }
}
