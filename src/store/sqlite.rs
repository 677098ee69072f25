//! The store on disk: `SQLite` in write-ahead-log mode, synced at every commit, in a directory that
//! is ours alone. One connection writes, another reads; each lives on its own thread
//! ([`super::worker`]).
//!
//! What goes wrong on the disk is reported and nothing else: no file is ever removed, moved or
//! repaired here, and the next operation simply tries again.

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::directory::DataDirectory;
use super::schema::{self, DATABASE};
use super::worker::{Mode, Worker};
use super::{Key, OpenError, Record, StoreError, Version};
use crate::clock::{Clock, Timestamp};
use crate::crypto::random;

/// Records that one transaction of a sweep may remove, so that others get their turn.
const SWEEP_BATCH: u16 = 500;

pub(super) struct Sqlite {
    clock: Clock,
    writer: Worker,
    reader: Worker,
}

impl Sqlite {
    pub(super) fn open(directory: &Path, clock: Clock) -> Result<Self, OpenError> {
        let directory = DataDirectory::claim(directory)?;
        let journals = ["-journal", "-wal", "-shm"].map(|end| format!("{DATABASE}{end}"));
        // A log that lost its database must not become that of a new one.
        if directory.lacks(DATABASE) && journals.iter().all(|name| directory.lacks(name)) {
            directory.place(DATABASE, schema::create)?;
        }
        let path = directory.file(DATABASE)?;
        for journal in &journals {
            directory.inspect(journal)?;
        }
        let writer = schema::open_writer(&path)?;
        let reader = schema::open_reader(&path)?;

        // Each thread holds the lock for as long as it may touch the files.
        let lock = Arc::new(directory);
        let trouble = |error| OpenError::io("cannot start a thread for", &path, &error);
        Ok(Self {
            clock,
            writer: Worker::start("store-writer", Mode::Write, writer, Arc::clone(&lock))
                .map_err(trouble)?,
            reader: Worker::start("store-reader", Mode::Read, reader, lock).map_err(trouble)?,
        })
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let (key, clock) = (key.to_owned(), self.clock.clone());
        self.reader
            .run(move |database| get(database, &key, clock.now()))
            .await
    }

    pub(super) async fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Version, StoreError> {
        let (key, version) = (key.to_owned(), fresh_version());
        let write =
            move |database: &Connection| {
                database
                .prepare_cached(
                    "INSERT INTO record (key, value, version, expires_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value,
                        version = excluded.version, expires_at = excluded.expires_at",
                )?
                .execute(params![key.as_bytes(), value, signed(version), expiry(expires_at)])
            };
        self.write(write).await?;
        Ok(version)
    }

    pub(super) async fn create(
        &self,
        key: &Key,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Version>, StoreError> {
        let (key, version, clock) = (key.to_owned(), fresh_version(), self.clock.clone());
        let write = move |database: &Connection| {
            database
                .prepare_cached(
                    "INSERT INTO record (key, value, version, expires_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value,
                        version = excluded.version, expires_at = excluded.expires_at
                     WHERE record.expires_at <= ?5",
                )?
                .execute(params![
                    key.as_bytes(),
                    value,
                    signed(version),
                    expiry(expires_at),
                    millis(clock.now())
                ])
        };
        Ok((self.write(write).await? == 1).then_some(version))
    }

    pub(super) async fn swap(
        &self,
        key: &Key,
        expected: Version,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Version>, StoreError> {
        let (key, version, clock) = (key.to_owned(), fresh_version(), self.clock.clone());
        let write = move |database: &Connection| {
            database
                .prepare_cached(
                    "UPDATE record SET value = ?2, version = ?3, expires_at = ?4
                     WHERE key = ?1 AND version = ?5 AND (expires_at IS NULL OR expires_at > ?6)",
                )?
                .execute(params![
                    key.as_bytes(),
                    value,
                    signed(version),
                    expiry(expires_at),
                    signed(expected),
                    millis(clock.now())
                ])
        };
        Ok((self.write(write).await? == 1).then_some(version))
    }

    pub(super) async fn take(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let (key, clock) = (key.to_owned(), self.clock.clone());
        self.writer
            .run(move |database| take(database, &key, clock.now()))
            .await
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let (key, clock) = (key.to_owned(), self.clock.clone());
        let write = move |database: &Connection| {
            database
                .prepare_cached(
                    "DELETE FROM record
                     WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
                )?
                .execute(params![key.as_bytes(), millis(clock.now())])
        };
        Ok(self.write(write).await? == 1)
    }

    pub(super) async fn scan(
        &self,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        let range = KeyRange::of(prefix, after);
        let clock = self.clock.clone();
        self.reader
            .run(move |database| scan(database, &range, limit, clock.now()))
            .await
    }

    pub(super) async fn sweep(&self) -> Result<usize, StoreError> {
        let now = millis(self.clock.now());
        let mut swept = 0;
        loop {
            let removed = self.write(move |database| sweep(database, now)).await?;
            swept += removed;
            if removed < usize::from(SWEEP_BATCH) {
                return Ok(swept);
            }
        }
    }

    pub(super) async fn close(&self) {
        self.reader.stop().await;
        self.writer.stop().await;
    }

    /// A write whose only possible fault is the database's; how many rows it changed.
    async fn write<W>(&self, mut write: W) -> Result<usize, StoreError>
    where
        W: FnMut(&Connection) -> rusqlite::Result<usize> + Send + 'static,
    {
        self.writer
            .run(move |database| write(database).map_err(|error| unavailable(&error)))
            .await
    }
}

fn get(database: &Connection, key: &Key, now: Timestamp) -> Result<Option<Record>, StoreError> {
    let mut statement = database
        .prepare_cached(
            "SELECT value, version, expires_at FROM record
             WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
        )
        .map_err(|error| unavailable(&error))?;
    statement
        .query_row(params![key.as_bytes(), millis(now)], record)
        .optional()
        .map_err(|error| unreadable(key, &error))
}

fn take(database: &Connection, key: &Key, now: Timestamp) -> Result<Option<Record>, StoreError> {
    let mut statement = database
        .prepare_cached(
            "DELETE FROM record WHERE key = ?1 AND (expires_at IS NULL OR expires_at > ?2)
             RETURNING value, version, expires_at",
        )
        .map_err(|error| unavailable(&error))?;
    statement
        .query_row(params![key.as_bytes(), millis(now)], record)
        .optional()
        .map_err(|error| unreadable(key, &error))
}

fn scan(
    database: &Connection,
    range: &KeyRange,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(String, Record)>, StoreError> {
    let mut statement = database
        .prepare_cached(
            "SELECT value, version, expires_at, key FROM record
             WHERE key >= ?1 AND key < ?2 AND (expires_at IS NULL OR expires_at > ?3)
             ORDER BY key LIMIT ?4",
        )
        .map_err(|error| unavailable(&error))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement
        .query(params![range.from, range.below, millis(now), limit])
        .map_err(|error| unavailable(&error))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(|error| unavailable(&error))? {
        found.push(keyed_record(row)?);
    }
    Ok(found)
}

fn sweep(database: &Connection, now: i64) -> rusqlite::Result<usize> {
    database
        .prepare_cached(
            "DELETE FROM record WHERE key IN
                (SELECT key FROM record WHERE expires_at <= ?1 LIMIT ?2)",
        )?
        .execute(params![now, SWEEP_BATCH])
}

/// The keys from one bound up to another, as bytes compare.
struct KeyRange {
    from: Vec<u8>,
    below: Vec<u8>,
}

impl KeyRange {
    fn of(prefix: &Key, after: Option<&Key>) -> Self {
        // The first key that follows `after` is `after` with a zero byte behind it.
        let after = after.map(|after| [after.as_bytes(), &[0]].concat());
        let from = after.unwrap_or_default().max(prefix.as_bytes().to_vec());
        // UTF-8 has no byte 0xff: raising a last byte never overflows, and 0xff is above all keys.
        let mut below = prefix.as_bytes().to_vec();
        match below.last_mut() {
            Some(last) => *last += 1,
            None => below.push(0xff),
        }
        Self { from, below }
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let version: i64 = row.get(1)?;
    let expires_at: Option<i64> = row.get(2)?;
    Ok(Record {
        value: row.get(0)?,
        version: Version(version.cast_unsigned()),
        expires_at: expires_at.map(|at| Timestamp(at.max(0).unsigned_abs())),
    })
}

fn keyed_record(row: &Row<'_>) -> Result<(String, Record), StoreError> {
    let key: Vec<u8> = row.get(3).map_err(|error| unreadable("?", &error))?;
    let key = String::from_utf8(key).map_err(|error| StoreError::Damaged {
        key: error.as_bytes().escape_ascii().to_string(),
        what: "the key is not UTF-8".into(),
    })?;
    let record = record(row).map_err(|error| unreadable(&key, &error))?;
    Ok((key, record))
}

/// Random, so that it is new even after the record was deleted and written again, and after a
/// restart.
fn fresh_version() -> Version {
    Version(u64::from_ne_bytes(random::bytes()))
}

fn signed(version: Version) -> i64 {
    version.0.cast_signed()
}

fn expiry(at: Option<Timestamp>) -> Option<i64> {
    at.map(millis)
}

/// The end of time is a little earlier here: 292 million years from now.
fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// A column of the wrong type is that record's trouble; anything else is the whole store's.
fn unreadable(key: &Key, error: &rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::InvalidColumnType(_, column, found) => StoreError::Damaged {
            key: key.to_owned(),
            what: format!("column {column} holds {}", type_name(*found)),
        },
        error => unavailable(error),
    }
}

fn type_name(found: Type) -> &'static str {
    match found {
        Type::Null => "nothing",
        Type::Integer => "an integer",
        Type::Real => "a real number",
        Type::Text => "text",
        Type::Blob => "bytes",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::super::directory::private_room;
    use super::*;

    fn open(room: &tempfile::TempDir) -> Result<Sqlite, OpenError> {
        Sqlite::open(room.path(), Clock::system())
    }

    #[tokio::test]
    async fn a141_every_file_is_for_the_owner_alone() {
        let room = private_room();
        let store = open(&room).unwrap();
        store.put("key", b"value".to_vec(), None).await.unwrap();
        let mut names = Vec::new();
        for entry in fs::read_dir(room.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().mode() & 0o7777,
                0o600,
                "{entry:?}"
            );
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(
            names,
            [
                "lock",
                "mcp-guard.db",
                "mcp-guard.db-shm",
                "mcp-guard.db-wal"
            ]
        );
    }

    #[tokio::test]
    async fn a142_a_second_guard_is_refused_while_the_first_runs() {
        let room = private_room();
        let first = open(&room).unwrap();
        let message = open(&room).err().unwrap().message;
        assert!(
            message.starts_with("another mcp-guard is using"),
            "{message}"
        );
        first.close().await;
        assert!(open(&room).is_ok());
    }

    #[tokio::test]
    async fn r04_a_full_disk_fails_writes_but_not_reads_and_heals_without_a_restart() {
        let room = private_room();
        let store = open(&room).unwrap();
        store.put("code/1", b"kept".to_vec(), None).await.unwrap();
        limit_pages(&store, 16).await;
        let big = vec![7; 1 << 20];
        for _ in 0..3 {
            let refused = store.put("code/1", big.clone(), None).await;
            assert!(
                matches!(refused, Err(StoreError::Unavailable(_))),
                "{refused:?}"
            );
            assert_eq!(store.get("code/1").await.unwrap().unwrap().value, b"kept");
        }
        limit_pages(&store, 1 << 20).await;
        store.put("code/1", big.clone(), None).await.unwrap();
        assert_eq!(store.take("code/1").await.unwrap().unwrap().value, big);
    }

    async fn limit_pages(store: &Sqlite, pages: i64) {
        let limit = move |database: &Connection| {
            database
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(|error| unavailable(&error))
        };
        store.writer.run(limit).await.unwrap();
    }

    #[tokio::test]
    async fn a143_flipped_bytes_end_in_an_answer_or_an_error_never_in_a_panic() {
        let room = private_room();
        let store = open(&room).unwrap();
        for n in 0..60 {
            store
                .put(&format!("grant/{n}"), vec![n; 300], None)
                .await
                .unwrap();
        }
        store.close().await;
        let path = room.path().join(DATABASE);
        let sound = fs::read(&path).unwrap();
        let mut refused = 0;
        for n in 0..60_usize {
            let mut bytes = sound.clone();
            // Half of the damage to the header page, half spread over the file.
            let within = if n % 2 == 0 { 4096 } else { bytes.len() };
            let at = (n * 7919 + 13) % within;
            bytes[at] ^= 0xa5;
            fs::write(&path, bytes).unwrap();
            match open(&room) {
                Err(error) => {
                    refused += 1;
                    assert!(error.message.contains("mcp-guard.db"), "{error}");
                }
                Ok(store) => use_it(&store).await,
            }
            for journal in ["-wal", "-shm"] {
                let _ = fs::remove_file(room.path().join(format!("{DATABASE}{journal}")));
            }
        }
        assert!(refused > 5, "{refused}");
    }

    /// Every operation answers; what, only the damage knows.
    async fn use_it(store: &Sqlite) {
        let _ = store.scan("grant/", None, 1000).await;
        let _ = store.get("grant/7").await;
        let _ = store
            .put("grant/7", vec![1; 5000], Some(Timestamp(1)))
            .await;
        let _ = store.take("grant/8").await;
        let _ = store.sweep().await;
        store.close().await;
    }

    #[tokio::test]
    async fn a_record_of_the_wrong_shape_is_damaged_and_not_missing() {
        let room = private_room();
        let store = open(&room).unwrap();
        let plant = |database: &Connection| {
            database
                .execute(
                    "INSERT INTO record VALUES (CAST('odd' AS BLOB), 'text', 1, NULL)",
                    [],
                )
                .map_err(|error| unavailable(&error))
        };
        store.writer.run(plant).await.unwrap();
        for _ in 0..2 {
            let taken = store.take("odd").await;
            assert!(
                matches!(taken, Err(StoreError::Damaged { .. })),
                "{taken:?}"
            );
        }
        assert!(matches!(
            store.get("odd").await,
            Err(StoreError::Damaged { .. })
        ));
        assert!(matches!(
            store.scan("", None, 9).await,
            Err(StoreError::Damaged { .. })
        ));
    }

    #[tokio::test]
    async fn reads_do_not_wait_for_another_processs_write_lock() {
        let room = private_room();
        let store = open(&room).unwrap();
        store.put("key", b"value".to_vec(), None).await.unwrap();
        let backup = Connection::open(room.path().join(DATABASE)).unwrap();
        backup.execute_batch("BEGIN IMMEDIATE").unwrap();
        let reads = async {
            for _ in 0..10 {
                assert!(store.get("key").await.unwrap().is_some());
            }
        };
        let write = store.put("key", b"later".to_vec(), None);
        let (written, ()) = tokio::join!(write, async {
            reads.await;
            backup.execute_batch("COMMIT").unwrap();
        });
        written.unwrap();
    }
}
