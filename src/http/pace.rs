//! How fast a body has to come (threat case A-116). A body that dribbles keeps a connection, a task
//! and what was read of it for as long as the client likes, so there are two bounds: one on the
//! rate, which stops a dribble early, and one on the whole, which leaves a large body on a slow line
//! the time that it takes.

use std::time::Duration;

use tokio::time::Instant;

/// Before the rate is looked at.
const GRACE: Duration = Duration::from_secs(5);

/// The least that has to come a second from then on, on the average.
const LEAST: u64 = 1024;

/// So many bytes are worth a second more in all.
const GOOD: u64 = 32 * 1024;

/// A body on its way in.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    begun: Instant,
    patience: Duration,
}

impl Pace {
    /// From now on. `patience` is for a small body as a whole.
    pub fn begin(patience: Duration) -> Self {
        Self {
            begun: Instant::now(),
            patience,
        }
    }

    /// By when there must be more, or the end, if so many bytes have come.
    pub fn due(self, received: usize) -> Instant {
        let seconds = |rate| Duration::from_secs(received as u64 / rate);
        self.begun + (GRACE + seconds(LEAST)).min(self.patience + seconds(GOOD))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a116_a_body_must_keep_a_rate_and_end_some_time() {
        let pace = Pace::begin(Duration::from_secs(30));
        let due = |received| pace.due(received).duration_since(pace.begun).as_secs();
        // Nothing, a dribble, a small body, a large one.
        assert_eq!(due(0), 5);
        assert_eq!(due(4096), 9);
        assert_eq!(due(25 * 1024), 30);
        assert_eq!(due(31 * 1024), 30);
        assert_eq!(due(4 << 20), 30 + 128);
    }
}
