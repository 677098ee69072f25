//! When to renew, and when to try again. Nothing but arithmetic: who asks says what time it is, and
//! brings the dice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::crypto::random;

/// Minutes until the next attempt after the first failure, the second, and so on; the last one
/// repeats. Half of the attempts of a day lie in its first hour, when somebody is watching.
const PAUSES: [u64; 19] = [
    1, 2, 2, 5, 10, 10, 10, 20, 20, 20, 30, 30, 60, 60, 120, 120, 180, 180, 360,
];

/// Part of a pause that chance may add to it: guards that failed together do not come back together.
const SPREAD: f64 = 0.1;

/// Where in a certificate's life it is renewed unless the CA says otherwise. The last third is there
/// for attempts that fail.
const RENEWAL: (f64, f64) = (0.6, 2.0 / 3.0);

/// However late the CA wants it: what is left then is needed for attempts that fail.
const LATEST: f64 = 0.9;

/// However early the CA wants it: the least part of a life, up to [`QUICKEST`], before a successor.
/// It also stands between a CA that always says "now" and an order a second.
const EARLIEST: f64 = 0.1;
const QUICKEST: Duration = Duration::from_hours(6);

/// Bounds on how soon a CA may be asked about a renewal again (RFC 9773 §4.3.2).
const ASK_AGAIN: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));

/// A throw of the dice: at least 0, at most 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance(f64);

impl Chance {
    pub(super) fn draw() -> Self {
        let drawn = u32::from_ne_bytes(random::bytes());
        Self(f64::from(drawn) / f64::from(u32::MAX))
    }

    fn between(self, low: f64, high: f64) -> f64 {
        self.0.mul_add(high - low, low)
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn pause(failures: u32, chance: Chance) -> Duration {
    let step = usize::try_from(failures).unwrap_or(usize::MAX);
    let [.., longest] = PAUSES;
    let minutes = PAUSES.get(step.saturating_sub(1)).unwrap_or(&longest);
    Duration::from_mins(*minutes).mul_f64(chance.between(1.0, 1.0 + SPREAD))
}

/// When to ask the CA again, which wants it so.
pub(super) fn ask_again(now: Timestamp, wanted: Duration) -> Timestamp {
    let (least, most) = ASK_AGAIN;
    now.after(wanted.clamp(least, most))
}

/// The time that a certificate is of use to us: from when we have it until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// When a CA would like a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Life {
    /// When to renew if the CA has no opinion. A matter of the life's length, not of days: there
    /// are certificates of six days, and in tests of two minutes.
    pub(super) fn renewal(self, chance: Chance) -> Timestamp {
        let (low, high) = RENEWAL;
        self.at(chance.between(low, high))
    }

    /// When to renew in the CA's opinion: `planned` if it may stay, else somewhere in the window, so
    /// that the CA's clients do not come all at once. An absurd window is none, or is overridden.
    pub(super) fn renewal_within(
        self,
        window: Window,
        planned: Timestamp,
        chance: Chance,
    ) -> Timestamp {
        let length = window.end.since(window.start);
        if length.is_zero() {
            return self.renewal(chance);
        }
        let instant = if window.start <= planned && planned <= window.end {
            planned
        } else {
            window.start.after(length.mul_f64(chance.between(0.0, 1.0)))
        };
        instant.max(self.earliest()).min(self.at(LATEST))
    }

    /// No order is made sooner than this after the one that brought the certificate.
    pub(super) fn earliest(self) -> Timestamp {
        self.at(EARLIEST).min(self.start.after(QUICKEST))
    }

    /// When to ask the CA again that did not answer.
    pub(super) fn ask_again(self, now: Timestamp) -> Timestamp {
        ask_again(now, self.length().mul_f64(0.05).min(QUICKEST))
    }

    fn at(self, part: f64) -> Timestamp {
        self.start.after(self.length().mul_f64(part))
    }

    fn length(self) -> Duration {
        self.end.since(self.start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const LEAST: Chance = Chance(0.0);
    const MOST: Chance = Chance(1.0);
    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn life(length: Duration) -> Life {
        Life {
            start: START,
            end: START.after(length),
        }
    }

    fn hours(instant: Timestamp) -> u64 {
        instant.since(START).as_secs() / 3600
    }

    #[test]
    fn a146_pauses_grow_from_a_minute_to_six_hours() {
        let minutes = |failures| pause(failures, LEAST).as_secs() / 60;
        let first: Vec<u64> = (1..=8).map(minutes).collect();
        assert_eq!(first, [1, 2, 2, 5, 10, 10, 10, 20]);
        assert!((1..40).all(|failures| minutes(failures) <= minutes(failures + 1)));
        for failures in [19, 20, 1000, u32::MAX] {
            assert_eq!(minutes(failures), 360);
        }
        assert_eq!(pause(1, MOST), Duration::from_secs(66));
        assert_eq!(minutes(0), 1);
    }

    #[test]
    fn a148_renewal_is_at_two_thirds_of_whatever_the_lifetime_is() {
        for length in [
            90 * DAY,
            45 * DAY,
            6 * DAY,
            Duration::from_hours(1),
            Duration::from_mins(2),
        ] {
            let life = life(length);
            let early = life.renewal(LEAST).since(START);
            let late = life.renewal(MOST).since(START);
            assert!(
                early >= length.mul_f64(0.59) && late <= length.mul_f64(0.67),
                "{length:?}"
            );
            assert!(early < late);
        }
    }

    #[test]
    fn renewal_is_somewhere_in_the_cas_window() {
        let life = life(90 * DAY);
        let window = Window {
            start: START.after(60 * DAY),
            end: START.after(62 * DAY),
        };
        let at = |chance| life.renewal_within(window, START, chance);
        assert_eq!(at(LEAST), window.start);
        assert_eq!(hours(at(Chance(0.5))), 61 * 24);
        assert_eq!(at(MOST), window.end);
        let planned = START.after(61 * DAY);
        assert_eq!(life.renewal_within(window, planned, MOST), planned);
    }

    #[test]
    fn a_window_in_the_past_means_at_once_but_never_an_order_a_second() {
        let long = life(90 * DAY);
        let window = Window {
            start: Timestamp(0),
            end: Timestamp(1),
        };
        let at = long.renewal_within(window, long.renewal(MOST), MOST);
        assert_eq!(hours(at), 6);
        let brief = life(Duration::from_mins(2));
        let at = brief.renewal_within(window, brief.renewal(MOST), MOST);
        assert_eq!(at.since(START), Duration::from_secs(12));
    }

    #[test]
    fn a148_an_absurd_window_is_overridden() {
        let life = life(90 * DAY);
        let planned = life.renewal(MOST);
        let after_its_end = Window {
            start: START.after(100 * DAY),
            end: START.after(110 * DAY),
        };
        assert_eq!(
            hours(life.renewal_within(after_its_end, planned, MOST)),
            81 * 24
        );
        let backwards = Window {
            start: START.after(60 * DAY),
            end: START.after(50 * DAY),
        };
        assert_eq!(life.renewal_within(backwards, planned, MOST), planned);
    }

    #[test]
    fn a_ca_is_asked_again_within_a_minute_and_a_day() {
        let after = |wanted| ask_again(START, wanted).since(START);
        assert_eq!(after(Duration::ZERO), Duration::from_mins(1));
        assert_eq!(after(Duration::from_hours(6)), Duration::from_hours(6));
        assert_eq!(after(Duration::MAX), DAY);
    }

    proptest! {
        #[test]
        fn whatever_the_ca_says_renewal_is_within_the_life(
            length in 60_u64..100_000_000,
            start in 0_u64..4_000_000_000_000,
            end in 0_u64..4_000_000_000_000,
            planned in 0_u64..4_000_000_000_000,
            chance in 0.0..=1.0,
        ) {
            let life = life(Duration::from_secs(length));
            let window = Window { start: Timestamp(start), end: Timestamp(end) };
            let at = life.renewal_within(window, Timestamp(planned), Chance(chance));
            prop_assert!(life.earliest() <= at && at < life.end);
        }
    }
}
