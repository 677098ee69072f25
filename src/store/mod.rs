//! Where the guard's state lives: seven primitives over keys that expire.
//!
//! # The contract, for whoever writes a backend
//!
//! * A key names at most one record. A record is bytes, a version and perhaps an expiry.
//! * A record whose expiry has passed does not exist, whether or not it was swept yet: `get`, `take`,
//!   `scan` do not see it, `create` may replace it, `swap` fails on it.
//! * Every write gives the record a version it never had before under that key within the life of
//!   the record, so that `swap` can tell that nothing happened in between.
//! * Each operation is atomic: of any number of concurrent `take`s (or `create`s, or `swap`s of one
//!   version) of a key, exactly one succeeds.
//! * When a write has returned, it survives a crash of the process and, for durable backends, of
//!   the machine.
//! * An operation that could not be carried out is an error, never a "not found": callers turn
//!   errors into 503, and clients delete their credentials on anything less honest.
//!
//! One test suite (`contract.rs`) runs against every backend.
//!
//! # What each primitive is for
//!
//! * `get`: looking up a client, an access token, a grant.
//! * `put`: what only one place ever writes, such as a mark that a client was used.
//! * `create`: what must be new (registrations, codes, access tokens), and leases.
//! * `swap`: every change to a grant: rotation, confirmation, revocation. Who loses the race reads
//!   again and decides anew.
//! * `take`: redeeming an authorization code, which therefore works once.
//! * `delete`: revocation, and giving up a lease.
//! * `scan`: finding the grants of a client or a user, page by page, and cleaning up.

#[cfg(test)]
mod contract;
mod directory;
mod memory;
mod schema;
mod sqlite;
mod worker;

use std::path::Path;
use std::sync::Arc;

use self::memory::Memory;
use self::sqlite::Sqlite;
use crate::clock::{Clock, Timestamp};

/// A key: a short path such as `grant/ab12`. Bytes compare as in `scan`'s order.
pub type Key = str;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub value: Vec<u8>,
    pub version: Version,
    pub expires_at: Option<Timestamp>,
}

/// Changes with every write of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u64);

/// Why an operation could not be carried out. Always trouble of ours: answer 503.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store is not available: {0}")]
    Unavailable(String),
    #[error("the record at {key} cannot be read: {what}")]
    Damaged { key: String, what: String },
}

/// The store. Cheap to clone; clones share the state. Works from any thread and any runtime.
#[derive(Clone)]
pub struct Store {
    backend: Arc<Backend>,
}

enum Backend {
    Memory(Memory),
    Sqlite(Sqlite),
}

impl Store {
    /// A store that lives and dies with the process.
    pub fn memory(clock: Clock) -> Self {
        Self {
            backend: Arc::new(Backend::Memory(Memory::new(clock))),
        }
    }

    /// Opens or creates the `SQLite` store in `directory` (0700, files 0600), and locks it against
    /// a second guard.
    pub fn sqlite(directory: &Path, clock: Clock) -> Result<Self, OpenError> {
        let sqlite = Sqlite::open(directory, clock)?;
        Ok(Self {
            backend: Arc::new(Backend::Sqlite(sqlite)),
        })
    }

    /// Whether the directory is fit for [`Self::sqlite`], or not there yet. Changes nothing.
    pub fn examine(directory: &Path) -> Result<(), OpenError> {
        directory::examine(directory)
    }

    /// The record at `key`.
    pub async fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.get(key),
            Backend::Sqlite(sqlite) => sqlite.get(key).await,
        }
    }

    /// Writes, whatever was there.
    pub async fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Version, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.put(key, value, expires_at),
            Backend::Sqlite(sqlite) => sqlite.put(key, value, expires_at).await,
        }
    }

    /// Writes if nothing was there; `None` if something was.
    pub async fn create(
        &self,
        key: &Key,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Version>, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.create(key, value, expires_at),
            Backend::Sqlite(sqlite) => sqlite.create(key, value, expires_at).await,
        }
    }

    /// Writes if the record's version still is `expected`; `None` if it is another, or gone.
    pub async fn swap(
        &self,
        key: &Key,
        expected: Version,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Version>, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.swap(key, expected, value, expires_at),
            Backend::Sqlite(sqlite) => sqlite.swap(key, expected, value, expires_at).await,
        }
    }

    /// Reads and deletes in one step.
    pub async fn take(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.take(key),
            Backend::Sqlite(sqlite) => sqlite.take(key).await,
        }
    }

    /// Deletes; whether there was anything.
    pub async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.delete(key),
            Backend::Sqlite(sqlite) => sqlite.delete(key).await,
        }
    }

    /// Up to `limit` records whose key starts with `prefix` and follows `after`, in key order.
    pub async fn scan(
        &self,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.scan(prefix, after, limit),
            Backend::Sqlite(sqlite) => sqlite.scan(prefix, after, limit).await,
        }
    }

    /// Removes records that have expired; how many. The `app` calls it every few minutes.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        match &*self.backend {
            Backend::Memory(memory) => memory.sweep(),
            Backend::Sqlite(sqlite) => sqlite.sweep().await,
        }
    }

    /// Finishes what was accepted, and closes. Later operations are errors. Dropping the last
    /// clone does the same, without waiting for it.
    pub async fn close(&self) {
        match &*self.backend {
            Backend::Memory(memory) => memory.close(),
            Backend::Sqlite(sqlite) => sqlite.close().await,
        }
    }
}

/// Why the store could not be opened; text fit for an operator, with a hint where one helps.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct OpenError {
    pub message: String,
    pub hint: Option<String>,
}

impl OpenError {
    fn new(message: String) -> Self {
        Self {
            message,
            hint: None,
        }
    }

    fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{what} {}: {error}", path.display()))
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}
