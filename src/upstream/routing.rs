//! Who gets what a child says by itself: stdio tells nothing about whom a server's request or
//! notification is meant for (B3, B6, B11).
//!
//! Each message goes to exactly one session (H13), but for changes of lists, which concern all. On
//! a wire that different users share, what cannot be told apart goes to nobody: better lost than
//! in another user's hands (B10).

use std::sync::Arc;

use tracing::debug;

use super::state::{Parcel, State, empty_result};
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
        if self.mux.ask(client.key(), &id) {
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

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::super::ExchangeId;
    use super::super::tests::{Recorder, message};
    use super::super::wire::Wire;
    use super::*;

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    const ASK: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}"#;
    const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;

    fn wire(isolation: Isolation) -> (Wire<Recorder>, Arc<Recorder>, Arc<Recorder>) {
        let wire = Wire::new(isolation, Handle::current());
        let [ada, bob] = [Recorder::new(1), Recorder::new(2)];
        assert!(wire.attach(&ada) && wire.attach(&bob));
        (wire, ada, bob)
    }

    fn call(wire: &Wire<Recorder>, client: &Recorder) {
        let call = message(CALL);
        wire.request(client.key(), ExchangeId(1), &call).unwrap();
    }

    async fn sent(wire: &Wire<Recorder>) -> String {
        let mut batch = bytes::BytesMut::new();
        assert!(wire.next_batch(&mut batch).await);
        String::from_utf8(batch.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn b6_a_question_goes_to_the_only_session_with_requests_in_flight() {
        for isolation in [Isolation::User, Isolation::Shared] {
            let (wire, ada, bob) = wire(isolation);
            call(&wire, &ada);
            for text in [ASK, PING, LOG] {
                wire.incoming(message(text));
            }
            let unowned = [ASK, PING, LOG].map(|text| format!("unowned {text}"));
            assert_eq!(ada.take(), unowned);
            assert!(bob.take().is_empty());
            let answer = message(r#"{"jsonrpc":"2.0","id":"q","result":{}}"#);
            assert!(wire.respond(bob.key(), &answer).is_err());
            assert!(wire.respond(ada.key(), &answer).is_ok());
        }
    }

    #[tokio::test]
    async fn b10_between_users_what_cannot_be_told_apart_goes_to_nobody() {
        let (wire, ada, bob) = wire(Isolation::Shared);
        call(&wire, &ada);
        call(&wire, &bob);
        sent(&wire).await;
        for text in [ASK, PING, LOG] {
            wire.incoming(message(text));
        }
        assert!(ada.take().is_empty() && bob.take().is_empty());
        let answers = sent(&wire).await;
        let answers: Vec<_> = answers.lines().collect();
        assert_eq!(answers.len(), 2);
        assert!(answers[0].contains(r#""id":"q""#) && answers[0].contains("-32603"));
        assert_eq!(answers[1], r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    }

    #[tokio::test]
    async fn one_users_latest_session_is_asked_and_told() {
        let (wire, ada, bob) = wire(Isolation::User);
        call(&wire, &ada);
        call(&wire, &bob);
        wire.incoming(message(ASK));
        wire.incoming(message(LOG));
        assert!(ada.take().is_empty());
        assert_eq!(bob.take().len(), 2);
        wire.leave(bob.key());
        wire.incoming(message(LOG));
        assert_eq!(ada.take().len(), 1);
    }

    #[tokio::test]
    async fn b11_changed_lists_concern_all_and_a_resource_its_followers() {
        let (wire, ada, bob) = wire(Isolation::Shared);
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        wire.incoming(message(changed));
        assert_eq!((ada.take().len(), bob.take().len()), (1, 1));

        let subscribe =
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:b"}}"#;
        let request = message(subscribe);
        wire.request(bob.key(), ExchangeId(1), &request).unwrap();
        let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#;
        wire.incoming(message(updated));
        wire.incoming(message(&updated.replace("a:b", "a:c")));
        assert_eq!((ada.take().len(), bob.take().len()), (0, 1));
    }

    #[tokio::test]
    async fn a_sessions_own_child_speaks_to_it_alone() {
        let wire = Wire::new(Isolation::Session, Handle::current());
        let ada = Recorder::new(1);
        assert!(wire.attach(&ada));
        for text in [ASK, PING, LOG] {
            wire.incoming(message(text));
        }
        assert_eq!(ada.take().len(), 3);
    }
}
