//! At most so many log lines a second about one child, and a count of the rest.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// A budget of lines per second.
pub(super) struct Throttle {
    per_second: u32,
    since: Instant,
    used: u32,
    held_back: u64,
}

impl Throttle {
    pub(super) const fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second,
            since: now,
            used: 0,
            held_back: 0,
        }
    }

    /// Whether one more line may be logged now; with it the number of lines that were held back
    /// since the last one that was allowed.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= WINDOW {
            self.since = now;
            self.used = 0;
        }
        if self.used >= self.per_second {
            self.held_back += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.held_back))
    }

    /// What was held back and never told.
    pub(super) const fn held_back(&self) -> u64 {
        self.held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_counted_and_told_with_the_next_line() {
        let start = Instant::now();
        let mut throttle = Throttle::new(2, start);
        assert_eq!(throttle.allow(start), Some(0));
        assert_eq!(throttle.allow(start), Some(0));
        assert_eq!(throttle.allow(start), None);
        assert_eq!(throttle.allow(start + WINDOW / 2), None);
        assert_eq!(throttle.held_back(), 2);
        assert_eq!(throttle.allow(start + WINDOW), Some(2));
        assert_eq!(throttle.held_back(), 0);
    }
}
