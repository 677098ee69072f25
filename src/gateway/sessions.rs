//! All sessions of one endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use super::session::{Owner, Session};
use super::session_id;
use crate::crypto::Keyring;
use crate::resource::Principal;
use crate::upstream::SessionKey;

/// How long a session must have been left alone before it may make room for a new one of the same
/// user. Clients that open a session per conversation and never end one would otherwise lock
/// themselves out for the whole idle timeout.
const SPARE_AFTER: Duration = Duration::from_mins(1);

/// Sessions by id.
pub(super) struct Sessions {
    keyring: Keyring,
    by_id: DashMap<String, Arc<Session>>,
    next_key: AtomicU64,
    streams: DashMap<String, Arc<AtomicUsize>>,
}

impl Sessions {
    pub(super) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            by_id: DashMap::new(),
            next_key: AtomicU64::new(1),
            streams: DashMap::new(),
        }
    }

    /// A new session for `principal`, not yet to be found.
    pub(super) fn mint(&self, principal: &Principal) -> Arc<Session> {
        let id = session_id::mint(&self.keyring, principal);
        let key = SessionKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        Arc::new(Session::new(id, key, Owner::of(principal)))
    }

    /// From now on requests find the session.
    pub(super) fn insert(&self, session: Arc<Session>) {
        self.by_id.insert(session.id().to_owned(), session);
    }

    /// The session of that id, if it is this principal's.
    pub(super) fn find(&self, id: &str, principal: &Principal) -> Option<Arc<Session>> {
        if !session_id::belongs_to(&self.keyring, id, principal) {
            return None;
        }
        let session = self.by_id.get(id)?.clone();
        (!session.has_ended()).then_some(session)
    }

    pub(super) fn remove(&self, session: &Session) {
        self.by_id.remove(session.id());
    }

    /// A snapshot, for sweeps: no lock is held while the caller walks it.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.by_id
            .iter()
            .map(|entry| entry.value().clone())
            .collect()
    }

    /// Takes out the user's session that has been left alone longest, if there is one that nobody
    /// would miss.
    pub(super) fn spare(&self, principal: &Principal) -> Option<Arc<Session>> {
        let subject = &principal.identity.subject;
        let spare = self
            .all()
            .into_iter()
            .filter(|session| session.owner().subject == *subject)
            .filter(|session| session.idle_for() >= SPARE_AFTER)
            .max_by_key(|session| session.idle_for())?;
        self.remove(&spare);
        Some(spare)
    }

    /// A place among the listening streams of `principal`'s subject, if fewer than `limit` are
    /// taken.
    pub(super) fn stream_permit(
        &self,
        principal: &Principal,
        limit: usize,
    ) -> Option<StreamPermit> {
        let subject = principal.identity.subject.as_str();
        let open = self.streams.entry(subject.to_owned()).or_default().clone();
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < limit).then_some(open + 1)
        })
        .ok()?;
        Some(StreamPermit(open))
    }
}

/// A place among a subject's listening streams; dropping it frees the place.
pub(super) struct StreamPermit(Arc<AtomicUsize>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
