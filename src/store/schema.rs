//! The database file: its one table, the settings of its connections, and what is said of a file
//! that is not what it should be.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::OpenError;

pub(super) const DATABASE: &str = "mcp-guard.db";

/// Raised with every change of the tables; older guards refuse newer files.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE record (
        key BLOB PRIMARY KEY,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX record_expiry ON record (expires_at) WHERE expires_at IS NOT NULL;
    PRAGMA user_version = 1;
";

/// How long to wait for another process (a backup, `sqlite3`) to let go of the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes an empty database in a file that nobody else knows of yet. Nothing is synced: whoever calls
/// this syncs the whole file once, where `SQLite` would take ten turns of the disk for it.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let trouble = |error: rusqlite::Error| not_opened(path, &error);
    let connection = connect(path).map_err(trouble)?;
    create_tables(&connection).map_err(trouble)?;
    connection.close().map_err(|(_, error)| trouble(error))
}

fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
}

/// The connection that writes, to a database that is sound and of our schema. One that is not stays
/// as it is.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let trouble = |error: rusqlite::Error| not_opened(path, &error);
    let connection = connect(path).map_err(trouble)?;
    migrate(&connection, path)?;
    let mode = prepare_to_write(&connection).map_err(trouble)?;
    // `SQLite` does not complain where the file system cannot do this: it needs shared memory.
    if mode != "wal" {
        let path = path.display();
        return Err(OpenError {
            message: format!("the file system under {path} allows no write-ahead log"),
            hint: Some("choose a --data-path on a local disk".into()),
        });
    }
    Ok(connection)
}

/// The connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    connect_reader(path).map_err(|error| not_opened(path, &error))
}

/// The journal mode that came of it.
fn prepare_to_write(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The log is copied into the database at every MiB, so that on a small disk it is not the log
    // that fills it; after a burst it shrinks back to 4 MiB.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 256, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
}

fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // NO_MUTEX: a connection never leaves its thread. No CREATE: we made the file, with its mode.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let trouble = |error: rusqlite::Error| not_opened(path, &error);
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(trouble)?;
    if verdict != "ok" {
        return Err(damaged(path, &verdict));
    }
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(trouble)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(trouble)?;
    match version {
        SCHEMA_VERSION => probe(connection).map_err(trouble),
        0 if tables == 0 => connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))
            .map_err(trouble),
        newer if newer > SCHEMA_VERSION => Err(OpenError {
            message: format!(
                "{} was written by a newer mcp-guard (schema {newer}; this one knows {SCHEMA_VERSION})",
                path.display()
            ),
            hint: Some("run the newer version, or give this one its own --data-path".into()),
        }),
        _ => Err(OpenError::new(format!(
            "{} is not a store of mcp-guard",
            path.display()
        ))),
    }
}

/// Fails if the table is not what this guard expects.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT key, value, version, expires_at FROM record LIMIT 1";
    connection.prepare(sql).map(drop)
}

fn not_opened(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(path, &error.to_string())
        }
        _ => OpenError::new(format!("cannot open {}: {error}", path.display())),
    }
}

fn damaged(path: &Path, what: &str) -> OpenError {
    OpenError {
        message: format!("{} is damaged: {what}", path.display()),
        hint: Some(
            "restore it from a backup; or move it away, and everybody will have to sign in again"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::directory::{DataDirectory, private_room};
    use super::super::sqlite::Sqlite;
    use super::*;
    use crate::clock::Clock;

    fn open(room: &tempfile::TempDir) -> Result<Sqlite, OpenError> {
        Sqlite::open(room.path(), Clock::system())
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_left_alone() {
        let room = private_room();
        open(&room).unwrap().close().await;
        let path = room.path().join(DATABASE);
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 2)
            .unwrap();
        let before = fs::read(&path).unwrap();
        let error = open(&room).err().unwrap();
        assert!(
            error.message.contains("newer mcp-guard (schema 2"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn a_new_database_is_whole_at_once_and_nothing_lies_beside_it() {
        let room = private_room();
        let directory = DataDirectory::claim(room.path()).unwrap();
        directory.place(DATABASE, create).unwrap();
        let names = fs::read_dir(room.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["lock", DATABASE]);
        let connection = Connection::open(room.path().join(DATABASE)).unwrap();
        let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0));
        assert_eq!(mode, Ok("wal".to_owned()));
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        assert_eq!(version, Ok(SCHEMA_VERSION));
    }

    #[test]
    fn a_database_that_cannot_be_made_leaves_nothing() {
        let room = private_room();
        let directory = DataDirectory::claim(room.path()).unwrap();
        let fail = |_: &Path| Err(OpenError::new("no".to_owned()));
        assert!(directory.place(DATABASE, fail).is_err());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a143_a_log_that_lost_its_database_is_not_the_new_ones() {
        let room = private_room();
        let store = open(&room).unwrap();
        store.put("old", b"secret".to_vec(), None).await.unwrap();
        let (database, log) = (
            room.path().join(DATABASE),
            room.path().join("mcp-guard.db-wal"),
        );
        let kept = fs::read(&log).unwrap();
        assert!(!kept.is_empty());
        store.close().await;
        drop(store);
        fs::remove_file(&database).unwrap();
        fs::write(&log, kept).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
        let store = open(&room).unwrap();
        assert_eq!(store.get("old").await.unwrap(), None);
    }

    #[tokio::test]
    async fn somebody_elses_database_is_refused_and_left_alone() {
        let room = private_room();
        let directory = DataDirectory::claim(room.path()).unwrap();
        let path = directory.file(DATABASE).unwrap();
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE theirs (n)")
            .unwrap();
        drop(directory);
        let before = fs::read(&path).unwrap();
        let error = open(&room).err().unwrap();
        assert!(
            error.message.ends_with("is not a store of mcp-guard"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn a143_what_is_no_database_is_named_and_never_deleted() {
        let room = private_room();
        let directory = DataDirectory::claim(room.path()).unwrap();
        let path = directory.file(DATABASE).unwrap();
        drop(directory);
        let junk = b"this is no database, however long one looks at it. ".repeat(100);
        fs::write(&path, &junk).unwrap();
        let error = open(&room).err().unwrap();
        assert!(
            error.message.contains("is damaged") && error.hint.is_some(),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), junk);
    }
}
