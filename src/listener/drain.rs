//! The end of service, in order: no new connections, idle ones closed, open streams told to
//! end, exchanges in progress finished; and at the deadline, or at a second signal, whatever is
//! left is cut off. hyper's own graceful shutdown waits for ever on an event stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

// Phases, in order; 0 is to serve.
const DRAINING: u8 = 1;
const ABORTED: u8 = 2;

/// How long connections that were cut off may take to be gone.
const CLEARANCE: Duration = Duration::from_secs(1);

/// Tells everyone who holds a clone that the end has come. Starts as "not yet".
#[derive(Clone, Default)]
pub struct Drain {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    phase: AtomicU8,
    changed: Notify,
    open: AtomicUsize,
    closed: Notify,
}

/// A connection, as [`Drain::wait`] counts it.
pub(super) struct Present(Arc<State>);

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on: accept nothing, close what is idle, end what is open.
    pub fn begin(&self) {
        self.advance(DRAINING);
    }

    /// Cuts every connection off, whatever it is doing.
    pub fn abort(&self) {
        self.advance(ABORTED);
    }

    fn advance(&self, phase: u8) {
        self.state.phase.fetch_max(phase, Ordering::AcqRel);
        self.state.changed.notify_waiters();
    }

    /// Whether the end has begun.
    pub fn is_begun(&self) -> bool {
        self.phase() >= DRAINING
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.phase() >= ABORTED
    }

    fn phase(&self) -> u8 {
        self.state.phase.load(Ordering::Acquire)
    }

    /// Resolves when the end begins. An open stream that owes its client nothing ends here; one
    /// that still awaits an answer may go on until it has it, or is cut off.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(DRAINING)
    }

    /// Resolves when connections are cut off.
    pub fn aborted(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(ABORTED)
    }

    fn reached(&self, phase: u8) -> impl Future<Output = ()> + Send + 'static {
        let drain = self.clone();
        async move {
            loop {
                let changed = drain.state.changed.notified();
                if drain.phase() >= phase {
                    return;
                }
                changed.await;
            }
        }
    }

    /// Waits until every connection is gone, for at most `grace`, and cuts off those that are not.
    /// Returns at once when [`Drain::abort`] is called meanwhile. Whether all went by themselves.
    pub async fn wait(&self, grace: Duration) -> bool {
        let in_time = tokio::select! {
            biased;
            () = self.emptied() => true,
            () = self.aborted() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if !in_time {
            self.abort();
            // Their workers drop them as soon as they come round.
            let _ = tokio::time::timeout(CLEARANCE, self.emptied()).await;
        }
        in_time
    }

    async fn emptied(&self) {
        loop {
            let closed = self.state.closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Acquire)
    }

    pub(super) fn enter(&self) -> Present {
        self.state.open.fetch_add(1, Ordering::AcqRel);
        Present(Arc::clone(&self.state))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn it_waits_until_the_last_connection_has_gone() {
        let drain = Drain::new();
        let present = [drain.enter(), drain.enter()];
        assert!(!drain.is_begun());
        drain.begin();
        drain.ended().await;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(present);
        });
        assert!(drain.wait(GRACE).await);
        assert!(!drain.is_aborted());
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_it_cuts_off_what_is_left() {
        let drain = Drain::new();
        let present = drain.enter();
        let cut = tokio::spawn(drain.aborted());
        drain.begin();
        assert!(!drain.wait(GRACE).await);
        cut.await.unwrap();
        drop(present);
        assert_eq!(drain.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_the_wait_at_once() {
        let drain = Drain::new();
        let _present = drain.enter();
        drain.begin();
        let started = tokio::time::Instant::now();
        drain.abort();
        assert!(!drain.wait(GRACE).await);
        assert!(started.elapsed() <= CLEARANCE + Duration::from_millis(10));
        drain.begin();
        assert!(drain.is_aborted());
    }

    #[tokio::test]
    async fn whoever_asks_late_is_told_too() {
        let drain = Drain::new();
        let early = tokio::spawn(drain.ended());
        drain.begin();
        early.await.unwrap();
        drain.ended().await;
    }
}
