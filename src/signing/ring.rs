//! Which key signs when: a table of keys and the moments from which they sign. Pure; the clock and
//! the store are the caller's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::crypto::{Keyring, PublicKey, SigningKey};

/// How old a key is when the next one is made.
const REPLACED_AFTER: Duration = Duration::from_hours(29 * 24);
/// How long a key is published before it signs, and after it has ceased to. Everybody who keeps the
/// published keys for an hour as told, and every guard that looks into the store every few minutes,
/// knows a key long before it sees its signature; and an assertion outlives its making by a minute.
const OVERLAP: Duration = Duration::from_hours(24);

/// All keys that are published, in the order of their turns. Never without one.
pub(super) struct Ring {
    oldest: Turn,
    younger: Vec<Turn>,
}

/// A key and when it signs: from then on until the next one does.
struct Turn {
    key: SigningKey,
    entry: Entry,
}

/// A key as it lies in the store.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    kid: String,
    sealed: String,
    signs_from: Timestamp,
}

impl Ring {
    /// A first key, which signs at once: nobody knows any other.
    pub(super) fn begin(keyring: &Keyring, now: Timestamp) -> Self {
        Self {
            oldest: Turn::fresh(keyring, now),
            younger: Vec::new(),
        }
    }

    /// The stored keys that this keyring opens; `None` if there are none.
    pub(super) fn unseal(keyring: &Keyring, entries: Vec<Entry>) -> Option<Self> {
        let open = |entry: Entry| {
            let key = SigningKey::unseal(keyring, &entry.kid, &entry.sealed)?;
            Some(Turn { key, entry })
        };
        let mut turns: Vec<Turn> = entries.into_iter().filter_map(open).collect();
        turns.sort_by_key(|turn| turn.entry.signs_from);
        let mut turns = turns.into_iter();
        Some(Self {
            oldest: turns.next()?,
            younger: turns.collect(),
        })
    }

    /// Lets time take its toll: drops keys whose signatures have all expired, and makes the next one
    /// when it is due. Whether anything changed.
    pub(super) fn turn(&mut self, keyring: &Keyring, now: Timestamp) -> bool {
        let mut changed = false;
        while let Some(next) = self.younger.first()
            && next.entry.signs_from.after(OVERLAP) <= now
        {
            self.oldest = self.younger.remove(0);
            changed = true;
        }
        let youngest = self.younger.last().unwrap_or(&self.oldest);
        if youngest.entry.signs_from.after(REPLACED_AFTER) <= now {
            let next = Turn::fresh(keyring, now.after(OVERLAP));
            self.younger.push(next);
            changed = true;
        }
        changed
    }

    /// The key whose turn it is. Before all turns, as when the clock was set back, the oldest.
    pub(super) fn current(&self, now: Timestamp) -> &SigningKey {
        let begun = |turn: &&Turn| turn.entry.signs_from <= now;
        let turn = self.younger.iter().rev().find(begun);
        &turn.unwrap_or(&self.oldest).key
    }

    /// What is published.
    pub(super) fn public(&self) -> impl Iterator<Item = &PublicKey> {
        self.turns().map(|turn| turn.key.public())
    }

    /// What is stored.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.turns().map(|turn| &turn.entry)
    }

    fn turns(&self) -> impl Iterator<Item = &Turn> {
        std::iter::once(&self.oldest).chain(&self.younger)
    }
}

impl Turn {
    fn fresh(keyring: &Keyring, signs_from: Timestamp) -> Self {
        let (key, sealed) = SigningKey::generate(keyring);
        let kid = key.public().kid.clone();
        Self {
            key,
            entry: Entry {
                kid,
                sealed,
                signs_from,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the JWKS tells consumers to keep it for.
    const CACHED: Duration = Duration::from_hours(1);
    const STEP: Duration = Duration::from_mins(20);

    fn kids(ring: &Ring) -> Vec<String> {
        ring.public().map(|key| key.kid.clone()).collect()
    }

    #[test]
    fn whoever_keeps_the_keys_for_an_hour_never_meets_an_unknown_one() {
        let keyring = Keyring::ephemeral();
        let mut now = Timestamp(1_700_000_000_000);
        let mut ring = Ring::begin(&keyring, now);
        let mut published = vec![(now, kids(&ring))];
        let mut signers = Vec::new();
        for _ in 0..(100 * 24 * 3) {
            now = now.after(STEP);
            ring.turn(&keyring, now);
            published.push((now, kids(&ring)));
            published.retain(|(at, _)| now.since(*at) <= CACHED);
            let signer = &ring.current(now).public().kid;
            assert!(published.iter().all(|(_, known)| known.contains(signer)));
            assert!(published.iter().all(|(_, known)| known.len() <= 2));
            if signers.last() != Some(signer) {
                signers.push(signer.clone());
            }
        }
        assert_eq!(signers.len(), 4, "a hundred days, thirty each");
    }

    #[test]
    fn a_key_is_published_until_its_last_signature_has_expired() {
        let keyring = Keyring::ephemeral();
        let start = Timestamp(1_700_000_000_000);
        let mut ring = Ring::begin(&keyring, start);
        let first = ring.current(start).public().kid.clone();
        ring.turn(&keyring, start.after(REPLACED_AFTER));
        let change = start.after(REPLACED_AFTER).after(OVERLAP);
        assert_eq!(ring.current(Timestamp(change.0 - 1)).public().kid, first);
        assert_ne!(ring.current(change).public().kid, first);

        ring.turn(&keyring, change.after(Duration::from_mins(2)));
        assert!(kids(&ring).contains(&first));
        ring.turn(&keyring, change.after(OVERLAP));
        assert!(!kids(&ring).contains(&first));
    }

    #[test]
    fn after_a_long_rest_the_known_key_signs_until_the_next_is_known_too() {
        let keyring = Keyring::ephemeral();
        let start = Timestamp(1_700_000_000_000);
        let mut ring = Ring::begin(&keyring, start);
        let first = ring.current(start).public().kid.clone();
        let late = start.after(Duration::from_hours(400 * 24));
        assert!(ring.turn(&keyring, late));
        assert_eq!(ring.current(late).public().kid, first);
        assert_ne!(ring.current(late.after(OVERLAP)).public().kid, first);
        assert!(!ring.turn(&keyring, late.after(CACHED)));
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_a_key_to_sign_with() {
        let keyring = Keyring::ephemeral();
        let ring = Ring::begin(&keyring, Timestamp(1_700_000_000_000));
        let kid = &ring.current(Timestamp(0)).public().kid;
        assert_eq!(kids(&ring), std::slice::from_ref(kid));
    }
}
