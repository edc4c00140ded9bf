//! Boxes: data folders furnished for the benchmark, copied so that every run begins with the same
//! one, and started.

use super::child::Served;
use super::file::Look;
use super::traffic;
use anyhow::Context as _;
use pillarbox::access::Scope;
use pillarbox::delivery::DeliveryState;
use pillarbox::id::{EventId, IdGenerator, WebhookId, WorkspaceId};
use pillarbox::manage::{self, Actor, NewUser};
use pillarbox::message;
use pillarbox::password;
use pillarbox::store::catalog::Catalog;
use pillarbox::store::deliveries::{self, NewDelivery, NewMessage};
use pillarbox::store::{self, Files, events};
use pillarbox::time::now_ms;
use pillarbox::webhook::{Format, Signing, WebhookInput};
use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Who signs in.
pub(crate) const EMAIL: &str = "bench@example.com";
/// And how.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Rows in one transaction of furnishing.
const GROUP: u64 = 10_000;
/// Where nobody listens and nothing is sent.
const NOWHERE: &str = "http://127.0.0.1:9/";
/// What is never sent: a webhook that is looked at for every event, and wants none.
const NEVER: &str = "never.sent";
/// The server's own: what is furnished before it starts is to be found as if it had made it.
const NODE: u16 = 0;

/// A workspace with a key, a webhook and an owner.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) id: WorkspaceId,
    /// What stands in its URLs.
    pub(crate) slug: String,
    /// Writes events.
    pub(crate) key: String,
    webhook: WebhookId,
}

/// A data folder; goes away when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: TempDir,
    root: PathBuf,
    /// Its workspaces.
    pub(crate) tenants: Vec<Tenant>,
}

/// What stands in a folder's log before anything runs on it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Writing {
    /// How many events.
    pub(crate) events: u64,
    /// Every so many events one is about the first user, for a long history; 0 for none.
    pub(crate) to_first_user: u64,
    /// Whether each has a key of its sender.
    pub(crate) keyed: bool,
    /// Whether each has a delivery, due now.
    pub(crate) owed: bool,
}

impl Folder {
    /// A folder with one workspace, whose webhook wants nothing.
    ///
    /// # Errors
    /// When the disk or the box's rules refuse.
    pub(crate) fn quiet(root: &Path) -> anyhow::Result<Self> {
        Self::furnish(root, &[(NOWHERE.to_owned(), NEVER)])
    }

    /// A folder with some workspaces, each with a webhook that wants everything, on an address of
    /// its own: a box keeps few idle connections to one receiver, as it should.
    ///
    /// # Errors
    /// When the disk or the box's rules refuse.
    pub(crate) fn sending(root: &Path, sink: &Served, workspaces: u8) -> anyhow::Result<Self> {
        let (_, port) = sink.authority().rsplit_once(':').context("no port")?;
        let receivers: Vec<_> = (1..=workspaces)
            .map(|n| (format!("http://127.0.0.{n}:{port}/"), "*"))
            .collect();
        Self::furnish(root, &receivers)
    }

    fn furnish(root: &Path, receivers: &[(String, &str)]) -> anyhow::Result<Self> {
        let directory = TempDir::new_in(root)?;
        let files = Files::prepare(directory.path())?;
        let mut connection = files.open_writer()?;
        let transaction = store::begin(&mut connection)?;
        let ids = store::id_generator(&transaction, NODE)?;
        let catalog = Catalog::default();
        let actor = Actor {
            user: None,
            address: None,
            now_ms: now_ms(),
            ids: &ids,
            catalog: &catalog,
        };
        let owner = NewUser {
            email: EMAIL.to_owned(),
            name: String::new(),
            password_hash: password::hash(PASSWORD)?,
            is_operator: false,
        };
        let owner = manage::create_user(&transaction, &actor, &owner)?.id;
        let mut tenants = Vec::new();
        for (n, (url, event)) in receivers.iter().enumerate() {
            let name = format!("Bench {n}");
            let (id, slug) = manage::create_workspace(&transaction, &actor, &name, Some(owner))?;
            let scopes = [Scope::WriteEvents];
            let key = manage::create_api_key(&transaction, &actor, id, "bench", None, &scopes)?.key;
            let input = WebhookInput {
                name: "bench".to_owned(),
                url: url.clone(),
                events: vec![(*event).to_owned()],
                ..WebhookInput::default()
            };
            let vault = files.vault();
            let made =
                manage::create_webhook(&transaction, &actor, vault, id, &input, Signing::Hmac)?;
            tenants.push(Tenant {
                id,
                slug,
                key,
                webhook: made.id,
            });
        }
        transaction.commit()?;
        drop(connection);
        Ok(Self {
            directory,
            root: root.to_owned(),
            tenants,
        })
    }

    /// The first workspace.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.tenants[0]
    }

    /// The keys of all workspaces.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.tenants
            .iter()
            .map(|tenant| tenant.key.clone())
            .collect()
    }

    /// Another folder that holds the same. No box may be running on this one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn copy(&self) -> anyhow::Result<Self> {
        self.checkpoint()?;
        let directory = TempDir::new_in(&self.root)?;
        for name in ["pillarbox.db", "pillarbox.key"] {
            let copy = directory.path().join(name);
            std::fs::copy(self.directory.path().join(name), &copy)?;
            // A box finds its file on disk, and not on its way there.
            File::open(&copy)?.sync_all()?;
        }
        Ok(Self {
            directory,
            root: self.root.clone(),
            tenants: self.tenants.clone(),
        })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its file, to be looked at.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn look(&self) -> anyhow::Result<Look> {
        Look::at(self.directory.path())
    }

    fn connection(&self) -> anyhow::Result<Connection> {
        Files::prepare(self.directory.path())?.open_writer()
    }

    fn checkpoint(&self) -> anyhow::Result<()> {
        let connection = self.connection()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Bytes of its file, with nothing left in the WAL. No box may be running on it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn bytes(&self) -> anyhow::Result<f64> {
        self.checkpoint()?;
        let metadata = std::fs::metadata(self.directory.path().join("pillarbox.db"))?;
        Ok(metadata.len() as f64)
    }

    /// Writes to the log behind the box's back, spread over the last hours. No box may be running.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, writing: Writing) -> anyhow::Result<()> {
        let mut connection = self.connection()?;
        let ids = store::id_generator(&connection, NODE)?;
        let end_ms = now_ms();
        // As many a millisecond as ids allow is far more than any box gets.
        let begin_ms = end_ms - i64::try_from(writing.events)?;
        for from in (0..writing.events).step_by(usize::try_from(GROUP)?) {
            let transaction = store::begin(&mut connection)?;
            for n in from..(from + GROUP).min(writing.events) {
                let at_ms = begin_ms + i64::try_from(n)?;
                self.write_event(&transaction, &ids, writing, n, at_ms)?;
            }
            transaction.commit()?;
        }
        // What waits is on the due lists, as it would be in a box that could not send for a while.
        while let Some(unlisted) = deliveries::unlisted(&connection, usize::try_from(GROUP)?)? {
            let transaction = store::begin(&mut connection)?;
            deliveries::list_as_due(&transaction, &unlisted, end_ms)?;
            transaction.commit()?;
        }
        Ok(())
    }

    fn write_event(
        &self,
        connection: &Connection,
        ids: &IdGenerator,
        writing: Writing,
        n: u64,
        at_ms: i64,
    ) -> anyhow::Result<()> {
        let tenant = &self.tenants[usize::try_from(n)? % self.tenants.len()];
        let is_first_users = writing.to_first_user > 0 && n.is_multiple_of(writing.to_first_user);
        let user = if is_first_users { 0 } else { n };
        let id: EventId = ids.next(at_ms);
        let mut stored = traffic::row(id, tenant.id, user, at_ms);
        if writing.keyed {
            stored.event.dedup_key = Some(format!("{n:032}").into());
        }
        events::insert(connection, &stored)?;
        if !writing.owed {
            return Ok(());
        }
        let message = ids.next(at_ms);
        deliveries::insert_message(
            connection,
            &NewMessage {
                id: message,
                workspace: tenant.id,
                event: Some(id),
                event_type: &stored.event.name,
                body: &message::body(Format::Standard, &stored, None)?,
            },
        )?;
        deliveries::insert_delivery(
            connection,
            &NewDelivery {
                id: ids.next(at_ms),
                workspace: tenant.id,
                webhook: tenant.webhook,
                message,
                event: Some(id),
                state: DeliveryState::Pending,
                is_ordered: false,
                origin: None,
            },
        )?;
        Ok(())
    }

    /// Makes every delivery that is due one that has succeeded. No box may be running.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn settle_deliveries(&self) -> anyhow::Result<()> {
        self.connection()?.execute(
            "UPDATE delivery SET state = 'succeeded', attempts = 1, automatic_attempts = 1,
                last_status = 200, last_attempt_at_ms = next_attempt_at_ms, next_attempt_at_ms = NULL",
            [],
        )?;
        Ok(())
    }

    /// Leaves the projector nothing to do, now or ever: what comes is before its place. No box may be
    /// running.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn retire_projector(&self) -> anyhow::Result<()> {
        self.place_projector(i64::MAX)
    }

    /// Has the projector pass over what it has not done yet. No box may be running.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn skip_projecting(&self) -> anyhow::Result<()> {
        let last = events::last_id(&self.connection()?)?;
        self.place_projector(last.as_i64())
    }

    fn place_projector(&self, cursor: i64) -> anyhow::Result<()> {
        self.connection()?.execute(
            "UPDATE projector SET cursor_event_id = ?1, window_end_event_id = NULL,
                done_profile_id = NULL, done_event_id = NULL",
            [cursor],
        )?;
        Ok(())
    }

    /// Starts a box on it.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn serve(&self, binary: &Path) -> anyhow::Result<Served> {
        Served::start(
            Command::new(binary)
                .args(["--listen", "127.0.0.1:0", "--log", "error"])
                .args(["--allow-target", "127.0.0.0/8", "--data-dir"])
                .arg(self.directory.path()),
        )
    }

    /// Runs a box on it until the projector has followed the log, or `patience` is over. How many
    /// events it has projected, and in what time.
    ///
    /// # Errors
    /// When the box does not start, or the file cannot be read.
    pub(crate) fn project(
        &self,
        binary: &Path,
        patience: Duration,
    ) -> anyhow::Result<(u64, Duration)> {
        const LOOK: Duration = Duration::from_millis(20);
        let look = self.look()?;
        let before = look.projected(self.tenant().id)?;
        let _served = self.serve(binary)?;
        let began = Instant::now();
        while look.lag_ms()? > 0 && began.elapsed() < patience {
            std::thread::sleep(LOOK);
        }
        let elapsed = began.elapsed();
        Ok((look.projected(self.tenant().id)? - before, elapsed))
    }
}
