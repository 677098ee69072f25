//! All sessions of one endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use dashmap::DashMap;

use super::super::places::Places;
use super::session::{Owner, Session};
use super::session_id;
use crate::crypto::Keyring;
use crate::resource::{Principal, Transport};
use crate::upstream::SessionKey;

/// Sessions of one subject. Under session isolation the limits on children come first.
const MAX_PER_USER: usize = 4096;

/// How long a session must have been left alone before it may make room for a new one of the same
/// user. Clients that open a session per conversation and never end one would otherwise lock
/// themselves out for the whole idle timeout.
const SPARE_AFTER: Duration = Duration::from_mins(1);

/// Sessions by id.
pub(super) struct Sessions {
    keyring: Keyring,
    by_id: DashMap<String, Arc<Session>>,
    next_key: AtomicU64,
    places: Places,
}

impl Sessions {
    pub(super) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            by_id: DashMap::new(),
            next_key: AtomicU64::new(1),
            places: Places::default(),
        }
    }

    /// A new session for `principal`, not yet to be found; `None` if its subject has too many.
    pub(super) fn mint(&self, principal: &Principal, transport: Transport) -> Option<Arc<Session>> {
        let subject = &principal.identity.subject;
        let place = self.places.take(subject, MAX_PER_USER)?;
        let id = session_id::mint(&self.keyring, principal);
        let key = SessionKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        let owner = Owner::of(principal);
        Some(Arc::new(Session::new(id, key, owner, transport, place)))
    }

    /// From now on requests find the session.
    pub(super) fn insert(&self, session: Arc<Session>) {
        self.by_id.insert(session.id().to_owned(), session);
    }

    /// The session of that id, if it is this principal's and was opened by that transport.
    pub(super) fn find(
        &self,
        id: &str,
        principal: &Principal,
        transport: Transport,
    ) -> Option<Arc<Session>> {
        if !session_id::belongs_to(&self.keyring, id, principal) {
            return None;
        }
        let session = self.by_id.get(id)?.clone();
        (!session.has_ended() && session.transport() == transport).then_some(session)
    }

    /// The thread where requests to a session are served fastest. The id is not checked: this is no
    /// answer to anybody.
    pub(super) fn home(&self, id: &str) -> Option<ThreadId> {
        self.by_id.get(id)?.home()
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
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
            .filter(|session| session.owner().identity.subject == *subject)
            .filter(|session| session.idle_for() >= SPARE_AFTER)
            .max_by_key(|session| session.idle_for())?;
        self.remove(&spare);
        Some(spare)
    }
}
