//! One legacy session: what is in flight, the streams to the client, the way to the child.
//!
//! The child's reader calls [`Client::deliver`] and must never wait, so everything here is a short
//! lock and a push.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::event_stream::EventStream;
use super::exchange::Exchange;
use super::places::Place;
use crate::grant::{ClientId, GrantId};
use crate::identity::Identity;
use crate::mcp::{ErrorCode, Kind, Message, RawId, Version, error_for};
use crate::resource::Principal;
use crate::upstream::{Attachment, Client, Delivery, ExchangeId, SendError, SessionKey};

/// Requests that one session may have in flight.
const MAX_IN_FLIGHT: usize = 1024;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) identity: Arc<Identity>,
    client: ClientId,
}

impl Owner {
    pub(super) fn of(principal: &Principal) -> Self {
        Self {
            identity: Arc::clone(&principal.identity),
            client: principal.client.clone(),
        }
    }
}

/// A session.
pub(super) struct Session {
    id: String,
    key: SessionKey,
    owner: Owner,
    pub(super) child: ArcSwapOption<Attachment<Self>>,
    version: OnceLock<Version>,
    next_exchange: AtomicU64,
    pub(super) exchanges: Mutex<BTreeMap<ExchangeId, Arc<Exchange>>>,
    pub(super) listening: Arc<EventStream>,
    pub(super) answering: Mutex<Vec<Arc<EventStream>>>,
    /// Requests of the server's that no stream could take, and since when.
    pub(super) unheard: Mutex<Vec<(RawId, Instant)>>,
    last_used: Mutex<Instant>,
    ended: AtomicBool,
    _place: Place,
}

impl Session {
    pub(super) fn new(id: String, key: SessionKey, owner: Owner, place: Place) -> Self {
        Self {
            id,
            key,
            owner,
            child: ArcSwapOption::empty(),
            version: OnceLock::new(),
            next_exchange: AtomicU64::new(1),
            exchanges: Mutex::default(),
            listening: EventStream::listening(),
            answering: Mutex::default(),
            unheard: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            ended: AtomicBool::new(false),
            _place: place,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The revision that client and server agreed on.
    pub(super) fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    pub(super) fn agree_on(&self, version: Version) {
        let _ = self.version.set(version);
    }

    pub(super) fn attach(&self, child: Attachment<Self>) {
        self.child.store(Some(Arc::new(child)));
    }

    /// The thread that serves the child's pipes.
    pub(super) fn home(&self) -> Option<ThreadId> {
        Some(self.child.load().as_ref()?.home())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn listening(&self) -> &Arc<EventStream> {
        &self.listening
    }

    /// Sends a request to the child. `plain`: as in [`Exchange::new`].
    pub(super) fn request(
        &self,
        message: &Message,
        plain: bool,
    ) -> Result<Arc<Exchange>, SendError> {
        let request = message.id().ok_or(SendError::NotAsked)?;
        let exchange = Exchange::new(self.next_id(), request, plain);
        self.send_request(message, &exchange)?;
        Ok(exchange)
    }

    /// Sends a request of a batch, whose answer goes to the batch's stream.
    pub(super) fn request_on(
        &self,
        message: &Message,
        stream: &Arc<EventStream>,
    ) -> Result<(), SendError> {
        let request = message.id().ok_or(SendError::NotAsked)?;
        let exchange = Exchange::streaming(self.next_id(), request, Arc::clone(stream));
        self.send_request(message, &exchange)
    }

    fn next_id(&self) -> ExchangeId {
        ExchangeId(self.next_exchange.fetch_add(1, Ordering::Relaxed))
    }

    fn send_request(&self, message: &Message, exchange: &Arc<Exchange>) -> Result<(), SendError> {
        self.touch(exchange.begun_at());
        {
            let mut exchanges = lock(&self.exchanges);
            if exchanges.len() >= MAX_IN_FLIGHT {
                return Err(SendError::Congested);
            }
            exchanges.insert(exchange.id(), Arc::clone(exchange));
        }
        let sent = self.child()?.request(exchange.id(), message);
        if sent.is_err() {
            lock(&self.exchanges).remove(&exchange.id());
        }
        sent
    }

    /// Passes on a notification or an answer of the client's.
    pub(super) fn pass(&self, message: &Message) -> Result<(), SendError> {
        self.touch(Instant::now());
        let child = self.child()?;
        if let Kind::Response { .. } = message.kind() {
            return child.respond(message);
        }
        if let Some(cancelled) = message.cancelled_id() {
            self.find_request(&cancelled)
                .inspect(|exchange| exchange.cancelled());
        }
        child.notify(message)
    }

    fn child(&self) -> Result<Arc<Attachment<Self>>, SendError> {
        self.child.load_full().ok_or(SendError::Gone)
    }

    fn find_request(&self, id: &RawId) -> Option<Arc<Exchange>> {
        let exchanges = lock(&self.exchanges);
        exchanges
            .values()
            .find(|exchange| exchange.request() == id)
            .cloned()
    }

    /// A stream for the answers to `awaited` requests, to be found again by a client that
    /// reconnects.
    pub(super) fn answer_stream(&self, awaited: usize) -> Arc<EventStream> {
        let stream = EventStream::answering(self.next_id().0, awaited);
        lock(&self.answering).push(Arc::clone(&stream));
        stream
    }

    /// The stream of that number, as an event id names it.
    pub(super) fn stream(&self, number: u64) -> Option<Arc<EventStream>> {
        if number == self.listening.number() {
            return Some(Arc::clone(&self.listening));
        }
        let answering = lock(&self.answering);
        answering
            .iter()
            .find(|stream| stream.number() == number)
            .cloned()
    }

    /// How long nothing has been in flight, open or said.
    pub(super) fn idle_for(&self) -> Duration {
        let busy = self.listening.is_connected() || !lock(&self.exchanges).is_empty();
        if busy {
            return Duration::ZERO;
        }
        lock(&self.last_used).elapsed()
    }

    fn touch(&self, now: Instant) {
        *lock(&self.last_used) = now;
    }

    /// Cuts the streams that `grant` opened.
    pub(super) fn grant_revoked(&self, grant: &GrantId) {
        self.listening.disconnect_grant(grant);
        for stream in lock(&self.answering).iter() {
            stream.disconnect_grant(grant);
        }
    }

    /// Cuts the listening stream; its client will reconnect, here or at a successor.
    pub(super) fn end_listening(&self) {
        self.listening.disconnect();
    }

    /// Ends the session: leaves the child, answers what is in flight with an error, closes the
    /// streams (protocol rule B17). Does nothing the second time.
    pub(super) fn close(&self, why: &str) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.child.store(None);
        let in_flight = std::mem::take(&mut *lock(&self.exchanges));
        for exchange in in_flight.values() {
            fail(exchange, why);
        }
        self.listening.finish();
    }

    /// The exchange that a message without an owner goes with: the only one there is.
    fn only_company(&self) -> Option<Arc<Exchange>> {
        let exchanges = lock(&self.exchanges);
        let mut takers = exchanges
            .values()
            .filter(|exchange| exchange.takes_company());
        let only = takers.next()?;
        takers.next().is_none().then(|| Arc::clone(only))
    }

    fn newest_company(&self) -> Option<Arc<Exchange>> {
        let exchanges = lock(&self.exchanges);
        let newest = exchanges
            .values()
            .rfind(|exchange| exchange.takes_company());
        newest.cloned()
    }

    /// A message that names no request: stdio carries no hint to which one it belongs (protocol
    /// rule B6). Changes to lists and resources concern none, so they go to the listening stream.
    fn route_unowned(&self, message: Message) {
        let concerns_none = message.kind() == Kind::Notification
            && message.method().is_some_and(|method| {
                method.ends_with("/list_changed") || method == "notifications/resources/updated"
            });
        if concerns_none {
            return self.listening.push(message.bytes());
        }
        if let Some(exchange) = self.only_company() {
            return exchange.accompany(message);
        }
        if !self.listening.is_connected() {
            if let Some(exchange) = self.newest_company() {
                return exchange.accompany(message);
            }
            if message.kind() == Kind::Request {
                let unheard = message.id().map(|id| (id, Instant::now()));
                lock(&self.unheard).extend(unheard);
            }
        }
        self.listening.push(message.bytes());
    }
}

impl Client for Session {
    fn key(&self) -> SessionKey {
        self.key
    }

    fn deliver(&self, delivery: Delivery) {
        match delivery {
            Delivery::Last(exchange, message) => {
                let exchange = lock(&self.exchanges).remove(&exchange);
                if let Some(exchange) = exchange {
                    exchange.answer(message);
                }
            }
            Delivery::More(exchange, message) => {
                let exchange = lock(&self.exchanges).get(&exchange).cloned();
                if let Some(exchange) = exchange {
                    exchange.accompany(message);
                }
            }
            Delivery::Unowned(message) => self.route_unowned(message),
        }
    }

    fn ended(&self, why: &str) {
        self.close(why);
    }
}

/// Answers an exchange with an error of the guard's own.
pub(super) fn fail(exchange: &Exchange, why: &str) {
    let answer = error_for(exchange.request(), ErrorCode::InternalError, why);
    match Message::parse(answer) {
        Ok(answer) => exchange.answer(answer),
        Err(_) => exchange.abandon(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
