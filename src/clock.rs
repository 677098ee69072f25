//! Wall-clock time for everything that expires. Timers use tokio's monotonic clock instead.
//!
//! The clock is a value and not a global so that a test can let a month pass: every part that
//! compares an expiry with "now" is given the same [`Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This instant plus `duration`, at most the end of time.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How long from `earlier` until this instant; zero if `earlier` is later, as it is when the
    /// system's clock was set back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch, the unit of OAuth's `client_id_issued_at` (RFC 7591 §3.2.1).
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// Tells the time. Clones share one clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
    stands_at: Option<Timestamp>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that nothing moves but [`Self::advance`]. For tests in which two things happen at once,
    /// at the very end of a duration.
    pub fn standing() -> Self {
        let system = Self::system();
        Self {
            stands_at: Some(system.now()),
            ..system
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let from = self.stands_at.unwrap_or_else(of_the_system);
        Timestamp(
            from.0
                .saturating_add_signed(self.offset.load(Ordering::Relaxed)),
        )
    }

    /// Moves this clock, and all its clones, forward. For tests that let time pass.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.offset.fetch_add(by, Ordering::Relaxed);
    }
}

fn of_the_system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, millis))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_yields_no_negative_age() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }

    #[test]
    fn a_standing_clock_is_moved_by_hand_alone() {
        let clock = Clock::standing();
        let before = clock.now();
        while Clock::system().now() <= before {
            std::thread::yield_now();
        }
        assert_eq!(clock.now(), before);
        clock.advance(Duration::from_millis(1));
        assert_eq!(clock.now().since(before), Duration::from_millis(1));
    }

    #[test]
    fn advancing_moves_every_clone() {
        let clock = Clock::system();
        let twin = clock.clone();
        let before = twin.now();
        clock.advance(Duration::from_hours(1));
        assert!(twin.now().since(before) >= Duration::from_hours(1));
    }
}
