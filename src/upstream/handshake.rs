//! One `initialize` for many sessions.
//!
//! A child that serves several sessions (user and shared isolation) is initialised once. The first
//! session's `initialize` goes to it in the wire's own name, so that no session that leaves or
//! gives up can cancel it (H25); its answer is everybody's, each with their own id.

use super::{ExchangeId, SessionKey};
use crate::mcp::{Message, RawId, Replace};

#[derive(Default)]
pub(super) struct Handshake {
    phase: Phase,
    initialized: bool,
}

#[derive(Default)]
enum Phase {
    #[default]
    Fresh,
    /// The child was asked, and these wait for its answer. None of them may be left.
    Asked(Vec<Waiter>),
    Answered(Message),
}

/// A session's `initialize`.
pub(super) struct Waiter {
    pub(super) session: SessionKey,
    pub(super) exchange: ExchangeId,
    pub(super) message: Message,
}

/// What to do about an `initialize`.
pub(super) enum Step {
    /// Ask the child.
    Ask,
    /// The answer comes with that of another.
    Wait,
    /// It is here.
    Answer(Message),
}

impl Handshake {
    pub(super) fn begin(&mut self, waiter: Waiter) -> Step {
        match &mut self.phase {
            Phase::Fresh => {
                self.phase = Phase::Asked(vec![waiter]);
                Step::Ask
            }
            Phase::Asked(waiting) => {
                waiting.push(waiter);
                Step::Wait
            }
            Phase::Answered(answer) => Step::Answer(readdressed(answer, &waiter.message)),
        }
    }

    /// The child could not be asked after all.
    pub(super) fn unask(&mut self) {
        self.phase = Phase::Fresh;
    }

    /// The child's answer: who gets what. An error is the first one's alone, and the next is to be
    /// asked for: see [`Self::next`].
    pub(super) fn answered(
        &mut self,
        answer: Message,
        is_error: bool,
    ) -> Vec<(SessionKey, ExchangeId, Message)> {
        let Phase::Asked(waiting) = &mut self.phase else {
            return Vec::new();
        };
        let served = if is_error {
            waiting.len().min(1)
        } else {
            waiting.len()
        };
        let address = |waiter: Waiter| {
            let message = readdressed(&answer, &waiter.message);
            (waiter.session, waiter.exchange, message)
        };
        let answers = waiting.drain(..served).map(address).collect();
        match (is_error, waiting.is_empty()) {
            (false, _) => self.phase = Phase::Answered(answer),
            (true, true) => self.phase = Phase::Fresh,
            (true, false) => {}
        }
        answers
    }

    /// The `initialize` to ask the child with after an error.
    pub(super) fn next(&self) -> Option<Message> {
        match &self.phase {
            Phase::Asked(waiting) => waiting.first().map(|waiter| waiter.message.clone()),
            Phase::Fresh | Phase::Answered(_) => None,
        }
    }

    /// Whether a `notifications/initialized` is to pass: the first one.
    pub(super) fn initialized(&mut self) -> bool {
        !std::mem::replace(&mut self.initialized, true)
    }

    /// Forgets those that no longer wait; whether there were any.
    pub(super) fn withdraw(&mut self, gone: impl Fn(&Waiter) -> bool) -> bool {
        let Phase::Asked(waiting) = &mut self.phase else {
            return false;
        };
        let before = waiting.len();
        waiting.retain(|waiter| !gone(waiter));
        waiting.len() < before
    }
}

/// The answer under the id of another request.
fn readdressed(answer: &Message, request: &Message) -> Message {
    let id = request.id();
    answer.rewritten(Replace {
        id: id.as_ref().map(RawId::as_bytes),
        ..Replace::default()
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn waiter(session: u64, id: &str) -> Waiter {
        Waiter {
            session: SessionKey(session),
            exchange: ExchangeId(session),
            message: message(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{}}}}"#
            )),
        }
    }

    fn ids(answers: &[(SessionKey, ExchangeId, Message)]) -> Vec<(u64, String)> {
        let id = |message: &Message| message.id().unwrap().as_bytes().to_vec();
        answers
            .iter()
            .map(|(session, _, message)| (session.0, String::from_utf8(id(message)).unwrap()))
            .collect()
    }

    const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"x":1}}"#;
    const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#;

    #[test]
    fn one_answer_serves_all_that_wait_and_all_that_come() {
        let mut handshake = Handshake::default();
        assert!(matches!(handshake.begin(waiter(1, "1")), Step::Ask));
        assert!(matches!(handshake.begin(waiter(2, "\"a\"")), Step::Wait));
        let answers = handshake.answered(message(RESULT), false);
        assert_eq!(ids(&answers), [(1, "1".into()), (2, "\"a\"".into())]);
        let Step::Answer(answer) = handshake.begin(waiter(3, "7")) else {
            panic!("the answer is known");
        };
        assert_eq!(&answer.bytes()[..], RESULT.replace(":1,", ":7,").as_bytes());
        assert!(handshake.initialized());
        assert!(!handshake.initialized());
    }

    #[test]
    fn after_an_error_the_next_one_is_tried() {
        let mut handshake = Handshake::default();
        handshake.begin(waiter(1, "1"));
        handshake.begin(waiter(2, "2"));
        assert_eq!(
            ids(&handshake.answered(message(ERROR), true)),
            [(1, "1".into())]
        );
        assert_eq!(handshake.next().unwrap().id(), waiter(2, "2").message.id());
        assert_eq!(
            ids(&handshake.answered(message(ERROR), true)),
            [(2, "2".into())]
        );
        assert!(handshake.next().is_none());
        assert!(matches!(handshake.begin(waiter(3, "3")), Step::Ask));
    }

    #[test]
    fn who_gave_up_gets_nothing_and_the_answer_is_kept() {
        let mut handshake = Handshake::default();
        handshake.begin(waiter(1, "1"));
        assert!(handshake.withdraw(|waiter| waiter.session == SessionKey(1)));
        assert!(handshake.answered(message(RESULT), false).is_empty());
        assert!(matches!(handshake.begin(waiter(2, "2")), Step::Answer(_)));
    }
}
