//! The brakes on guessing passwords: a few mistakes are free, then each costs twice the
//! wait of the one before, up to half a minute. Nobody is ever locked out for longer, and what one
//! network does slows down no other.
//!
//! Under a flood from everywhere, whoever failed lately waits the longest wait at once; whoever did
//! not still gets through. Pure state: the caller says what time it is.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Network;

/// Mistakes that cost nothing.
const FREE: u32 = 5;

/// No wait is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A network that kept quiet for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(15);

/// This many failures within [`FLOOD_WINDOW`] are a flood.
const FLOOD: usize = 50;
const FLOOD_WINDOW: Duration = Duration::from_mins(1);

/// Networks remembered, of some 50 bytes each; those beyond share one record.
const MAX_NETWORKS: usize = 50_000;

/// Looking through all of them takes time; a flood must not make it happen at every attempt.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Brakes {
    networks: HashMap<Source, Failures>,
    /// When the latest failures happened anywhere, at most [`FLOOD`] of them.
    latest: VecDeque<Instant>,
    pruned: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Network(Network),
    /// Everybody for whom there was no room.
    Others,
}

struct Failures {
    count: u32,
    last: Instant,
}

/// An attempt that is under way.
#[must_use]
pub(super) struct Attempt {
    source: Source,
}

impl Brakes {
    /// Lets an attempt begin, or says how long to wait. It counts as failed until [`Self::forgive`]
    /// says otherwise: a thousand attempts at once are a thousand, and hanging up early saves none.
    pub(super) fn admit(&mut self, network: Network, now: Instant) -> Result<Attempt, Duration> {
        let source = self.source(network, now);
        let flooded = self.is_flooded(now);
        let failures = self.networks.entry(source).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.duration_since(failures.last) >= FORGET_AFTER {
            failures.count = 0;
        }
        let wait = (failures.last + failures.wait(flooded)).saturating_duration_since(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        self.latest.push_back(now);
        if self.latest.len() > FLOOD {
            self.latest.pop_front();
        }
        Ok(Attempt { source })
    }

    /// Takes an attempt back that did not fail. Earlier failures stay: or somebody with a password
    /// of their own could wipe the slate between guesses at another's.
    pub(super) fn forgive(&mut self, attempt: &Attempt) {
        self.latest.pop_back();
        if let Some(failures) = self.networks.get_mut(&attempt.source) {
            failures.count = failures.count.saturating_sub(1);
        }
        if self
            .networks
            .get(&attempt.source)
            .is_some_and(|failures| failures.count == 0)
        {
            self.networks.remove(&attempt.source);
        }
    }

    fn source(&mut self, network: Network, now: Instant) -> Source {
        let source = Source::Network(network);
        if self.networks.len() < MAX_NETWORKS || self.networks.contains_key(&source) {
            return source;
        }
        self.prune(now);
        if self.networks.len() < MAX_NETWORKS {
            source
        } else {
            Source::Others
        }
    }

    fn prune(&mut self, now: Instant) {
        let due = |last| now.duration_since(last) >= PRUNE_INTERVAL;
        if self.pruned.is_none_or(due) {
            self.pruned = Some(now);
            self.networks
                .retain(|_, failures| now.duration_since(failures.last) < FORGET_AFTER);
        }
    }

    fn is_flooded(&self, now: Instant) -> bool {
        let full = self.latest.len() >= FLOOD;
        full && self
            .latest
            .front()
            .is_some_and(|first| now.duration_since(*first) < FLOOD_WINDOW)
    }
}

impl Failures {
    /// From the last failure on.
    fn wait(&self, flooded: bool) -> Duration {
        if flooded && self.count > 0 {
            return LONGEST_WAIT;
        }
        let Some(costly) = self.count.checked_sub(FREE) else {
            return Duration::ZERO;
        };
        let doubled = 1_u64.checked_shl(costly).unwrap_or(u64::MAX);
        Duration::from_secs(doubled).min(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn network(n: u32) -> Network {
        Network::of(IpAddr::from(n.to_be_bytes()))
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn fail(brakes: &mut Brakes, n: u32, now: Instant) -> Result<(), Duration> {
        brakes.admit(network(n), now).map(drop)
    }

    #[test]
    fn a068_five_failures_are_free_then_the_wait_doubles_up_to_half_a_minute() {
        let (mut brakes, mut now) = (Brakes::default(), Instant::now());
        for _ in 0..5 {
            assert_eq!(fail(&mut brakes, 1, now), Ok(()));
        }
        for wait in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(fail(&mut brakes, 1, now), Err(seconds(wait)));
            now += seconds(wait);
            assert_eq!(fail(&mut brakes, 1, now), Ok(()));
        }
    }

    #[test]
    fn a_refused_attempt_does_not_prolong_the_wait() {
        let (mut brakes, now) = (Brakes::default(), Instant::now());
        while fail(&mut brakes, 1, now).is_ok() {}
        for _ in 0..100 {
            assert_eq!(fail(&mut brakes, 1, now), Err(seconds(1)));
        }
        assert_eq!(fail(&mut brakes, 1, now + seconds(1)), Ok(()));
    }

    #[test]
    fn a068_a_hammering_network_slows_down_nobody_else() {
        let (mut brakes, mut now) = (Brakes::default(), Instant::now());
        for _ in 0..10_000 {
            let _ = fail(&mut brakes, 1, now);
            now += Duration::from_millis(10);
        }
        assert!(fail(&mut brakes, 1, now).is_err());
        assert_eq!(fail(&mut brakes, 2, now), Ok(()));
    }

    #[test]
    fn a068_in_a_flood_who_did_not_fail_lately_gets_through() {
        let (mut brakes, now) = (Brakes::default(), Instant::now());
        for n in 0..60 {
            assert_eq!(fail(&mut brakes, n, now), Ok(()));
        }
        assert_eq!(fail(&mut brakes, 7, now), Err(seconds(30)));
        assert_eq!(fail(&mut brakes, 1000, now), Ok(()));
        assert_eq!(fail(&mut brakes, 7, now + seconds(30)), Ok(()));
        // The flood is over: the five free ones count again.
        assert_eq!(fail(&mut brakes, 8, now + seconds(61)), Ok(()));
        assert_eq!(fail(&mut brakes, 8, now + seconds(61)), Ok(()));
    }

    #[test]
    fn success_costs_nothing_but_does_not_wipe_the_slate() {
        let (mut brakes, now) = (Brakes::default(), Instant::now());
        for _ in 0..200 {
            let attempt = brakes.admit(network(1), now).unwrap();
            brakes.forgive(&attempt);
        }
        assert!(brakes.networks.is_empty() && brakes.latest.is_empty());
        for _ in 0..4 {
            fail(&mut brakes, 1, now).unwrap();
        }
        let attempt = brakes.admit(network(1), now).unwrap();
        brakes.forgive(&attempt);
        fail(&mut brakes, 1, now).unwrap();
        assert_eq!(fail(&mut brakes, 1, now), Err(seconds(1)));
    }

    #[test]
    fn a_quiet_network_is_forgotten() {
        let (mut brakes, now) = (Brakes::default(), Instant::now());
        while fail(&mut brakes, 1, now).is_ok() {}
        let later = now + FORGET_AFTER;
        for _ in 0..5 {
            assert_eq!(fail(&mut brakes, 1, later), Ok(()));
        }
    }

    #[test]
    fn any_number_of_networks_fits_into_bounded_memory() {
        let (mut brakes, now) = (Brakes::default(), Instant::now());
        for n in 0..60_000 {
            let _ = fail(&mut brakes, n, now);
        }
        assert_eq!(brakes.networks.len(), MAX_NETWORKS + 1);
        assert!(brakes.latest.len() <= FLOOD);
        fail(&mut brakes, 99_999, now + FORGET_AFTER).unwrap();
        assert_eq!(brakes.networks.len(), 1);
    }

    proptest! {
        #[test]
        fn nobody_ever_waits_longer_than_half_a_minute(steps in prop::collection::vec((0_u32..8, 0_u64..40_000), 1..300)) {
            let (mut brakes, mut now) = (Brakes::default(), Instant::now());
            for (n, pause) in steps {
                now += Duration::from_millis(pause);
                if let Err(wait) = fail(&mut brakes, n, now) {
                    prop_assert!(wait <= LONGEST_WAIT);
                    prop_assert_eq!(fail(&mut brakes, n, now + wait), Ok(()));
                    now += wait;
                }
            }
        }
    }
}
