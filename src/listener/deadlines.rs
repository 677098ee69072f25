//! How long a connection may take over what (threat case A-116).

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::activity::{Activity, Phase};

/// How long a connection may take over what.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// Until TLS is agreed on.
    pub(super) handshake: Duration,
    /// Until the first byte, and from there to the end of the head.
    pub(super) head: Duration,
    /// Between requests. Longer than the 60 s that proxies keep a connection to reuse, or they
    /// would send requests into one that is just being closed.
    pub(super) idle: Duration,
    /// Without a byte of the reply going out.
    pub(super) stall: Duration,
    /// For an HTTP/2 connection, until its client is asked to open another.
    pub(super) age: Duration,
    /// For the client to read the last reply before the connection is gone.
    pub(super) linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_mins(1),
            age: Duration::from_hours(1),
            linger: Duration::from_secs(2),
        }
    }
}

/// Ends a connection that takes too long. Its timer is set ahead and looked at when it fires, so
/// that a request costs one reading of the clock and no timer.
pub(super) struct Watchdog<'t> {
    activity: Rc<Activity>,
    timeouts: Timeouts,
    seen: u64,
    since: Instant,
    timer: Pin<&'t mut Sleep>,
}

impl<'t> Watchdog<'t> {
    pub(super) fn new(
        activity: Rc<Activity>,
        timeouts: Timeouts,
        timer: Pin<&'t mut Sleep>,
    ) -> Self {
        Self {
            activity,
            timeouts,
            seen: 0,
            since: Instant::now(),
            timer,
        }
    }

    /// Ready when the time is up.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (phase, stalled, steps) = self.activity.look();
        let patience = self.patience(phase, stalled);
        // A state that may last for ever needs no time at which it began.
        if steps != self.seen && patience.is_some() {
            self.seen = steps;
            self.since = Instant::now();
        }
        let due = patience.map(|patience| self.since + patience);
        if let Some(due) = due
            && due < self.timer.deadline()
        {
            self.timer.as_mut().reset(due);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            match due {
                Some(due) if due <= now => return Poll::Ready(()),
                Some(due) => self.timer.as_mut().reset(due),
                None => self.timer.as_mut().reset(now + self.timeouts.idle),
            }
        }
    }

    /// How long the present state may last. A handler may take its time; it has its own limits.
    fn patience(&self, phase: Phase, stalled: bool) -> Option<Duration> {
        let patience = match phase {
            Phase::Silent | Phase::Head => Some(self.timeouts.head),
            Phase::Idle => Some(self.timeouts.idle),
            Phase::Exchange => None,
        };
        let stall = stalled.then_some(self.timeouts.stall);
        patience.into_iter().chain(stall).min()
    }
}
