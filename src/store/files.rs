//! The box's files: the database, brought to the newest schema with its settings asserted, the key
//! beside it, and the lock that lets one server at most run on them.

use super::readers::Readers;
use crate::secret::{Vault, random_bytes};
use anyhow::Context as _;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode};
use rusqlite_migration::{M, Migrations};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The oldest SQLite that is safe here: earlier ones can lose a commit when two connections write
/// and checkpoint at once (promises.md, "Storage rules").
const MIN_SQLITE_VERSION: i32 = 3_051_003;
/// How long the server's writer waits for another process's lock: a job that comes just after the
/// waiting began hears 503 well within the six seconds of promise 7.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_millis(2_500);
/// How long a command waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of the writer, in KiB (negative is SQLite's spelling of KiB). Small on purpose: it works at
/// right edges and in sorted sweeps, and in a file of less than 1 GiB SQLite walks the whole cache after
/// every commit that split an index page.
const WRITER_CACHE_KIB: i64 = -8_192;
/// Pages in the WAL after which the writer itself checkpoints what the checkpointer has not got to, and
/// starts the WAL anew: 31 MiB, and with what is appended meanwhile within the 64 MiB of promise 8.
const CHECKPOINT_PAGES: i64 = 8_000;
const DATABASE_FILE: &str = "pillarbox.db";
const KEY_FILE: &str = "pillarbox.key";
const LOCK_FILE: &str = "pillarbox.lock";
/// What is sealed in the file to know its key again, and the row that it is bound to.
const KEY_CHECK_TEXT: &[u8] = b"pillarbox";
const KEY_CHECK_ROW: i64 = 1;
const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/0001_box.sql")),
    M::up(include_str!("../../migrations/0002_keys_and_windows.sql")),
    M::up(include_str!("../../migrations/0003_timeline_segments.sql")),
    M::up(include_str!("../../migrations/0004_retention.sql")),
    M::up(include_str!("../../migrations/0005_fewer_keys.sql")),
    M::up(include_str!("../../migrations/0006_sources.sql")),
    M::up(include_str!("../../migrations/0007_people.sql")),
    M::up(include_str!("../../migrations/0008_rejects.sql")),
    M::up(include_str!("../../migrations/0009_billing.sql")),
    M::up(include_str!("../../migrations/0010_event_types.sql")),
    M::up(include_str!("../../migrations/0011_sending.sql")),
    M::up(include_str!("../../migrations/0012_replays.sql")),
    M::up(include_str!("../../migrations/0013_space.sql")),
];

/// Where the box's files are, and what it needs to read its secrets.
#[derive(Debug, Clone)]
pub struct Files {
    database: PathBuf,
    directory: PathBuf,
    vault: Vault,
}

impl Files {
    /// Makes the data folder if it is missing, and reads or makes the key file.
    ///
    /// # Errors
    /// When the folder or the key cannot be made or read; says which.
    pub fn prepare(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("making the data folder {}", directory.display()))?;
        let key_path = directory.join(KEY_FILE);
        let database = directory.join(DATABASE_FILE);
        anyhow::ensure!(
            key_path.exists() || !database.exists(),
            "{} is there but {KEY_FILE} beside it is missing, and the secrets in it cannot be read without; restore both from the same backup",
            database.display()
        );
        let key = read_or_make_key(&key_path)
            .with_context(|| format!("the key file {}", key_path.display()))?;
        Ok(Self {
            database,
            directory: directory.to_owned(),
            vault: Vault::new(&key),
        })
    }

    /// The database file.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Opens secrets of this box.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Makes sure that one server at most runs on this data folder; the lock lasts as long as the file.
    ///
    /// # Errors
    /// When another server runs, or the lock file cannot be made.
    pub fn lock_for_server(&self) -> anyhow::Result<File> {
        let path = self.directory.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!(
                    "another pillarbox already serves {}; stop it or choose another --data-dir",
                    self.directory.display()
                )
            }
            Err(TryLockError::Error(e)) => Err(e.into()),
        }
    }

    /// Opens the connection that writes, brought to the newest schema, every pragma asserted.
    ///
    /// # Errors
    /// When the file cannot be opened, is newer than this binary, or a setting does not hold.
    pub fn open_writer(&self) -> anyhow::Result<Connection> {
        self.open(CHECKPOINT_PAGES, WRITER_BUSY_TIMEOUT)
    }

    /// Opens the connection of the checkpointer, which only moves pages and never writes a row.
    ///
    /// # Errors
    /// When the file cannot be opened or a setting does not hold.
    pub(super) fn open_checkpointer(&self) -> anyhow::Result<Connection> {
        let connection = Connection::open(&self.database)?;
        connection.busy_timeout(Duration::ZERO)?;
        set_and_assert(&connection, "synchronous", Value::Integer(2))?;
        set_and_assert(&connection, "wal_autocheckpoint", Value::Integer(0))?;
        Ok(connection)
    }

    /// Opens the file for one command beside a server that may be running: the same, but it never
    /// checkpoints (promises.md, "Storage rules").
    ///
    /// # Errors
    /// As [`Files::open_writer`].
    pub fn open_beside(&self) -> anyhow::Result<Connection> {
        self.open(0, BUSY_TIMEOUT)
    }

    fn open(&self, checkpoint_pages: i64, busy_timeout: Duration) -> anyhow::Result<Connection> {
        assert_sqlite_version(rusqlite::version_number())?;
        let mut connection = Connection::open(&self.database)?;
        restrict_to_owner(&self.database)?;
        connection.busy_timeout(busy_timeout)?;
        use_wal(&connection, busy_timeout)?;
        set_and_assert(&connection, "synchronous", Value::Integer(2))?;
        set_and_assert(&connection, "foreign_keys", Value::Integer(1))?;
        set_and_assert(
            &connection,
            "wal_autocheckpoint",
            Value::Integer(checkpoint_pages),
        )?;
        set_and_assert(&connection, "cache_size", Value::Integer(WRITER_CACHE_KIB))?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.set_prepared_statement_cache_capacity(128);
        migrate(&mut connection)
            .and_then(|()| check_key(&connection, &self.vault))
            .with_context(|| format!("the file {}", self.database.display()))?;
        Ok(connection)
    }

    /// The pool of readers: read-only, each with a small cache.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn readers(&self) -> anyhow::Result<Readers> {
        Readers::open(&self.database)
    }
}

fn assert_sqlite_version(number: i32) -> anyhow::Result<()> {
    anyhow::ensure!(
        number >= MIN_SQLITE_VERSION,
        "this binary holds SQLite {}, which can lose commits; {MIN_SQLITE_VERSION} or newer is needed",
        rusqlite::version()
    );
    Ok(())
}

/// Switches the file to a write-ahead log. Whoever meets another that is just doing the same is refused at
/// once, since SQLite does not wait for that lock itself; so this does.
fn use_wal(connection: &Connection, busy_timeout: Duration) -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let began = Instant::now();
    loop {
        let switched = set_and_assert(connection, "journal_mode", Value::Text("wal".into()));
        let is_busy = switched.as_ref().is_err_and(|e| {
            let cause = e.downcast_ref::<rusqlite::Error>();
            cause.and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::DatabaseBusy)
        });
        if !is_busy || began.elapsed() >= busy_timeout {
            return switched;
        }
        std::thread::sleep(PAUSE);
    }
}

fn set_and_assert(connection: &Connection, name: &str, wanted: Value) -> anyhow::Result<()> {
    connection.pragma_update(None, name, &wanted)?;
    let found: Value = connection.pragma_query_value(None, name, |row| row.get(0))?;
    anyhow::ensure!(
        found == wanted,
        "SQLite did not accept {name} = {wanted:?}: it says {found:?}"
    );
    Ok(())
}

/// A file that only its owner may read: it holds personal data and hashes.
fn restrict_to_owner(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn read_or_make_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    if !path.exists() {
        make_key(path)?;
    }
    let mut key = Vec::new();
    File::open(path)?.read_to_end(&mut key)?;
    key.try_into()
        .map_err(|_| anyhow::anyhow!("it does not hold 32 bytes; restore it from a backup"))
}

/// Writes a key aside and links it into place, so that a command and a server that both start on an
/// empty folder end up with the same one, whole.
fn make_key(path: &Path) -> anyhow::Result<()> {
    let aside = path.with_extension(format!("key-{}", crate::secret::random_token()?));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&aside)?;
    file.write_all(&random_bytes::<32>()?)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&aside, path);
    std::fs::remove_file(&aside)?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e.into()),
        _ => Ok(()),
    }
}

/// Makes sure that the key file is the one that this file's secrets were sealed with. Without it the
/// webhooks could not sign, and events would be taken that reach nobody.
fn check_key(connection: &Connection, vault: &Vault) -> anyhow::Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO key_check (id, sealed) VALUES (1, ?1)",
        [vault.seal(KEY_CHECK_ROW, KEY_CHECK_TEXT)?],
    )?;
    let sealed: Vec<u8> =
        connection.query_row("SELECT sealed FROM key_check WHERE id = 1", [], |row| {
            row.get(0)
        })?;
    anyhow::ensure!(
        vault.open(KEY_CHECK_ROW, &sealed).is_ok(),
        "its secrets were sealed with another {KEY_FILE}; put the one that belongs to it back beside it"
    );
    Ok(())
}

/// Brings the file to the newest schema.
fn migrate(connection: &mut Connection) -> anyhow::Result<()> {
    use rusqlite_migration::{Error as Migration, MigrationDefinitionError};
    let migrations = Migrations::from_slice(MIGRATIONS);
    match migrations.to_latest(connection) {
        Ok(()) => Ok(()),
        Err(Migration::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead)) => {
            anyhow::bail!(
                "it was written by a newer pillarbox; run that version, or restore a backup from before the upgrade"
            )
        }
        // Another process that started at the same time has done it.
        Err(_)
            if migrations
                .pending_migrations(connection)
                .is_ok_and(|pending| pending == 0) =>
        {
            Ok(())
        }
        Err(other) => Err(anyhow::Error::new(other).context("bringing it to the newest schema")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_sqlite_is_safe() {
        assert!(
            rusqlite::version_number() >= MIN_SQLITE_VERSION,
            "{}",
            rusqlite::version()
        );
        assert!(assert_sqlite_version(3_051_002).is_err());
    }

    #[test]
    fn the_writer_is_durable_and_readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let writer = files.open_writer().unwrap();
        let pragma = |name: &str| {
            writer
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .unwrap()
        };
        assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (2, 1));
        let reader = files.readers().unwrap().get().unwrap();
        assert!(reader.execute("DELETE FROM event", []).is_err());
    }

    #[test]
    fn a_newer_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        files
            .open_writer()
            .unwrap()
            .pragma_update(None, "user_version", 999)
            .unwrap();
        let refusal = format!("{:#}", files.open_writer().unwrap_err());
        assert!(refusal.contains("newer pillarbox"), "{refusal}");
    }

    #[test]
    fn a_file_without_its_own_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Files::prepare(folder.path())
            .unwrap()
            .open_writer()
            .unwrap();
        let key = folder.path().join(KEY_FILE);
        std::fs::remove_file(&key).unwrap();
        let refusal = Files::prepare(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains(KEY_FILE), "{refusal}");
        std::fs::write(&key, [9; 32]).unwrap();
        let refusal = Files::prepare(folder.path())
            .unwrap()
            .open_writer()
            .unwrap_err();
        assert!(
            format!("{refusal:#}").contains("another pillarbox.key"),
            "{refusal:#}"
        );
    }

    #[test]
    fn an_older_file_learns_where_its_timeline_segments_begin() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let mut old = Connection::open(files.database()).unwrap();
        Migrations::from_slice(&MIGRATIONS[..2])
            .to_latest(&mut old)
            .unwrap();
        old.execute_batch(
            "INSERT INTO timeline (segment, profile_id, event_id)
             VALUES (0, 1, 11), (0, 2, 10), (1, 1, 21), (1, 2, 20)",
        )
        .unwrap();
        drop(old);
        let connection = files.open_writer().unwrap();
        let begins = |segment: i64| -> i64 {
            let sql = "SELECT first_event_id FROM timeline_segment WHERE segment = ?1";
            connection
                .query_row(sql, [segment], |row| row.get(0))
                .unwrap()
        };
        assert_eq!((begins(0), begins(1)), (10, 20));
    }

    #[test]
    fn an_older_files_attempts_are_chained_and_what_it_owes_stays_listed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let mut old = Connection::open(files.database()).unwrap();
        Migrations::from_slice(&MIGRATIONS[..4])
            .to_latest(&mut old)
            .unwrap();
        // The second attempt was begun last and recorded first, beside the schedule's own.
        old.execute_batch(
            "INSERT INTO message (id, workspace_id, type, body) VALUES (5, 1, 'Seen', x'7B7D');
             INSERT INTO delivery (id, workspace_id, webhook_id, message_id, state, attempts, automatic_attempts, next_attempt_at_ms)
             VALUES (6, 1, 9, 5, 'pending', 3, 2, 70), (7, 1, 9, 5, 'pending', 0, 0, 60), (8, 1, 9, 5, 'succeeded', 1, 1, NULL);
             INSERT INTO attempt (id, delivery_id, number, trigger, started_at_ms, duration_us, url, request_headers, response_body_truncated)
             VALUES (11, 6, 1, 'automatic', 1, 1, '', '[]', 0), (12, 8, 1, 'automatic', 1, 1, '', '[]', 0),
                    (13, 6, 3, 'automatic', 1, 1, '', '[]', 0), (14, 6, 2, 'manual', 1, 1, '', '[]', 0)",
        )
        .unwrap();
        drop(old);
        let connection = files.open_writer().unwrap();
        let column = |sql: &str| -> Vec<Option<i64>> {
            let mut statement = connection.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(
            column("SELECT last_attempt_id FROM delivery ORDER BY id"),
            [Some(13), None, Some(12)]
        );
        assert_eq!(
            column("SELECT previous_attempt_id FROM attempt ORDER BY id"),
            [None, None, Some(14), Some(11)]
        );
        assert_eq!(
            column("SELECT cursor_delivery_id FROM dispatcher"),
            [Some(8)]
        );
    }

    #[test]
    fn one_server_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let held = files.lock_for_server().unwrap();
        assert!(files.lock_for_server().is_err());
        drop(held);
        assert!(files.lock_for_server().is_ok());
    }

    #[test]
    fn those_who_start_together_on_an_empty_folder_agree() {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(4);
        let sealed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let files = Files::prepare(folder.path()).unwrap();
                        files.open_beside().unwrap();
                        files.vault().seal(1, b"x").unwrap()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let files = Files::prepare(folder.path()).unwrap();
        assert!(
            sealed
                .iter()
                .all(|sealed| files.vault().open(1, sealed).is_ok())
        );
    }

    #[test]
    fn the_key_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = Files::prepare(folder.path())
            .unwrap()
            .vault()
            .seal(1, b"x")
            .unwrap();
        assert!(
            Files::prepare(folder.path())
                .unwrap()
                .vault()
                .open(1, &sealed)
                .is_ok()
        );
    }
}
