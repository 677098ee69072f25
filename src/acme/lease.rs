//! One issuer at a time: a record that expires, which its holder keeps alive. A holder that dies
//! leaves it behind for a minute.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval_at};

use crate::clock::{Clock, Timestamp};
use crate::crypto::random;
use crate::store::{Store, StoreError, Version};

/// A lease that nobody renews is free after this.
const LIFE: Duration = Duration::from_mins(1);
/// Two renewals may fail.
const RENEWAL: Duration = Duration::from_secs(20);

/// Held until it is given up or lost.
pub(super) struct Lease {
    store: Store,
    clock: Clock,
    key: String,
    version: Version,
    expires_at: Timestamp,
}

impl Lease {
    /// `None` if somebody holds it. Whoever gets it looks again whether the work is still to be
    /// done: somebody may just have done it.
    pub(super) async fn take(
        store: &Store,
        clock: &Clock,
        key: String,
    ) -> Result<Option<Self>, StoreError> {
        let expires_at = clock.now().after(LIFE);
        let holder = random::id().into_bytes();
        let version = store.create(&key, holder, Some(expires_at)).await?;
        Ok(version.map(|version| Self {
            store: store.clone(),
            clock: clock.clone(),
            key,
            version,
            expires_at,
        }))
    }

    /// Whether somebody holds it.
    pub(super) async fn is_held(store: &Store, key: &str) -> Result<bool, StoreError> {
        Ok(store.get(key).await?.is_some())
    }

    /// Keeps it alive for as long as this is polled; returns when it is lost.
    pub(super) async fn keep(&mut self) {
        let mut renewals = interval_at(tokio::time::Instant::now() + RENEWAL, RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            match self.renew().await {
                Ok(true) => {}
                // Nobody else can take it while the store is away, until it has expired.
                Err(_) if self.clock.now() < self.expires_at => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    async fn renew(&mut self) -> Result<bool, StoreError> {
        let expires_at = self.clock.now().after(LIFE);
        let holder = random::id().into_bytes();
        let renewed = self
            .store
            .swap(&self.key, self.version, holder, Some(expires_at))
            .await?;
        let Some(version) = renewed else {
            return Ok(false);
        };
        (self.version, self.expires_at) = (version, expires_at);
        Ok(true)
    }

    /// Lets others have it. Does nothing to a lease that somebody else holds by now.
    pub(super) async fn give_up(self) {
        let now = Some(self.clock.now());
        // If it fails, the lease expires by itself.
        let _ = self
            .store
            .swap(&self.key, self.version, Vec::new(), now)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(store: &Store, clock: &Clock) -> Option<Lease> {
        Lease::take(store, clock, "lease".into()).await.unwrap()
    }

    fn store() -> (Store, Clock) {
        let clock = Clock::system();
        (Store::memory(clock.clone()), clock)
    }

    #[tokio::test]
    async fn r20_one_holds_it_until_it_is_given_up() {
        let (store, clock) = store();
        let held = take(&store, &clock).await.unwrap();
        assert!(take(&store, &clock).await.is_none());
        assert!(Lease::is_held(&store, "lease").await.unwrap());
        held.give_up().await;
        assert!(!Lease::is_held(&store, "lease").await.unwrap());
        assert!(take(&store, &clock).await.is_some());
    }

    #[tokio::test]
    async fn r20_what_a_crash_leaves_behind_is_free_after_a_minute() {
        let (store, clock) = store();
        let crashed = take(&store, &clock).await.unwrap();
        clock.advance(LIFE);
        let held = take(&store, &clock).await.unwrap();
        crashed.give_up().await;
        assert!(take(&store, &clock).await.is_none());
        held.give_up().await;
    }

    #[tokio::test(start_paused = true)]
    async fn r20_it_lives_while_it_is_kept_and_whoever_lost_it_is_told() {
        let (store, clock) = store();
        let mut held = take(&store, &clock).await.unwrap();
        for _ in 0..10 {
            clock.advance(RENEWAL);
            let kept = tokio::time::timeout(RENEWAL + Duration::from_secs(1), held.keep()).await;
            assert!(kept.is_err());
            assert!(take(&store, &clock).await.is_none());
        }
        clock.advance(LIFE);
        let _other = take(&store, &clock).await.unwrap();
        held.keep().await;
    }
}
