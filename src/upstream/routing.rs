//! Who gets what a child says by itself: stdio tells nothing about whom a server's request or
//! notification is meant for (B3, B6, B11).
//!
//! Each message goes to exactly one session (H13), but for changes of lists, which concern all. On
//! a wire that different users share, what cannot be told apart goes to nobody: better lost than
//! in another user's hands (B10).

use std::sync::Arc;

use tracing::debug;

use super::wire::{Parcel, State, empty_result};
use super::{Client, Delivery, Isolation};
use crate::mcp::{ErrorCode, Kind, Message, RawId, error_for};

impl<C: Client> State<C> {
    /// Where a message without an owner goes.
    pub(super) fn route(&mut self, message: Message) -> Vec<Parcel<C>> {
        if message.kind() == Kind::Request {
            return self.route_question(message).into_iter().collect();
        }
        self.audience(&message)
            .into_iter()
            .map(|client| (client, Delivery::Unowned(message.clone())))
            .collect()
    }

    fn route_question(&mut self, message: Message) -> Option<Parcel<C>> {
        let id = message.id()?;
        let Some(client) = self.confidant(&message) else {
            self.answer_alone(&id, message.method());
            return None;
        };
        if self.mux.ask(client.key(), id) {
            return Some((client, Delivery::Unowned(message)));
        }
        debug!("the server asked twice under one id; the second question was dropped");
        None
    }

    /// The one session that a question of the server's goes to.
    fn confidant(&self, message: &Message) -> Option<Arc<C>> {
        match self.isolation {
            Isolation::Session => self.someone(),
            // Whether the connection lives is for its end to say, and that is us.
            _ if message.method() == Some("ping") => self.only_active(),
            Isolation::User => self.only_active().or_else(|| self.latest()),
            Isolation::Shared => self.only_active(),
        }
    }

    fn answer_alone(&mut self, id: &RawId, method: Option<&str>) {
        if !self.outbox.has_room(id.as_bytes().len()) {
            debug!("the server asks but does not read; its question was dropped");
            return;
        }
        let answer = if method == Some("ping") {
            empty_result(id)
        } else {
            let why = "there is no single client that this could be asked";
            error_for(id, ErrorCode::InternalError, why)
        };
        self.outbox.push(&answer);
    }

    /// The sessions that a notification goes to.
    fn audience(&self, message: &Message) -> Vec<Arc<C>> {
        let method = message.method().unwrap_or_default();
        if self.isolation == Isolation::Session || method.ends_with("/list_changed") {
            return self.clients.values().cloned().collect();
        }
        if method == "notifications/resources/updated" {
            let uri = message.uri().unwrap_or_default();
            let followers = self.subscriptions.followers(&uri);
            return followers.filter_map(|key| self.client(key)).collect();
        }
        let one = match self.isolation {
            Isolation::User => self.only_active().or_else(|| self.latest()),
            Isolation::Session | Isolation::Shared => self.only_active(),
        };
        if one.is_none() {
            debug!(
                ?method,
                "a notification that belongs to no session was dropped"
            );
        }
        one.into_iter().collect()
    }

    /// The only session with requests in flight.
    fn only_active(&self) -> Option<Arc<C>> {
        self.mux.only_session().and_then(|key| self.client(key))
    }

    /// The session that spoke last, or any if that one left.
    fn latest(&self) -> Option<Arc<C>> {
        let recent = self.recent.and_then(|key| self.client(key));
        recent.or_else(|| self.someone())
    }

    fn someone(&self) -> Option<Arc<C>> {
        self.clients.values().next().cloned()
    }
}
