//! Which sessions on a shared wire asked for updates of which resource.

use std::collections::{HashMap, HashSet};

use super::SessionKey;

/// Resources that one session may follow; a server's updates of further ones do not reach it.
const PER_SESSION: usize = 1000;

#[derive(Default)]
pub(super) struct Subscriptions {
    sessions: HashMap<SessionKey, HashSet<String>>,
}

impl Subscriptions {
    pub(super) fn add(&mut self, session: SessionKey, uri: String) {
        let uris = self.sessions.entry(session).or_default();
        if uris.len() < PER_SESSION {
            uris.insert(uri);
        }
    }

    /// Whether this was the last one: only then may the child hear of it.
    pub(super) fn remove(&mut self, session: SessionKey, uri: &str) -> bool {
        if let Some(uris) = self.sessions.get_mut(&session) {
            uris.remove(uri);
        }
        self.followers(uri).next().is_none()
    }

    pub(super) fn forget(&mut self, session: SessionKey) {
        self.sessions.remove(&session);
    }

    pub(super) fn followers(&self, uri: &str) -> impl Iterator<Item = SessionKey> {
        let follows = move |uris: &HashSet<String>| uris.contains(uri);
        self.sessions
            .iter()
            .filter(move |(_, uris)| follows(uris))
            .map(|(session, _)| *session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_one_sessions_own() {
        let mut subscriptions = Subscriptions::default();
        let [ada, bob] = [SessionKey(1), SessionKey(2)];
        subscriptions.add(ada, "a:1".into());
        subscriptions.add(bob, "a:1".into());
        subscriptions.add(bob, "a:2".into());
        assert_eq!(subscriptions.followers("a:2").collect::<Vec<_>>(), [bob]);
        assert!(!subscriptions.remove(ada, "a:1"));
        subscriptions.forget(bob);
        assert_eq!(subscriptions.followers("a:1").count(), 0);
        assert!(subscriptions.remove(ada, "a:1"));
    }

    #[test]
    fn one_session_follows_a_bounded_number() {
        let mut subscriptions = Subscriptions::default();
        for number in 0..2 * PER_SESSION {
            subscriptions.add(SessionKey(1), number.to_string());
        }
        assert_eq!(subscriptions.sessions[&SessionKey(1)].len(), PER_SESSION);
    }
}
