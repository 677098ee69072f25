//! A child's two pipes and the sessions that talk over them.
//!
//! Everything that passes goes under one short lock: the multiplexer, what is queued for the
//! child, who is attached. Sessions are called back outside of it. A wire ends once: each session
//! that is still attached is told exactly once, and from then on every send says "gone" (B17).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::trace;

use super::handshake::Waiter;
use super::mux::Incoming;
use super::state::{OWN, Parcel, State};
use super::{Client, Delivery, ExchangeId, Isolation, SendError, SessionKey};
use crate::mcp::{Message, RawId};

/// Why a child is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its only session left.
    Left,
    /// Nobody used it for long.
    Idle,
    /// The guard stops.
    Guard,
    /// It lets requests time out and says nothing.
    Silent,
    /// It takes no input any more.
    Deaf,
}

impl Stop {
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Left => "its session has ended",
            Self::Idle => "nobody used the server process for a while",
            Self::Guard => "the guard is stopping",
            Self::Silent => "the server process did not answer any more and was stopped",
            Self::Deaf => "the server process closed its input",
        }
    }
}

pub(super) struct Wire<C: Client> {
    isolation: Isolation,
    /// Where the child's tasks live.
    runtime: Handle,
    /// The thread of that runtime.
    home: ThreadId,
    state: Mutex<State<C>>,
    /// Something is queued, or the wire was closed.
    writer: Notify,
    /// A stop is asked for, or the last session left.
    keeper: Notify,
}

impl<C: Client> Wire<C> {
    pub(super) fn new(isolation: Isolation, runtime: Handle) -> Self {
        Self {
            isolation,
            runtime,
            home: std::thread::current().id(),
            state: Mutex::new(State::new(isolation)),
            writer: Notify::new(),
            keeper: Notify::new(),
        }
    }

    pub(super) const fn home(&self) -> ThreadId {
        self.home
    }

    /// `false` if the wire has ended, or is about to.
    pub(super) fn attach(&self, client: &Arc<C>) -> bool {
        let mut state = self.lock();
        if state.open {
            state.clients.insert(client.key(), Arc::clone(client));
            state.idle_since = None;
        }
        state.open
    }

    /// The session needs the child no more.
    pub(super) fn leave(&self, session: SessionKey) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.clients.remove(&session).is_none() {
            return;
        }
        state.mux.leave(session, &mut state.outbox.lines);
        state.subscriptions.forget(session);
        state.handshake.withdraw(|waiter| waiter.session == session);
        if state.recent == Some(session) {
            state.recent = None;
        }
        let last = state.clients.is_empty();
        if last {
            state.idle_since = Some(Instant::now());
        }
        drop(guard);
        self.writer.notify_one();
        if last && self.isolation == Isolation::Session {
            self.stop(Stop::Left);
        } else if last {
            self.keeper.notify_one();
        }
    }

    pub(super) fn request(
        &self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
    ) -> Result<(), SendError> {
        let mut state = self.lock();
        state.admit(session, message)?;
        let known = if self.isolation == Isolation::Session {
            state.request(session, exchange, message).map(|()| None)?
        } else {
            state.shared_request(session, exchange, message)?
        };
        let client = known.and_then(|answer| Some((state.client(session)?, answer)));
        drop(state);
        self.writer.notify_one();
        if let Some((client, answer)) = client {
            // Not from here: the session may hold a lock of its own while it calls us.
            self.runtime
                .spawn(async move { client.deliver(Delivery::Last(exchange, answer)) });
        }
        Ok(())
    }

    pub(super) fn notify(&self, session: SessionKey, message: &Message) -> Result<(), SendError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.admit(session, message)?;
        let repeated = self.isolation != Isolation::Session
            && message.method() == Some("notifications/initialized")
            && !state.handshake.initialized();
        if !repeated {
            state.notify(session, message);
        }
        drop(guard);
        self.writer.notify_one();
        Ok(())
    }

    pub(super) fn respond(&self, session: SessionKey, message: &Message) -> Result<(), SendError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.admit(session, message)?;
        state
            .mux
            .answer(session, message, &mut state.outbox.lines)?;
        drop(guard);
        self.writer.notify_one();
        Ok(())
    }

    pub(super) fn refuse(&self, session: SessionKey, id: &RawId, why: &str) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.mux.refuse(session, id, why, &mut state.outbox.lines);
        drop(guard);
        self.writer.notify_one();
    }

    /// A request timed out.
    pub(super) fn cancel(&self, session: SessionKey, exchange: ExchangeId, why: &str) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let waited = |waiter: &Waiter| waiter.session == session && waiter.exchange == exchange;
        if !state.handshake.withdraw(waited) {
            state
                .mux
                .cancel(session, exchange, why, &mut state.outbox.lines);
        }
        let silent = state.count_timeout();
        drop(guard);
        self.writer.notify_one();
        if silent {
            self.stop(Stop::Silent);
        }
    }

    /// A message from the child, for whom it may concern.
    pub(super) fn incoming(&self, message: Message) {
        let mut state = self.lock();
        state.timeouts = 0;
        let (session, delivery) = match state.mux.incoming(message) {
            Incoming::Last(OWN, _, answer) => {
                let parcels = state.initialized(answer);
                return self.hand_out(state, parcels);
            }
            Incoming::Unowned(message) => {
                let parcels = state.route(message);
                return self.hand_out(state, parcels);
            }
            Incoming::Last(session, exchange, message) => {
                state.answered = true;
                (session, Delivery::Last(exchange, message))
            }
            Incoming::More(session, exchange, message) => {
                (session, Delivery::More(exchange, message))
            }
            Incoming::ToAsked(session, message) => (session, Delivery::Unowned(message)),
            Incoming::Stray(message) => {
                trace!(bytes = message.bytes().len(), "a stray message was dropped");
                return;
            }
        };
        let client = state.client(session);
        drop(state);
        if let Some(client) = client {
            client.deliver(delivery);
        }
    }

    fn hand_out(&self, state: MutexGuard<'_, State<C>>, parcels: Vec<Parcel<C>>) {
        drop(state);
        // Deciding may have put an answer to the child into the queue.
        self.writer.notify_one();
        for (client, delivery) in parcels {
            client.deliver(delivery);
        }
    }

    /// Waits for lines to write and swaps them into `batch`, whose content has been written.
    /// `false` when the wire is closed and everything was taken.
    pub(super) async fn next_batch(&self, batch: &mut BytesMut) -> bool {
        loop {
            let open = {
                let mut state = self.lock();
                if state.outbox.take(batch) {
                    return true;
                }
                state.open
            };
            if !open {
                return false;
            }
            self.writer.notified().await;
        }
    }

    /// Asks the child's keeper to stop it, and closes the wire for further messages.
    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        state.stop.get_or_insert(stop);
        state.open = false;
        drop(state);
        self.writer.notify_one();
        self.keeper.notify_one();
    }

    /// Waits until the child is to be stopped: asked for, or no session since `idle`.
    pub(super) async fn stopped(&self, idle: Duration) -> Stop {
        loop {
            let (stop, deadline) = self.lock().verdict(idle);
            match (stop, deadline) {
                (Some(stop), _) => return stop,
                (None, None) => self.keeper.notified().await,
                (None, Some(deadline)) => tokio::select! {
                    () = self.keeper.notified() => {}
                    () = sleep_until(deadline) => {}
                },
            }
        }
    }

    /// The child is gone, or as good as: tells everybody who is still attached.
    pub(super) fn end(&self, why: &str) {
        let mut state = self.lock();
        state.open = false;
        let clients = std::mem::take(&mut state.clients);
        drop(state);
        self.writer.notify_one();
        for client in clients.into_values() {
            client.ended(why);
        }
    }

    /// Whether the child is about to end.
    pub(super) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Whether the child has ever answered.
    pub(super) fn has_answered(&self) -> bool {
        self.lock().answered
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Recorder, message};
    use super::*;

    const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;

    struct Bench {
        wire: Arc<Wire<Recorder>>,
        batch: BytesMut,
    }

    impl Bench {
        fn new(isolation: Isolation) -> Self {
            let wire = Wire::new(isolation, Handle::current());
            Self {
                wire: Arc::new(wire),
                batch: BytesMut::new(),
            }
        }

        fn client(&self, key: u64) -> Arc<Recorder> {
            let client = Recorder::new(key);
            assert!(self.wire.attach(&client));
            client
        }

        fn ask(&self, client: &Recorder, exchange: u64, text: &str) -> Result<(), SendError> {
            self.wire
                .request(client.key(), ExchangeId(exchange), &message(text))
        }

        fn says(&self, text: &str) {
            self.wire.incoming(message(text));
        }

        /// What the child was sent since the last look.
        fn sent(&mut self) -> Vec<String> {
            self.wire.lock().outbox.take(&mut self.batch);
            let text = String::from_utf8(self.batch.to_vec()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    fn answer(id: u64) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
    }

    #[tokio::test]
    async fn b10_the_same_id_of_two_sessions_comes_back_to_each() {
        let bench = Bench::new(Isolation::Shared);
        let [ada, bob] = [bench.client(1), bench.client(2)];
        bench.ask(&ada, 10, CALL).unwrap();
        bench.ask(&bob, 20, CALL).unwrap();
        bench.says(&answer(2));
        bench.says(&answer(1));
        assert_eq!(ada.take(), [format!("last 10 {}", answer(1))]);
        assert_eq!(bob.take(), [format!("last 20 {}", answer(1))]);
    }

    #[tokio::test]
    async fn a_shared_child_is_initialised_once() {
        let mut bench = Bench::new(Isolation::User);
        let [ada, bob] = [bench.client(1), bench.client(2)];
        bench.ask(&ada, 10, INITIALIZE).unwrap();
        let again = INITIALIZE.replace(":1,", ":5,");
        bench.ask(&bob, 20, &again).unwrap();
        assert_eq!(bench.sent(), [INITIALIZE]);
        // The one whose request went out leaves: it is not cancelled, and the other is served.
        bench.wire.leave(ada.key());
        bench.says(&answer(1));
        assert!(ada.take().is_empty());
        assert_eq!(bob.take(), [format!("last 20 {}", answer(5))]);

        let initialized = message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        bench.wire.notify(bob.key(), &initialized).unwrap();
        bench.wire.notify(bob.key(), &initialized).unwrap();
        assert_eq!(bench.sent().len(), 1);

        let eve = bench.client(3);
        bench.ask(&eve, 30, INITIALIZE).unwrap();
        assert!(bench.sent().is_empty());
        eve.heard_something().await;
        assert_eq!(eve.take(), [format!("last 30 {}", answer(1))]);
    }

    #[tokio::test]
    async fn after_a_refused_initialize_the_next_one_goes_to_the_child() {
        let mut bench = Bench::new(Isolation::Shared);
        let [ada, bob] = [bench.client(1), bench.client(2)];
        bench.ask(&ada, 10, INITIALIZE).unwrap();
        bench.ask(&bob, 20, INITIALIZE).unwrap();
        bench.says(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#);
        assert_eq!(ada.take().len(), 1);
        assert!(bob.take().is_empty());
        assert_eq!(bench.sent().len(), 2);
        bench.says(&answer(2));
        assert_eq!(bob.take(), [format!("last 20 {}", answer(1))]);
    }

    #[tokio::test]
    async fn b17_the_end_is_told_once_and_then_everything_is_gone() {
        let bench = Bench::new(Isolation::Shared);
        let [ada, bob] = [bench.client(1), bench.client(2)];
        bench.wire.leave(bob.key());
        bench.wire.end("over");
        bench.wire.end("over again");
        assert_eq!(ada.take(), ["ended over"]);
        assert!(bob.take().is_empty());
        assert_eq!(bench.ask(&ada, 1, CALL), Err(SendError::Gone));
        assert!(!bench.wire.attach(&ada));
    }

    #[tokio::test]
    async fn a133_a_child_that_does_not_read_congests() {
        let bench = Bench::new(Isolation::Session);
        let ada = bench.client(1);
        let padding = "x".repeat(1 << 20);
        let call = |id: u64| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":{{"x":"{padding}"}}}}"#)
        };
        let refused = (0..40).find_map(|id| bench.ask(&ada, id, &call(id)).err());
        assert_eq!(refused, Some(SendError::Congested));
    }

    #[tokio::test]
    async fn three_timeouts_without_a_sign_of_life_stop_the_child() {
        let bench = Bench::new(Isolation::Session);
        let ada = bench.client(1);
        let time_out = |exchange: u64| {
            bench.ask(&ada, exchange, CALL).unwrap();
            bench
                .wire
                .cancel(ada.key(), ExchangeId(exchange), "timeout");
        };
        time_out(1);
        time_out(2);
        bench.says(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
        time_out(3);
        time_out(4);
        assert_eq!(bench.wire.lock().stop, None);
        time_out(5);
        assert_eq!(bench.wire.stopped(Duration::MAX).await, Stop::Silent);
        assert_eq!(bench.ask(&ada, 6, CALL), Err(SendError::Gone));
    }

    #[tokio::test]
    async fn what_the_client_called_off_is_not_the_childs_silence() {
        let bench = Bench::new(Isolation::Session);
        let ada = bench.client(1);
        let off =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        for exchange in 0..9 {
            bench.ask(&ada, exchange, CALL).unwrap();
            bench.wire.notify(ada.key(), &message(off)).unwrap();
            bench
                .wire
                .cancel(ada.key(), ExchangeId(exchange), "timeout");
        }
        assert_eq!(bench.wire.lock().stop, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_child_outlives_its_sessions_for_the_idle_time_only() {
        let bench = Bench::new(Isolation::User);
        let idle = Duration::from_mins(1);
        let ada = bench.client(1);
        bench.wire.leave(ada.key());
        tokio::time::advance(idle / 2).await;
        let ada = bench.client(1);
        tokio::time::advance(idle * 2).await;
        assert_eq!(bench.wire.lock().verdict(idle), (None, None));
        bench.wire.leave(ada.key());
        let left = Instant::now();
        assert_eq!(bench.wire.stopped(idle).await, Stop::Idle);
        assert!(left.elapsed() >= idle);
        assert!(!bench.wire.attach(&ada));
    }

    #[tokio::test]
    async fn a_sessions_own_child_ends_with_it() {
        let bench = Bench::new(Isolation::Session);
        let ada = bench.client(1);
        bench.wire.leave(ada.key());
        assert_eq!(bench.wire.stopped(Duration::MAX).await, Stop::Left);
    }

    #[tokio::test]
    async fn an_unsubscription_passes_when_it_is_the_last() {
        let mut bench = Bench::new(Isolation::User);
        let [ada, bob] = [bench.client(1), bench.client(2)];
        let request = |what: &str| {
            let id = what.len();
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/{what}","params":{{"uri":"a:b"}}}}"#
            )
        };
        bench.ask(&ada, 1, &request("subscribe")).unwrap();
        bench.ask(&bob, 2, &request("subscribe")).unwrap();
        assert_eq!(bench.sent().len(), 2);
        bench.ask(&ada, 3, &request("unsubscribe")).unwrap();
        ada.heard_something().await;
        assert_eq!(ada.take(), [format!("last 3 {}", answer(11))]);
        assert!(bench.sent().is_empty());
        bench.ask(&bob, 4, &request("unsubscribe")).unwrap();
        assert_eq!(bench.sent().len(), 1);
    }
}
