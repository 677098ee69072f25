//! The connections to a wrapped server that one worker has open. Each worker has its own, so that
//! nothing is shared on the way of a request; the one that was used last is used next, and what is
//! not needed grows old.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::socket::Watch;
use super::upload::Upload;

/// An idle connection is closed after this long, or earlier if the server says so.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// As many streams as the guard opens on one HTTP/2 connection, whatever the server allows.
const MAX_STREAMS: usize = 250;

thread_local! {
    static POOLS: RefCell<Vec<(u64, Rc<Pool>)>> = const { RefCell::new(Vec::new()) };
}

/// This worker's connections to the server of that number.
pub(super) fn of(server: u64) -> Rc<Pool> {
    POOLS.with_borrow_mut(|pools| {
        if let Some((_, pool)) = pools.iter().find(|(number, _)| *number == server) {
            return Rc::clone(pool);
        }
        let pool = Rc::<Pool>::default();
        pools.push((server, Rc::clone(&pool)));
        pool
    })
}

#[derive(Default)]
pub(super) struct Pool {
    /// HTTP/1 connections without a request; the back was used last.
    idle: RefCell<VecDeque<Single>>,
    multiplexed: RefCell<Vec<Multiplexed>>,
    is_swept: Cell<bool>,
}

/// An HTTP/1 connection. It carries one request at a time.
pub(super) struct Single {
    pub(super) sender: http1::SendRequest<Upload>,
    pub(super) watch: Rc<Watch>,
    task: AbortHandle,
    closes_at: Instant,
}

impl Single {
    pub(super) fn new(
        sender: http1::SendRequest<Upload>,
        watch: Rc<Watch>,
        task: AbortHandle,
    ) -> Self {
        Self {
            sender,
            watch,
            task,
            closes_at: Instant::now(),
        }
    }

    /// Ends the connection, whatever is under way on it.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub(super) struct Multiplexed {
    pub(super) sender: http2::SendRequest<Upload>,
    /// Streams that the server allows.
    room: Rc<Cell<usize>>,
    open: Rc<Cell<usize>>,
    used_at: Rc<Cell<Instant>>,
}

impl Multiplexed {
    pub(super) fn new(sender: http2::SendRequest<Upload>, room: usize) -> Self {
        Self {
            sender,
            room: Rc::new(Cell::new(room)),
            open: Rc::default(),
            used_at: Rc::new(Cell::new(Instant::now())),
        }
    }

    /// To be told how many streams the server allows, which may change.
    pub(super) fn room(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.room)
    }

    pub(super) fn enter(&self) -> OpenStream {
        self.open.set(self.open.get() + 1);
        OpenStream(self.clone())
    }

    fn has_room(&self) -> bool {
        !self.sender.is_closed() && self.open.get() < self.room.get().min(MAX_STREAMS)
    }

    fn is_of_use(&self, now: Instant) -> bool {
        let is_idle = self.open.get() == 0 && self.used_at.get() + IDLE < now;
        !self.sender.is_closed() && !is_idle
    }
}

/// One stream of an HTTP/2 connection.
pub(super) struct OpenStream(Multiplexed);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.used_at.set(Instant::now());
    }
}

impl Pool {
    /// A connection that rests. hyper is ready for a request only after it has found nothing behind
    /// the last answer: one that is not, or was closed, is passed over.
    pub(super) fn take(&self) -> Option<Single> {
        let mut idle = self.idle.borrow_mut();
        let now = Instant::now();
        let is_of_use = |single: &Single| !single.sender.is_closed() && now < single.closes_at;
        loop {
            let settled = |single: &Single| single.sender.is_ready() || !is_of_use(single);
            let last = idle.iter().rposition(settled)?;
            let single = idle.remove(last)?;
            if is_of_use(&single) {
                return Some(single);
            }
        }
    }

    /// Takes back a connection whose exchange is over, for `idle` at most.
    pub(super) fn give_back(self: &Rc<Self>, mut single: Single, idle: Duration) {
        single.closes_at = Instant::now() + idle;
        self.idle.borrow_mut().push_back(single);
        self.be_swept();
    }

    pub(super) fn multiplexed(&self) -> Option<Multiplexed> {
        let all = self.multiplexed.borrow();
        all.iter().find(|connection| connection.has_room()).cloned()
    }

    pub(super) fn add(self: &Rc<Self>, multiplexed: Multiplexed) {
        self.multiplexed.borrow_mut().push(multiplexed);
        self.be_swept();
    }

    fn be_swept(self: &Rc<Self>) {
        if !self.is_swept.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).sweep());
        }
    }

    /// Closes what is not used. Runs while there is anything.
    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            let mut idle = self.idle.borrow_mut();
            idle.retain(|single| !single.sender.is_closed() && now < single.closes_at);
            let mut multiplexed = self.multiplexed.borrow_mut();
            multiplexed.retain(|connection| connection.is_of_use(now));
            if idle.is_empty() && multiplexed.is_empty() {
                self.is_swept.set(false);
                return;
            }
        }
    }
}
