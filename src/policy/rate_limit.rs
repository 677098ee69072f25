//! A token bucket per network or user, bounded in the number that it remembers.
//!
//! A bucket that has filled up again is as good as forgotten, and is forgotten. Where too many are
//! not full, everybody shares one bucket until some are: memory is bounded whatever strangers do.
//!
//! A check takes a shard's lock for reading and no other: it stands on the way of every call.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::Network;
use crate::telemetry::metrics::Counter;

/// The slowest rate there is: one a day.
const SLOWEST: Duration = Duration::from_hours(24);

/// Looking through all buckets takes time; a flood must not make it happen at every request.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// To count the buckets looks at every shard, so it is not done at every check.
const COUNT_INTERVAL: usize = 64;

/// A limit on how often each network, or whatever else `K` stands for, may do something. `C` differs
/// from the system's monotonic clock in tests only.
pub struct RateLimit<K = Network, C = MonotonicClock>
where
    K: Clone + Eq + Hash,
    C: Clock,
{
    clock: C,
    buckets: RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<C::Instant>>,
    shared: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    max_keys: usize,
    checks: AtomicUsize,
    is_crowded: AtomicBool,
    pruned: Mutex<Option<C::Instant>>,
    refused: Counter,
}

impl<K: Clone + Eq + Hash> RateLimit<K> {
    /// At most `burst` at once (at least one) and `per_second` in the long run, for each key; a
    /// fraction means less than one a second, and nothing is slower than one a day. About `max_keys`
    /// are remembered.
    pub fn new(burst: u32, per_second: f64, max_keys: usize) -> Self {
        Self::with_clock(burst, per_second, max_keys, MonotonicClock)
    }
}

impl<C: Clock + Clone> RateLimit<Network, C> {
    /// Counts one more from this address; if that is one too many, how long until it would not be.
    pub fn check(&self, ip: IpAddr) -> Result<(), Duration> {
        self.check_key(&Network::of(ip))
    }
}

impl<K: Clone + Eq + Hash, C: Clock + Clone> RateLimit<K, C> {
    fn with_clock(burst: u32, per_second: f64, max_keys: usize, clock: C) -> Self {
        let quota = quota(burst, per_second);
        Self {
            buckets: RateLimiter::dashmap_with_clock(quota, clock.clone()),
            shared: RateLimiter::direct_with_clock(quota, clock.clone()),
            max_keys,
            checks: AtomicUsize::new(0),
            is_crowded: AtomicBool::new(false),
            pruned: Mutex::new(None),
            refused: Counter::default(),
            clock,
        }
    }

    /// Counts one more for this key; if that is one too many, how long until it would not be.
    pub fn check_key(&self, key: &K) -> Result<(), Duration> {
        let checked = if self.has_room() {
            self.buckets.check_key(key)
        } else {
            self.shared.check()
        };
        checked.map_err(|refusal| {
            self.refused.count();
            refusal.wait_time_from(self.clock.now())
        })
    }

    /// How often it was one too many.
    pub fn refused(&self) -> u64 {
        self.refused.total()
    }

    fn has_room(&self) -> bool {
        let interval = (self.max_keys / 8).clamp(1, COUNT_INTERVAL);
        let checks = self.checks.fetch_add(1, Ordering::Relaxed);
        if checks.is_multiple_of(interval) {
            if self.buckets.len() >= self.max_keys {
                self.prune();
            }
            let is_crowded = self.buckets.len() >= self.max_keys;
            self.is_crowded.store(is_crowded, Ordering::Relaxed);
        }
        !self.is_crowded.load(Ordering::Relaxed)
    }

    fn prune(&self) {
        let now = self.clock.now();
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |last: C::Instant| now >= last + PRUNE_INTERVAL.into();
        if pruned.is_none_or(due) {
            *pruned = Some(now);
            drop(pruned);
            self.buckets.retain_recent();
        }
    }
}

fn quota(burst: u32, per_second: f64) -> Quota {
    // `max` also turns what is not a number into a number.
    let interval = Duration::try_from_secs_f64(per_second.max(0.0).recip())
        .unwrap_or(SLOWEST)
        .clamp(Duration::from_nanos(1), SLOWEST);
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(interval)
        .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
        .allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limit(max_keys: usize) -> (RateLimit<Network, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (
            RateLimit::with_clock(3, 0.1, max_keys, clock.clone()),
            clock,
        )
    }

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_burst_passes_and_what_follows_waits() {
        let (limit, clock) = limit(100);
        for _ in 0..3 {
            assert_eq!(limit.check(ip(1)), Ok(()));
        }
        assert_eq!(limit.check(ip(1)), Err(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(10));
        assert_eq!(limit.check(ip(1)), Ok(()));
        assert_eq!(limit.check(ip(1)), Err(Duration::from_secs(10)));
    }

    #[test]
    fn one_network_does_not_spend_anothers_share() {
        let (limit, _) = limit(100);
        while limit.check(ip(1)).is_ok() {}
        assert_eq!(limit.check(ip(2)), Ok(()));
        let neighbours = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];
        let passed = neighbours
            .iter()
            .filter(|ip| limit.check(ip.parse().unwrap()).is_ok());
        assert_eq!(passed.count(), 3);
    }

    #[test]
    fn rotating_addresses_cost_no_memory_and_gain_nothing() {
        let (limit, clock) = limit(10);
        let passed = (0..=255).filter(|n| limit.check(ip(*n)).is_ok()).count();
        assert_eq!(passed, 10 + 3);
        assert_eq!(limit.buckets.len(), 10);
        clock.advance(Duration::from_mins(1));
        assert_eq!(limit.check(ip(99)), Ok(()));
        assert_eq!(limit.buckets.len(), 1);
    }

    #[test]
    fn a_large_limit_remembers_hardly_more_than_it_should() {
        let (limit, _) = limit(1000);
        let networks = (0..100_000_u32).map(|n| IpAddr::from((n + (10 << 24)).to_be_bytes()));
        assert!(networks.filter(|ip| limit.check(*ip).is_ok()).count() < 1000 + 2 * COUNT_INTERVAL);
        assert!(limit.buckets.len() < 1000 + COUNT_INTERVAL);
    }

    #[test]
    fn senseless_rates_are_slow_ones() {
        for rate in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY, 1e-300] {
            assert_eq!(quota(0, rate).replenish_interval(), SLOWEST, "{rate}");
        }
        assert_eq!(
            quota(0, 4.0).replenish_interval(),
            Duration::from_millis(250)
        );
        assert_eq!(quota(0, f64::INFINITY).burst_size(), NonZeroU32::MIN);
    }

    #[test]
    fn the_systems_clock_serves_as_well() {
        let limit = RateLimit::<Network>::new(1, 0.001, 10);
        assert_eq!(limit.check(ip(1)), Ok(()));
        let wait = limit.check(ip(1)).unwrap_err();
        assert!(
            wait > Duration::from_mins(15) && wait <= Duration::from_secs(1000),
            "{wait:?}"
        );
    }
}
