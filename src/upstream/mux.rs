//! The ids, progress tokens and pending questions on one child's wire. No I/O: state and rules only.
//!
//! Every request gets an id of its own on the wire, so two clients that both send `id: 1` cannot
//! cross, by construction (A-098). The same number stands for its progress token. What the child
//! asks keeps the child's id, and is answered by the session that was asked, once.
//!
//! A request is in flight until the child answers it or the guard gives up on it ([`Mux::cancel`],
//! [`Mux::leave`]). A client's own `notifications/cancelled` does not end it: the child may answer
//! all the same, and that answer ends the exchange. One that never comes is the timeout's matter.

use std::collections::HashMap;

use bytes::BytesMut;

use super::{ExchangeId, SendError, SessionKey};
use crate::mcp::{ErrorCode, Kind, Message, RawId, Replace, error_for};

const PROGRESS: &str = "notifications/progress";
const CANCELLED: &str = "notifications/cancelled";

/// An id of ours on the wire: a JSON number, never used again.
type WireId = u64;

/// The state of one wire.
#[derive(Default)]
pub(super) struct Mux {
    last: WireId,
    in_flight: HashMap<WireId, Request>,
    /// The sessions with requests in flight.
    sessions: HashMap<SessionKey, Session>,
    /// The child's requests that wait for an answer, by the child's id, and who was asked.
    asked: HashMap<RawId, SessionKey>,
}

/// A request in flight.
struct Request {
    session: SessionKey,
    exchange: ExchangeId,
    id: RawId,
    token: Option<RawId>,
    /// `initialize` must not be cancelled (2025-11-25, Cancellation, Behavior Requirements 2).
    may_be_cancelled: bool,
}

/// One session's requests in flight, by the client's id and by the gateway's number.
#[derive(Default)]
struct Session {
    by_id: HashMap<RawId, WireId>,
    by_exchange: HashMap<ExchangeId, WireId>,
}

/// Where a message from the child belongs; ids and tokens in it are the client's own again.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The answer to that request; nothing follows for it.
    Last(SessionKey, ExchangeId, Message),
    /// Progress for that request.
    More(SessionKey, ExchangeId, Message),
    /// Concerns a question that this session was asked: the server takes it back.
    ToAsked(SessionKey, Message),
    /// A notification or a request without an owner. Before a request goes to a session, call
    /// [`Mux::ask`].
    Unowned(Message),
    /// Answers, or reports on, nothing that is in flight: dropped.
    Stray(Message),
}

impl Mux {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A client's request: appends its line for the child to `out`.
    pub(super) fn request(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let (Kind::Request, Some(id)) = (message.kind(), message.id()) else {
            return Err(SendError::NotAsked);
        };
        let id = id.detached();
        let of_session = self.sessions.entry(session).or_default();
        if of_session.by_id.contains_key(&id) || of_session.by_exchange.contains_key(&exchange) {
            return Err(SendError::DuplicateId);
        }
        self.last += 1;
        of_session.by_id.insert(id.clone(), self.last);
        of_session.by_exchange.insert(exchange, self.last);
        let token = message.progress_token().map(|token| token.detached());
        let request = Request {
            session,
            exchange,
            id,
            token,
            may_be_cancelled: message.method() != Some("initialize"),
        };
        self.in_flight.insert(self.last, request);
        let wire = self.last.to_string();
        let replace = Replace {
            id: Some(wire.as_bytes()),
            progress_token: Some(wire.as_bytes()),
            cancelled_id: None,
        };
        message.write(out, replace, true);
        Ok(())
    }

    /// A client's notification. A `notifications/cancelled` has its request id replaced, and is
    /// left out (`false`) if the request is not in flight, or is `initialize`. The request stays
    /// in flight.
    pub(super) fn notification(
        &mut self,
        session: SessionKey,
        message: &Message,
        out: &mut BytesMut,
    ) -> bool {
        if message.kind() != Kind::Notification {
            return false;
        }
        if message.method() != Some(CANCELLED) {
            message.write(out, Replace::default(), true);
            return true;
        }
        let Some(wire) = self.cancellable(session, message.cancelled_id()) else {
            return false;
        };
        let wire = wire.to_string();
        let replace = Replace {
            cancelled_id: Some(wire.as_bytes()),
            ..Replace::default()
        };
        message.write(out, replace, true);
        true
    }

    /// A client's answer to a question of the server's.
    pub(super) fn answer(
        &mut self,
        session: SessionKey,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let (Kind::Response { .. }, Some(id)) = (message.kind(), message.id()) else {
            return Err(SendError::NotAsked);
        };
        if !self.withdraw(session, &id) {
            return Err(SendError::NotAsked);
        }
        message.write(out, Replace::default(), true);
        Ok(())
    }

    /// Records that the server's request `id` goes to `session`, which alone may answer it.
    /// `false` if a request with this id is still waiting.
    pub(super) fn ask(&mut self, session: SessionKey, id: &RawId) -> bool {
        if self.asked.contains_key(id) {
            return false;
        }
        self.asked.insert(id.detached(), session);
        true
    }

    /// The question is withdrawn from the session (it could not be delivered in time): appends an
    /// error answer for the child, if it was still waiting.
    pub(super) fn refuse(
        &mut self,
        session: SessionKey,
        id: &RawId,
        why: &str,
        out: &mut BytesMut,
    ) {
        if self.withdraw(session, id) {
            write_refusal(id, why, out);
        }
    }

    /// A message from the child.
    pub(super) fn incoming(&mut self, message: Message) -> Incoming {
        match message.kind() {
            Kind::Response { .. } => self.child_answered(message),
            Kind::Request => Incoming::Unowned(message),
            Kind::Notification => match message.method() {
                Some(PROGRESS) => self.child_progressed(message),
                Some(CANCELLED) => self.child_cancelled(message),
                _ => Incoming::Unowned(message),
            },
        }
    }

    /// Gives up on a request: appends a `notifications/cancelled` for the child; a late answer is
    /// then a stray.
    pub(super) fn cancel(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        why: &str,
        out: &mut BytesMut,
    ) {
        let of_session = self.sessions.get(&session);
        let wire = of_session.and_then(|session| session.by_exchange.get(&exchange));
        let Some(&wire) = wire else { return };
        if let Some(request) = self.finish(wire) {
            request.write_cancelled(wire, why, out);
        }
    }

    /// The session ends: cancels its requests and refuses its questions towards the child.
    pub(super) fn leave(&mut self, session: SessionKey, out: &mut BytesMut) {
        const WHY: &str = "the session has ended";
        let of_session = self.sessions.remove(&session).unwrap_or_default();
        for wire in of_session.by_exchange.into_values() {
            if let Some(request) = self.in_flight.remove(&wire) {
                request.write_cancelled(wire, WHY, out);
            }
        }
        for (id, _) in self.asked.extract_if(|_, asked| *asked == session) {
            write_refusal(&id, WHY, out);
        }
    }

    /// The session that alone has requests in flight, if there is exactly one.
    pub(super) fn only_session(&self) -> Option<SessionKey> {
        let mut sessions = self.sessions.keys().copied();
        sessions.next().filter(|_| sessions.next().is_none())
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn child_answered(&mut self, message: Message) -> Incoming {
        let wire = message.id().and_then(|id| wire_id(&id));
        let Some(request) = wire.and_then(|wire| self.finish(wire)) else {
            return Incoming::Stray(message);
        };
        let replace = Replace {
            id: Some(request.id.as_bytes()),
            ..Replace::default()
        };
        let restored = message.rewritten(replace);
        Incoming::Last(request.session, request.exchange, restored)
    }

    /// None may come after the answer (2025-11-25, Progress, Behavior Requirements 1).
    fn child_progressed(&self, message: Message) -> Incoming {
        let wire = message.progress_token().and_then(|token| wire_id(&token));
        let request = wire.and_then(|wire| self.in_flight.get(&wire));
        let Some((request, token)) =
            request.and_then(|request| Some((request, request.token.as_ref()?)))
        else {
            return Incoming::Stray(message);
        };
        let replace = Replace {
            progress_token: Some(token.as_bytes()),
            ..Replace::default()
        };
        let restored = message.rewritten(replace);
        Incoming::More(request.session, request.exchange, restored)
    }

    /// The child takes a question of its own back; nobody else's request is its to cancel.
    fn child_cancelled(&mut self, message: Message) -> Incoming {
        let id = message.cancelled_id();
        match id.and_then(|id| self.asked.remove(&id)) {
            Some(session) => Incoming::ToAsked(session, message),
            None => Incoming::Stray(message),
        }
    }

    /// The wire id of a session's request that may be cancelled.
    fn cancellable(&self, session: SessionKey, id: Option<RawId>) -> Option<WireId> {
        let wire = *self.sessions.get(&session)?.by_id.get(&id?)?;
        let request = self.in_flight.get(&wire)?;
        request.may_be_cancelled.then_some(wire)
    }

    /// Takes the session's question off the list; whether it was there.
    fn withdraw(&mut self, session: SessionKey, id: &RawId) -> bool {
        self.asked.get(id) == Some(&session) && self.asked.remove(id).is_some()
    }

    fn finish(&mut self, wire: WireId) -> Option<Request> {
        let request = self.in_flight.remove(&wire)?;
        if let Some(session) = self.sessions.get_mut(&request.session) {
            session.by_id.remove(&request.id);
            session.by_exchange.remove(&request.exchange);
            if session.by_id.is_empty() {
                self.sessions.remove(&request.session);
            }
        }
        Some(request)
    }
}

impl Request {
    fn write_cancelled(&self, wire: WireId, why: &str, out: &mut BytesMut) {
        if !self.may_be_cancelled {
            return;
        }
        let why = serde_json::Value::from(why);
        let line = format!(
            r#"{{"jsonrpc":"2.0","method":"{CANCELLED}","params":{{"requestId":{wire},"reason":{why}}}}}"#
        );
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\n");
    }
}

fn write_refusal(id: &RawId, why: &str, out: &mut BytesMut) {
    out.extend_from_slice(&error_for(id, ErrorCode::InternalError, why));
    out.extend_from_slice(b"\n");
}

/// An id or token of ours, if it is the very number that we wrote.
fn wire_id(id: &RawId) -> Option<WireId> {
    std::str::from_utf8(id.as_bytes()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const ANN: SessionKey = SessionKey(1);
    const BEN: SessionKey = SessionKey(2);

    fn parse(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn request(id: &str) -> Message {
        parse(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#
        ))
    }

    fn with_token(id: &str, token: &str) -> Message {
        parse(&format!(
            "{{\"jsonrpc\":\"2.0\",\n\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"_meta\":{{\"progressToken\":{token}}}}}}}"
        ))
    }

    fn result(id: &str, of: &str) -> Message {
        parse(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"of":{of}}}}}"#
        ))
    }

    fn progress(token: &str) -> Message {
        parse(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        ))
    }

    fn cancelled(id: &str) -> Message {
        parse(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        ))
    }

    fn id(text: &str) -> RawId {
        request(text).id().unwrap()
    }

    /// Sends a request; the id it has on the wire.
    fn send(mux: &mut Mux, session: SessionKey, exchange: u64, message: &Message) -> String {
        let mut out = BytesMut::new();
        let sent = mux.request(session, ExchangeId(exchange), message, &mut out);
        assert_eq!(sent, Ok(()));
        let line = only_line(&out);
        String::from_utf8(line.id().unwrap().as_bytes().to_vec()).unwrap()
    }

    /// What a child reads: exactly one line.
    fn only_line(out: &BytesMut) -> Message {
        let line = out.strip_suffix(b"\n").unwrap();
        assert!(!line.contains(&b'\n'));
        Message::parse(Bytes::copy_from_slice(line)).unwrap()
    }

    fn is_stray(incoming: &Incoming) -> bool {
        matches!(incoming, Incoming::Stray(_))
    }

    /// The owner and the raw id of an answer.
    fn last(incoming: Incoming) -> (SessionKey, ExchangeId, RawId) {
        match incoming {
            Incoming::Last(session, exchange, message) => {
                (session, exchange, message.id().unwrap())
            }
            other => panic!("no answer: {other:?}"),
        }
    }

    #[test]
    fn a098_the_same_id_in_two_sessions_stays_two_requests() {
        let mut mux = Mux::new();
        let long = format!("\"{}\"", "x".repeat(1024));
        for text in [
            "1",
            "\"1\"",
            "1.0",
            "1e0",
            "9007199254740993",
            long.as_str(),
        ] {
            let ann = send(&mut mux, ANN, 10, &request(text));
            let ben = send(&mut mux, BEN, 10, &request(text));
            assert_ne!(ann, ben);
            let answer = last(mux.incoming(result(&ben, "\"ben\"")));
            assert_eq!(answer, (BEN, ExchangeId(10), id(text)));
            let answer = last(mux.incoming(result(&ann, "\"ann\"")));
            assert_eq!(answer, (ANN, ExchangeId(10), id(text)));
        }
        assert_eq!(mux.in_flight(), 0);
    }

    #[test]
    fn a098_an_id_in_flight_cannot_be_used_again_by_its_session() {
        let mut mux = Mux::new();
        let wire = send(&mut mux, ANN, 1, &request("1"));
        let mut out = BytesMut::new();
        let again = mux.request(ANN, ExchangeId(2), &request("1"), &mut out);
        assert_eq!(again, Err(SendError::DuplicateId));
        assert!(out.is_empty() && mux.in_flight() == 1);
        send(&mut mux, ANN, 3, &request("\"1\""));
        send(&mut mux, ANN, 4, &request("1.0"));
        last(mux.incoming(result(&wire, "1")));
        send(&mut mux, ANN, 5, &request("1"));
    }

    #[test]
    fn a138_late_duplicate_and_forged_answers_are_strays() {
        let mut mux = Mux::new();
        let wire = send(&mut mux, ANN, 1, &request("1"));
        let number: u64 = wire.parse().unwrap();
        for forged in [
            format!("\"{wire}\""),
            format!("{wire}.0"),
            format!("{wire}e0"),
            format!("-{wire}"),
            (number + 1).to_string(),
            "0".to_owned(),
            "-0".to_owned(),
            "18446744073709551617".to_owned(),
        ] {
            assert!(is_stray(&mux.incoming(result(&forged, "1"))), "{forged}");
        }
        assert!(is_stray(
            &mux.incoming(parse(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#))
        ));
        last(mux.incoming(result(&wire, "1")));
        assert!(is_stray(&mux.incoming(result(&wire, "1"))));
    }

    #[test]
    fn every_byte_but_the_id_passes_as_it_came() {
        let mut mux = Mux::new();
        let mut out = BytesMut::new();
        let text = "{ \"id\" :\"a\",\"x\":1.50e3,\n\"method\":\"m\",\"jsonrpc\":\"2.0\"}";
        mux.request(ANN, ExchangeId(1), &parse(text), &mut out)
            .unwrap();
        let expected = "{ \"id\" :1,\"x\":1.50e3,\"method\":\"m\",\"jsonrpc\":\"2.0\"}\n";
        assert_eq!(out, expected);
        let answer =
            "{\"result\":{\"n\":30000000000000000000000000000001}, \"id\":1,\"jsonrpc\":\"2.0\"}";
        let Incoming::Last(_, _, restored) = mux.incoming(parse(answer)) else {
            panic!("no answer");
        };
        assert_eq!(
            restored.bytes(),
            answer.replace(":1,", ":\"a\",").as_bytes()
        );
    }

    #[test]
    fn a098_progress_reaches_its_owner_with_its_token_until_the_answer() {
        let mut mux = Mux::new();
        let ann = send(&mut mux, ANN, 1, &with_token("1", "\"t\""));
        let ben = send(&mut mux, BEN, 2, &with_token("1", "\"t\""));
        let silent = send(&mut mux, BEN, 3, &request("2"));
        for (wire, session) in [(&ben, BEN), (&ann, ANN), (&ben, BEN)] {
            let Incoming::More(owner, _, message) = mux.incoming(progress(wire)) else {
                panic!("no progress");
            };
            assert_eq!(owner, session);
            assert_eq!(message.progress_token().unwrap().as_bytes(), b"\"t\"");
        }
        for stray in [&silent, "\"t\"", &format!("\"{ann}\""), "null", "99"] {
            assert!(is_stray(&mux.incoming(progress(stray))), "{stray}");
        }
        last(mux.incoming(result(&ann, "1")));
        assert!(is_stray(&mux.incoming(progress(&ann))));
    }

    #[test]
    fn the_token_on_the_wire_is_the_wire_id() {
        let mut mux = Mux::new();
        let mut out = BytesMut::new();
        let message = with_token("\"i\"", "\"t\"");
        mux.request(ANN, ExchangeId(1), &message, &mut out).unwrap();
        let line = only_line(&out);
        assert_eq!(line.id(), line.progress_token());
    }

    #[test]
    fn a_client_cancels_its_own_requests_alone() {
        let mut mux = Mux::new();
        let wire = send(&mut mux, ANN, 1, &request("\"a\""));
        let mut out = BytesMut::new();
        assert!(!mux.notification(BEN, &cancelled("\"a\""), &mut out));
        assert!(!mux.notification(ANN, &cancelled(&wire), &mut out));
        assert!(!mux.notification(ANN, &cancelled("null"), &mut out));
        assert!(out.is_empty());
        assert!(mux.notification(ANN, &cancelled("\"a\""), &mut out));
        assert_eq!(
            only_line(&out).cancelled_id().unwrap().as_bytes(),
            wire.as_bytes()
        );
        assert_eq!(
            last(mux.incoming(result(&wire, "1"))),
            (ANN, ExchangeId(1), id("\"a\""))
        );
    }

    #[test]
    fn initialize_is_never_cancelled() {
        let mut mux = Mux::new();
        let mut out = BytesMut::new();
        send(
            &mut mux,
            ANN,
            1,
            &parse(r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#),
        );
        assert!(!mux.notification(ANN, &cancelled("0"), &mut out));
        mux.cancel(ANN, ExchangeId(1), "timeout", &mut out);
        assert!(out.is_empty() && mux.in_flight() == 0);
    }

    #[test]
    fn other_notifications_pass_on_one_line() {
        let mut mux = Mux::new();
        let mut out = BytesMut::new();
        assert!(mux.notification(ANN, &progress("\"server's\""), &mut out));
        assert_eq!(only_line(&out).bytes(), progress("\"server's\"").bytes());
        assert!(!mux.notification(ANN, &request("1"), &mut out));
    }

    #[test]
    fn what_is_given_up_is_cancelled_and_its_late_answer_is_a_stray() {
        let mut mux = Mux::new();
        let wire = send(&mut mux, ANN, 7, &request("1"));
        let mut out = BytesMut::new();
        mux.cancel(BEN, ExchangeId(7), "no", &mut out);
        mux.cancel(ANN, ExchangeId(8), "no", &mut out);
        assert!(out.is_empty());
        mux.cancel(ANN, ExchangeId(7), "too \"slow\"\n", &mut out);
        let line = only_line(&out);
        assert_eq!(line.cancelled_id().unwrap().as_bytes(), wire.as_bytes());
        assert!(is_stray(&mux.incoming(result(&wire, "1"))));
        mux.cancel(ANN, ExchangeId(7), "again", &mut out);
        only_line(&out);
        send(&mut mux, ANN, 7, &request("1"));
    }

    #[test]
    fn a099_only_the_session_that_was_asked_answers_and_only_once() {
        let mut mux = Mux::new();
        let mut out = BytesMut::new();
        assert!(mux.ask(ANN, &id("5")) && !mux.ask(BEN, &id("5")));
        assert!(mux.ask(BEN, &id("\"5\"")));
        for (session, text) in [(BEN, "5"), (ANN, "\"5\""), (ANN, "5.0"), (ANN, "6")] {
            let answered = mux.answer(session, &result(text, "1"), &mut out);
            assert_eq!(answered, Err(SendError::NotAsked), "{text}");
        }
        assert_eq!(
            mux.answer(ANN, &request("5"), &mut out),
            Err(SendError::NotAsked)
        );
        assert!(out.is_empty());
        assert_eq!(mux.answer(ANN, &result("5", "1"), &mut out), Ok(()));
        assert_eq!(only_line(&out).bytes(), result("5", "1").bytes());
        assert_eq!(
            mux.answer(ANN, &result("5", "1"), &mut out),
            Err(SendError::NotAsked)
        );
    }

    #[test]
    fn a_refused_question_gets_an_error_and_no_answer_after_it() {
        let mut mux = Mux::new();
        let mut out = BytesMut::new();
        mux.ask(ANN, &id("5"));
        mux.refuse(BEN, &id("5"), "not yours", &mut out);
        assert!(out.is_empty());
        mux.refuse(ANN, &id("5"), "no stream", &mut out);
        mux.refuse(ANN, &id("5"), "no stream", &mut out);
        let line = only_line(&out);
        assert_eq!(
            (line.kind(), line.id()),
            (Kind::Response { is_error: true }, Some(id("5")))
        );
        assert_eq!(
            mux.answer(ANN, &result("5", "1"), &mut out),
            Err(SendError::NotAsked)
        );
    }

    #[test]
    fn the_child_takes_back_its_own_questions_alone() {
        let mut mux = Mux::new();
        let wire = send(&mut mux, ANN, 1, &request("1"));
        mux.ask(BEN, &id("\"q\""));
        assert!(is_stray(&mux.incoming(cancelled(&wire))));
        assert!(matches!(
            mux.incoming(cancelled("\"q\"")),
            Incoming::ToAsked(BEN, _)
        ));
        assert!(is_stray(&mux.incoming(cancelled("\"q\""))));
        let late = mux.answer(BEN, &result("\"q\"", "1"), &mut BytesMut::new());
        assert_eq!(late, Err(SendError::NotAsked));
        assert_eq!(mux.in_flight(), 1);
    }

    #[test]
    fn what_belongs_to_no_request_is_unowned() {
        let mut mux = Mux::new();
        let log = parse(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
        for message in [request("1"), log] {
            assert!(matches!(mux.incoming(message), Incoming::Unowned(_)));
        }
    }

    #[test]
    fn a_session_that_leaves_takes_its_requests_and_questions_with_it() {
        let mut mux = Mux::new();
        let ann = send(&mut mux, ANN, 1, &request("1"));
        let ben = send(&mut mux, BEN, 2, &request("1"));
        mux.ask(ANN, &id("8"));
        mux.ask(BEN, &id("9"));
        assert_eq!(mux.only_session(), None);
        let mut out = BytesMut::new();
        mux.leave(ANN, &mut out);
        let lines: Vec<Message> = out[..]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Message::parse(Bytes::copy_from_slice(line)).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].cancelled_id().unwrap().as_bytes(), ann.as_bytes());
        assert_eq!(lines[1].id(), Some(id("8")));
        assert!(is_stray(&mux.incoming(result(&ann, "1"))));
        assert_eq!(mux.only_session(), Some(BEN));
        last(mux.incoming(result(&ben, "1")));
        assert_eq!((mux.only_session(), mux.in_flight()), (None, 0));
        assert!(mux.answer(BEN, &result("9", "1"), &mut out).is_ok());
    }

    const IDS: [&str; 7] = [
        "1",
        "\"1\"",
        "1.0",
        "1e0",
        "9007199254740993",
        "\"\\u0031\"",
        "-1",
    ];

    /// One step of a run: which session, which id, and what happens.
    #[derive(Clone, Debug)]
    enum Step {
        Send(SessionKey, usize),
        Answer(prop::sample::Index),
        Progress(prop::sample::Index),
        Cancel(prop::sample::Index),
        Forge(u64),
        Leave(SessionKey),
    }

    fn step() -> impl Strategy<Value = Step> {
        let session = prop_oneof![Just(ANN), Just(BEN)];
        prop_oneof![
            8 => (session.clone(), 0..IDS.len()).prop_map(|(who, id)| Step::Send(who, id)),
            5 => any::<prop::sample::Index>().prop_map(Step::Answer),
            3 => any::<prop::sample::Index>().prop_map(Step::Progress),
            1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            1 => (1000_u64..).prop_map(Step::Forge),
            1 => session.prop_map(Step::Leave),
        ]
    }

    proptest! {
        /// The model is a list of (session, exchange, id, wire id); the token is the id too.
        #[test]
        fn a098_every_answer_reaches_its_owner(steps in prop::collection::vec(step(), 1..200)) {
            let mut mux = Mux::new();
            let mut flying: Vec<(SessionKey, ExchangeId, RawId, String)> = Vec::new();
            let mut gone: Vec<String> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let mut out = BytesMut::new();
                match step {
                    Step::Send(session, at) => {
                        let message = with_token(IDS[at], IDS[at]);
                        let exchange = ExchangeId(number as u64);
                        let sent = mux.request(session, exchange, &message, &mut out);
                        let own = id(IDS[at]);
                        let known = flying.iter().any(|one| one.0 == session && one.2 == own);
                        prop_assert_eq!(sent.is_err(), known);
                        if !known {
                            let wire = only_line(&out).id().unwrap();
                            let wire = String::from_utf8(wire.as_bytes().to_vec()).unwrap();
                            flying.push((session, exchange, own, wire));
                        }
                    }
                    Step::Answer(at) if !flying.is_empty() => {
                        let (session, exchange, own, wire) = flying.swap_remove(at.index(flying.len()));
                        let answer = last(mux.incoming(result(&wire, "1")));
                        prop_assert_eq!(answer, (session, exchange, own));
                        gone.push(wire);
                    }
                    Step::Progress(at) if !flying.is_empty() => {
                        let (session, exchange, own, wire) = &flying[at.index(flying.len())];
                        let Incoming::More(to, of, message) = mux.incoming(progress(wire)) else {
                            return Err(TestCaseError::fail("no progress"));
                        };
                        prop_assert_eq!((&to, &of), (session, exchange));
                        let token = message.progress_token();
                        prop_assert_eq!(token.as_ref(), Some(own));
                    }
                    Step::Cancel(at) if !flying.is_empty() => {
                        let (session, exchange, _, wire) = flying.swap_remove(at.index(flying.len()));
                        mux.cancel(session, exchange, "timeout", &mut out);
                        let told = only_line(&out).cancelled_id().unwrap();
                        prop_assert_eq!(told.as_bytes(), wire.as_bytes());
                        gone.push(wire);
                    }
                    Step::Forge(wire) => prop_assert!(is_stray(&mux.incoming(result(&wire.to_string(), "1")))),
                    Step::Leave(session) => {
                        mux.leave(session, &mut out);
                        gone.extend(flying.extract_if(.., |one| one.0 == session).map(|one| one.3));
                    }
                    _ => {}
                }
                if let Some(wire) = gone.last() {
                    prop_assert!(is_stray(&mux.incoming(result(wire, "1"))));
                    prop_assert!(is_stray(&mux.incoming(progress(wire))));
                }
                prop_assert_eq!(mux.in_flight(), flying.len());
                let one = flying.first().map(|one| one.0);
                let alone = one.filter(|&session| flying.iter().all(|one| one.0 == session));
                prop_assert_eq!(mux.only_session(), alone);
            }
        }
    }
}
