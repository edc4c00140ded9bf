//! A data folder: the commands that work on it, and read-only counts from its file.

use super::server::{Options, Server, pillarbox};
use hmac::{Hmac, KeyInit as _, Mac as _};
use pillarbox::id::{EventId, SourceId};
use pillarbox::store::{Files, webhooks};
use pillarbox::webhook::Webhook;
use rusqlite::types::{ToSql, ValueRef};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// The password of every user that [`Data::user`] makes.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A data folder that goes away with the test.
#[derive(Debug)]
pub(crate) struct Data(tempfile::TempDir);

/// A workspace with a key that may write events.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    /// `ws_…`
    pub(crate) id: String,
    /// What stands in URLs.
    pub(crate) slug: String,
    /// The key's id, `key_…`.
    pub(crate) key_id: String,
    /// The whole key.
    pub(crate) key: String,
}

/// A webhook that a command made.
#[derive(Debug, Clone)]
pub(crate) struct MadeWebhook {
    /// `whk_…`
    pub(crate) id: String,
    /// `whsec_…`
    pub(crate) secret: String,
}

/// A source that a command made.
#[derive(Debug, Clone)]
pub(crate) struct MadeSource {
    /// `src_…`
    pub(crate) id: String,
    /// Signs browser identities.
    pub(crate) secret: String,
}

impl MadeSource {
    /// The lower-case hex HMAC of an id, as an app's server makes it for its pages.
    pub(crate) fn sign(&self, id: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(id.as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One delivery as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryState {
    /// pending, succeeded, failed, held or cancelled.
    pub(crate) state: String,
    /// Attempts of every trigger.
    pub(crate) attempts: i64,
    /// The last attempt's error class.
    pub(crate) last_error: Option<String>,
}

impl Data {
    /// A new, empty folder.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A new folder with one tenant, and a server on it.
    #[track_caller]
    pub(crate) fn served() -> (Self, Tenant, Server) {
        let data = Self::new();
        let tenant = data.tenant("Acme");
        let server = data.serve();
        (data, tenant, server)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("pillarbox.db")
    }

    /// Starts a server as most tests want it.
    #[track_caller]
    pub(crate) fn serve(&self) -> Server {
        Server::start(self, &Options::default())
    }

    /// Runs a command on this folder.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// Runs a command on this folder with something on its stdin.
    #[track_caller]
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = pillarbox()
            .args(arguments)
            .arg("--data-dir")
            .arg(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone before it is written to.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed and print one JSON object.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        json_of(arguments, &self.run(arguments))
    }

    /// Makes a workspace and a key in it.
    #[track_caller]
    pub(crate) fn tenant(&self, name: &str) -> Tenant {
        let workspace = self.json(&["workspace", "create", name, "--json"]);
        let id = text(&workspace, "id");
        let (key_id, key) = self.key(&id, "write:events");
        Tenant {
            slug: text(&workspace, "slug"),
            id,
            key_id,
            key,
        }
    }

    /// Makes a key with one scope; its id and the key.
    #[track_caller]
    pub(crate) fn key(&self, workspace: &str, scope: &str) -> (String, String) {
        let made = self.json(&[
            "key",
            "create",
            "app",
            "--workspace",
            workspace,
            "--scope",
            scope,
            "--json",
        ]);
        (text(&made, "id"), text(&made, "key"))
    }

    /// Makes a user with [`PASSWORD`].
    #[track_caller]
    pub(crate) fn user(&self, email: &str, name: &str) -> String {
        let arguments = [
            "user",
            "create",
            "--email",
            email,
            "--name",
            name,
            "--password-stdin",
            "--json",
        ];
        let output = self.run_with_input(&arguments, &format!("{PASSWORD}\n"));
        text(&json_of(&arguments, &output), "id")
    }

    /// Makes a user who is a member.
    #[track_caller]
    pub(crate) fn member(&self, workspace: &str, email: &str, role: &str) {
        self.user(email, role);
        let output = self.run(&[
            "member",
            "add",
            "--workspace",
            workspace,
            "--email",
            email,
            "--role",
            role,
        ]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Makes a source; its id.
    #[track_caller]
    pub(crate) fn source(&self, workspace: &str, name: &str) -> String {
        let arguments = ["source", "create", name, "--workspace", workspace, "--json"];
        text(&self.json(&arguments), "id")
    }

    /// Makes a webhook.
    #[track_caller]
    pub(crate) fn webhook(
        &self,
        workspace: &str,
        name: &str,
        url: &str,
        patterns: &[&str],
    ) -> MadeWebhook {
        let mut arguments = vec![
            "webhook",
            "create",
            name,
            "--workspace",
            workspace,
            "--url",
            url,
        ];
        for pattern in patterns {
            arguments.extend(["--event", pattern]);
        }
        arguments.push("--json");
        let made = self.json(&arguments);
        MadeWebhook {
            id: text(&made, "id"),
            secret: text(&made, "secret"),
        }
    }

    /// Changes a webhook in ways for which there is no command, as another process would.
    #[track_caller]
    pub(crate) fn change_webhook(
        &self,
        tenant: &Tenant,
        made: &MadeWebhook,
        change: impl FnOnce(&mut Webhook),
    ) {
        let files = Files::prepare(self.path()).unwrap();
        let connection = files.open_beside().unwrap();
        let (workspace, id) = (tenant.id.parse().unwrap(), made.id.parse().unwrap());
        let row = webhooks::get(&connection, files.vault(), workspace, id).unwrap();
        let mut webhook = row.webhook;
        change(&mut webhook);
        let (vault, now) = (files.vault(), row.updated_at_ms + 1);
        webhooks::update(&connection, vault, workspace, id, &webhook.settings, now).unwrap();
        let retired = webhook.retired_key.as_ref();
        webhooks::set_key(&connection, vault, &webhook, &webhook.key, retired, now).unwrap();
    }

    /// Makes a source that pages of these origins may post as.
    #[track_caller]
    pub(crate) fn site(&self, workspace: &str, origins: &[&str]) -> MadeSource {
        let made = self.json(&[
            "source",
            "create",
            "Site",
            "--workspace",
            workspace,
            "--json",
        ]);
        let source = MadeSource {
            id: text(&made, "id"),
            secret: text(&made, "identity_secret"),
        };
        let origins = serde_json::to_string(origins).unwrap();
        self.set_source(&source, "origins", &origins);
        source
    }

    /// Writes a column of a source, as another process would.
    pub(crate) fn set_source(&self, source: &MadeSource, column: &str, value: &dyn ToSql) {
        let id = source.id.parse::<SourceId>().unwrap().as_i64();
        let connection = Connection::open(self.file()).unwrap();
        connection
            .busy_timeout(std::time::Duration::from_secs(5))
            .unwrap();
        let changed = connection
            .execute(
                &format!("UPDATE source SET {column} = ?1 WHERE id = ?2"),
                rusqlite::params![value, id],
            )
            .unwrap();
        assert_eq!(changed, 1, "no source {}", source.id);
    }

    /// Every event in the log, in its order: what is there of each, objects as their JSON text.
    pub(crate) fn events(&self) -> Vec<Value> {
        const COLUMNS: [&str; 15] = [
            "kind",
            "name",
            "user_id",
            "visitor_id",
            "email",
            "customer_id",
            "group_id",
            "properties",
            "traits",
            "context",
            "verification",
            "dedup_key",
            "customer_is_account",
            "occurred_at_ms",
            "received_at_ms",
        ];
        let connection = self.open();
        let sql = format!("SELECT {} FROM event ORDER BY id", COLUMNS.join(", "));
        let mut statement = connection.prepare(&sql).unwrap();
        statement
            .query_map([], |row| {
                let mut event = serde_json::Map::new();
                for (at, column) in COLUMNS.iter().enumerate() {
                    let value = match row.get_ref(at)? {
                        ValueRef::Null => continue,
                        ValueRef::Integer(number) => number.into(),
                        text => text.as_str().unwrap().into(),
                    };
                    event.insert((*column).to_owned(), value);
                }
                Ok(Value::Object(event))
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// The file, to be read only.
    pub(crate) fn open(&self) -> Connection {
        let connection =
            Connection::open_with_flags(self.file(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        connection
            .busy_timeout(std::time::Duration::from_secs(5))
            .unwrap();
        connection
    }

    /// Holds the file's write lock, as another process would, until it is dropped.
    pub(crate) fn lock_file(&self) -> Connection {
        let connection = Connection::open(self.file()).unwrap();
        connection
            .busy_timeout(std::time::Duration::from_secs(5))
            .unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// The one number that a query answers.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// How many rows a table has.
    pub(crate) fn rows(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }

    /// The deliveries of an event (its public id), in the order of their ids.
    pub(crate) fn deliveries(&self, event: &str) -> Vec<DeliveryState> {
        let connection = self.open();
        let mut statement = connection
            .prepare(
                "SELECT state, attempts, last_error FROM delivery WHERE event_id = ?1 ORDER BY id",
            )
            .unwrap();
        statement
            .query_map([event_number(event)], |row| {
                Ok(DeliveryState {
                    state: row.get(0)?,
                    attempts: row.get(1)?,
                    last_error: row.get(2)?,
                })
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// The public ids of an event's deliveries.
    pub(crate) fn delivery_ids(&self, event: &str) -> Vec<String> {
        let connection = self.open();
        let mut statement = connection
            .prepare("SELECT id FROM delivery WHERE event_id = ?1 ORDER BY id")
            .unwrap();
        statement
            .query_map([event_number(event)], |row| row.get::<_, i64>(0))
            .unwrap()
            .map(|id| pillarbox::id::DeliveryId::from_i64(id.unwrap()).to_string())
            .collect()
    }

    /// The traits of the profile that holds this user id, as JSON text by name.
    pub(crate) fn traits(&self, user: &str) -> BTreeMap<String, String> {
        let connection = self.open();
        let mut statement = connection
            .prepare(
                "SELECT trait.name, trait.value FROM trait
                 JOIN identifier ON identifier.profile_id = trait.profile_id
                 WHERE identifier.kind = 'user_id' AND identifier.value = ?1",
            )
            .unwrap();
        statement
            .query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

/// The integer behind an event's public id.
#[track_caller]
pub(crate) fn event_number(id: &str) -> i64 {
    id.parse::<EventId>()
        .unwrap_or_else(|_| panic!("{id} is no event id"))
        .as_i64()
}

/// A text member of an object.
#[track_caller]
pub(crate) fn text(object: &Value, member: &str) -> String {
    object[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text {member:?} in {object}"))
        .to_owned()
}

#[track_caller]
fn json_of(arguments: &[&str], output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "pillarbox {} ended with {}\nstdout: {stdout}\nstderr: {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let value: Value = serde_json::from_str(&stdout)
        .unwrap_or_else(|e| panic!("stdout is not one JSON object ({e}): {stdout:?}"));
    assert!(value.is_object(), "stdout is not an object: {stdout:?}");
    value
}
