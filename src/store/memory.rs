//! The store that lives and dies with the process (`--store memory:`): a sorted map behind a lock
//! that is held for a lookup only.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Key, Record, StoreError, Version, closed};
use crate::clock::{Clock, Timestamp};

/// Records that one turn of the lock may remove.
const SWEEP_BATCH: usize = 1000;

pub(super) struct Memory {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Counts every write to any key, so no version ever comes back.
    last_version: u64,
    closed: bool,
}

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let state = self.state()?;
        Ok(state.alive(key, self.clock.now()).cloned())
    }

    pub(super) fn put(
        &self,
        key: &Key,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Version, StoreError> {
        Ok(self.state()?.write(key, value, expires_at))
    }

    pub(super) fn create(
        &self,
        key: &Key,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Version>, StoreError> {
        let mut state = self.state()?;
        if state.alive(key, self.clock.now()).is_some() {
            return Ok(None);
        }
        Ok(Some(state.write(key, value, expires_at)))
    }

    pub(super) fn swap(
        &self,
        key: &Key,
        expected: Version,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<Version>, StoreError> {
        let mut state = self.state()?;
        match state.alive(key, self.clock.now()) {
            Some(record) if record.version == expected => {
                Ok(Some(state.write(key, value, expires_at)))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn take(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let taken = self.state()?.records.remove(key);
        let now = self.clock.now();
        Ok(taken.filter(|record| is_alive(record, now)))
    }

    pub(super) fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.take(key)?.is_some())
    }

    pub(super) fn scan(
        &self,
        prefix: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        let state = self.state()?;
        let now = self.clock.now();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = state.records.range::<Key, _>((from, Bound::Unbounded));
        Ok(found
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, record)| is_alive(record, now))
            .take(limit)
            .map(|(key, record)| (key.clone(), record.clone()))
            .collect())
    }

    pub(super) fn sweep(&self) -> Result<usize, StoreError> {
        let mut swept = 0;
        let mut from = String::new();
        loop {
            let (removed, next) = self.state()?.sweep(&from, self.clock.now());
            swept += removed;
            match next {
                Some(next) => from = next,
                None => return Ok(swept),
            }
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.records.clear();
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.closed {
            Err(closed())
        } else {
            Ok(state)
        }
    }

    /// Nothing panics while it holds the lock, so poison cannot mean a half-done write.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn alive(&self, key: &Key, now: Timestamp) -> Option<&Record> {
        self.records.get(key).filter(|record| is_alive(record, now))
    }

    fn write(&mut self, key: &Key, value: Vec<u8>, expires_at: Option<Timestamp>) -> Version {
        self.last_version += 1;
        let version = Version(self.last_version);
        let record = Record {
            value,
            version,
            expires_at,
        };
        self.records.insert(key.to_owned(), record);
        version
    }

    /// Looks at one batch of records; how many went, and where the next batch starts.
    fn sweep(&mut self, from: &str, now: Timestamp) -> (usize, Option<String>) {
        let mut batch = self
            .records
            .range::<Key, _>((Bound::Included(from), Bound::Unbounded));
        let expired: Vec<String> = batch
            .by_ref()
            .take(SWEEP_BATCH)
            .filter(|(_, record)| !is_alive(record, now))
            .map(|(key, _)| key.clone())
            .collect();
        let next = batch.next().map(|(key, _)| key.clone());
        for key in &expired {
            self.records.remove(key);
        }
        (expired.len(), next)
    }
}

fn is_alive(record: &Record, now: Timestamp) -> bool {
    record.expires_at.is_none_or(|expiry| expiry > now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sweeping_more_than_one_batch_leaves_only_the_living() {
        let memory = Memory::new(Clock::system());
        let soon = memory.clock.now().after(Duration::from_mins(1));
        for n in 0..SWEEP_BATCH * 2 + 7 {
            let expiry = (n % 3 != 0).then_some(soon);
            memory.put(&format!("key/{n}"), Vec::new(), expiry).unwrap();
        }
        memory.clock.advance(Duration::from_secs(61));
        let living = (SWEEP_BATCH * 2 + 7).div_ceil(3);
        assert_eq!(memory.sweep().unwrap(), SWEEP_BATCH * 2 + 7 - living);
        assert_eq!(memory.lock().records.len(), living);
    }
}
