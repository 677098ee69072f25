//! How many children there may be, and when the next one may start after crashes.
//! No I/O: counts and rules only.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::JoinError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A child that lived this long has shown that starting it works.
const HEALTHY: Duration = Duration::from_mins(1);
/// Failures are forgotten when there was no further one for this long: more than the longest pause
/// with the longest life that still counts as a crash.
const FORGOTTEN: Duration = Duration::from_mins(2);
/// Accounts beyond this many are looked through for some to forget.
const MANY: usize = 1024;

/// Counts children, in all and by subject.
pub(super) struct Quota {
    limit: usize,
    limit_each: usize,
    alive: usize,
    accounts: HashMap<String, Account>,
}

#[derive(Default)]
struct Account {
    alive: usize,
    failures: u32,
    failed_at: Option<Instant>,
}

/// How a child's life went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) crashed: bool,
    pub(super) lived: Duration,
}

impl Quota {
    pub(super) fn new(limit: usize, limit_each: usize) -> Self {
        Self {
            limit,
            limit_each,
            alive: 0,
            accounts: HashMap::new(),
        }
    }

    pub(super) const fn alive(&self) -> usize {
        self.alive
    }

    pub(super) const fn is_full(&self) -> bool {
        self.alive >= self.limit
    }

    /// Counts one more child, from before it is started.
    pub(super) fn take(&mut self, subject: &str, now: Instant) -> Result<(), JoinError> {
        if self.is_full() {
            return Err(JoinError::Full);
        }
        if self.accounts.len() >= MANY {
            self.accounts
                .retain(|_, account| account.is_worth_keeping(now));
        }
        let account = self.accounts.entry(subject.to_owned()).or_default();
        if account.alive >= self.limit_each {
            return Err(JoinError::Full);
        }
        if let Some(pause) = account.pause(now) {
            return Err(JoinError::BackingOff(pause));
        }
        account.alive += 1;
        self.alive += 1;
        Ok(())
    }

    /// The child is gone, its process reaped.
    pub(super) fn give_back(&mut self, subject: &str, ending: Ending, now: Instant) {
        self.alive = self.alive.saturating_sub(1);
        let Some(account) = self.accounts.get_mut(subject) else {
            return;
        };
        account.alive = account.alive.saturating_sub(1);
        account.record(ending, now);
        if !account.is_worth_keeping(now) {
            self.accounts.remove(subject);
        }
    }
}

impl Account {
    fn record(&mut self, ending: Ending, now: Instant) {
        if ending.lived >= HEALTHY || self.is_forgiven(now) {
            self.failures = 0;
        }
        if ending.crashed {
            self.failures = self.failures.saturating_add(1);
            self.failed_at = Some(now);
        }
    }

    /// How long until the next start: 0.1 s after the first failure, doubled by each further one.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let factor = 1u32.checked_shl(self.failures.checked_sub(1)?);
        let pause = factor.and_then(|factor| FIRST_PAUSE.checked_mul(factor));
        let pause = pause.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        let passed = now.saturating_duration_since(self.failed_at?);
        pause.checked_sub(passed).filter(|left| !left.is_zero())
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        self.failed_at
            .is_none_or(|at| now.saturating_duration_since(at) >= FORGOTTEN)
    }

    fn is_worth_keeping(&self, now: Instant) -> bool {
        self.alive > 0 || (self.failures > 0 && !self.is_forgiven(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CRASH: Ending = Ending {
        crashed: true,
        lived: Duration::from_millis(5),
    };
    const FINE: Ending = Ending {
        crashed: false,
        lived: Duration::from_secs(5),
    };

    #[test]
    fn a128_one_user_cannot_take_what_is_left_for_others() {
        let now = Instant::now();
        let mut quota = Quota::new(8, 4);
        let taken = (0..1000).filter(|_| quota.take("ada", now).is_ok()).count();
        assert_eq!(taken, 4);
        assert_eq!(quota.take("bob", now), Ok(()));
        quota.give_back("ada", FINE, now);
        assert_eq!(quota.take("ada", now), Ok(()));
        let others = (0..9).filter(|n| quota.take(&n.to_string(), now).is_ok());
        assert_eq!(others.count(), 3);
        assert_eq!(quota.alive(), 8);
    }

    #[test]
    fn a137_every_crash_doubles_the_pause_up_to_half_a_minute() {
        let mut now = Instant::now();
        let mut quota = Quota::new(8, 4);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            assert_eq!(quota.take("ada", now), Ok(()));
            quota.give_back("ada", CRASH, now);
            let Err(JoinError::BackingOff(pause)) = quota.take("ada", now) else {
                panic!("there is a pause after a crash");
            };
            assert_eq!(quota.take("bob", now), Ok(()));
            quota.give_back("bob", FINE, now);
            pauses.push(pause);
            now += pause;
        }
        assert_eq!(pauses[..3], [1, 2, 4].map(|n| FIRST_PAUSE * n));
        assert_eq!(pauses[39], LONGEST_PAUSE);
    }

    #[test]
    fn a_healthy_minute_or_a_long_time_makes_up_for_crashes() {
        let now = Instant::now();
        let mut quota = Quota::new(8, 4);
        let crash = |quota: &mut Quota, lived, now| {
            quota.take("ada", now).unwrap();
            quota.give_back("ada", Ending { lived, ..CRASH }, now);
            quota.accounts["ada"].failures
        };
        assert_eq!(crash(&mut quota, CRASH.lived, now), 1);
        let now = now + FIRST_PAUSE;
        assert_eq!(crash(&mut quota, CRASH.lived, now), 2);
        let now = now + LONGEST_PAUSE;
        assert_eq!(crash(&mut quota, HEALTHY, now), 1);
        let now = now + FORGOTTEN;
        assert_eq!(crash(&mut quota, CRASH.lived, now), 1);
    }

    #[test]
    fn accounts_without_a_story_are_forgotten() {
        let now = Instant::now();
        let mut quota = Quota::new(8, 4);
        for user in 0..3 * MANY {
            quota.take(&user.to_string(), now).unwrap();
            quota.give_back(&user.to_string(), FINE, now);
        }
        assert!(quota.accounts.is_empty());
    }

    proptest! {
        #[test]
        fn the_counts_always_agree(moves in prop::collection::vec((0..6u8, any::<bool>()), 0..200)) {
            let now = Instant::now();
            let mut quota = Quota::new(7, 3);
            let mut held: Vec<u8> = Vec::new();
            for (user, takes) in moves {
                if takes && quota.take(&user.to_string(), now).is_ok() {
                    held.push(user);
                } else if let Some(at) = held.iter().position(|holder| *holder == user) {
                    held.swap_remove(at);
                    quota.give_back(&user.to_string(), FINE, now);
                }
                prop_assert_eq!(quota.alive(), held.len());
                prop_assert!(held.len() <= 7);
                let of = |user| held.iter().filter(move |holder| **holder == user);
                prop_assert!((0..6).all(|user| of(user).nth(3).is_none()));
            }
        }
    }
}
