//! What a child writes to stdout, line by line.
//!
//! Many servers print to stdout what is no message. Such lines are counted, logged now and then and
//! left out, and the rest goes on (C4, A-130); only a child that writes nothing else is given up.
//! A line that is too long is dropped up to its end (A-132).

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tracing::info;

use super::stderr::TARGET;
use super::throttle::Throttle;
use crate::mcp::{Line, LineSplitter, Message, ParseError, parse_batch};

/// Bytes of a line.
const LINE_LIMIT: usize = 16 * 1024 * 1024;
/// Lines in a row that are no messages.
const GARBAGE_LIMIT: u32 = 1000;
const LOGGED_PER_SECOND: u32 = 5;
/// How much of a line the log shows.
const SHOWN: usize = 200;

pub(super) struct Output {
    splitter: LineSplitter,
    number: u64,
    garbage: u32,
    throttle: Throttle,
}

impl Output {
    /// `number` names the child in the log.
    pub(super) fn new(number: u64) -> Self {
        Self {
            splitter: LineSplitter::new(LINE_LIMIT),
            number,
            garbage: 0,
            throttle: Throttle::new(LOGGED_PER_SECOND, Instant::now()),
        }
    }

    /// Where to read into.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.splitter.buffer()
    }

    /// Hands on every message that is complete. `false` if there was too much garbage.
    pub(super) fn hand_on(&mut self, mut take: impl FnMut(Message)) -> bool {
        while let Some(line) = self.splitter.next_line() {
            match line {
                Line::Whole(line) => self.line(&line, &mut take),
                Line::TooLong(start) => self.too_long(&start, &mut take),
            }
            if self.garbage >= GARBAGE_LIMIT {
                return false;
            }
        }
        true
    }

    fn line(&mut self, line: &Bytes, take: &mut impl FnMut(Message)) {
        match Message::parse(line.clone()) {
            Ok(message) => {
                self.garbage = 0;
                take(message);
            }
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(ParseError::Batch) => self.batch(line, take),
            Err(error) => self.skip(line, &error.to_string()),
        }
    }

    /// Servers of 2025-03-26 may send batches.
    fn batch(&mut self, line: &Bytes, take: &mut impl FnMut(Message)) {
        match parse_batch(line) {
            Ok(messages) => {
                self.garbage = 0;
                messages.into_iter().for_each(take);
            }
            Err(error) => self.skip(line, &error.to_string()),
        }
    }

    /// If its beginning says which request it answers, that one gets an error at once.
    fn too_long(&mut self, start: &[u8], take: &mut impl FnMut(Message)) {
        self.skip(start, "longer than 16 MiB");
        if let Some(message) = answered_id(start).and_then(too_large) {
            take(message);
        }
    }

    fn skip(&mut self, line: &[u8], error: &str) {
        self.garbage += 1;
        let Some(held_back) = self.throttle.allow(Instant::now()) else {
            return;
        };
        let (shown, _) = line.split_at(line.len().min(SHOWN));
        let (child, stdout) = (self.number, &*String::from_utf8_lossy(shown));
        info!(target: TARGET, child, held_back, error, stdout, "not a message");
    }
}

/// The id in an answer that begins `{"jsonrpc":"2.0","id":7,`: what most servers write. Only there
/// it is certain to be the answer's own and no other member called `id`.
fn answered_id(start: &[u8]) -> Option<&[u8]> {
    let start = start.strip_prefix(br#"{"jsonrpc":"2.0","id":"#)?;
    let (id, rest) = start.split_at(start.iter().position(|byte| *byte == b',')?);
    let is_answer = [&br#","result""#[..], br#","error""#]
        .iter()
        .any(|member| rest.starts_with(member));
    (is_answer && id.iter().all(u8::is_ascii_digit)).then_some(id)
}

fn too_large(id: &[u8]) -> Option<Message> {
    let parts: [&[u8]; 3] = [
        br#"{"jsonrpc":"2.0","id":"#,
        id,
        br#","error":{"code":-32603,"message":"the server's answer is too large"}}"#,
    ];
    Message::parse(parts.concat().into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(output: &mut Output, input: &[u8]) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        output.buffer().extend_from_slice(input);
        let go_on = output.hand_on(|message| {
            found.push(String::from_utf8(message.bytes().to_vec()).unwrap());
        });
        (found, go_on)
    }

    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    #[test]
    fn a130_garbage_between_messages_is_left_out() {
        let mut output = Output::new(1);
        let input = format!("Server ready!\n\n \t\r\n{PING}\r\n[1,2\n{PING}\n");
        let mut input = input.into_bytes();
        input.extend_from_slice(b"{\"\xff\":1}\n");
        assert_eq!(messages(&mut output, &input), (vec![PING.into(); 2], true));
    }

    #[test]
    fn a130_a_child_that_only_babbles_is_given_up() {
        let mut output = Output::new(1);
        let babble = "la\n".repeat(GARBAGE_LIMIT as usize - 1);
        assert!(messages(&mut output, babble.as_bytes()).1);
        assert!(messages(&mut output, format!("{PING}\n{babble}").as_bytes()).1);
        assert!(!messages(&mut output, b"la\n").1);
    }

    #[test]
    fn a_batch_is_taken_apart() {
        let mut output = Output::new(1);
        let (found, _) = messages(&mut output, format!("[{PING},{PING}]\n").as_bytes());
        assert_eq!(found, [PING, PING]);
    }

    #[test]
    fn a132_a_giant_answer_becomes_an_error_and_the_next_line_counts() {
        let mut output = Output::new(1);
        let mut giant = br#"{"jsonrpc":"2.0","id":31,"result":{"text":""#.to_vec();
        giant.resize(LINE_LIMIT + 5, b'x');
        giant.extend_from_slice(b"\"}}\n");
        giant.extend_from_slice(PING.as_bytes());
        giant.push(b'\n');
        let mut found = Vec::new();
        for chunk in giant.chunks(1 << 20) {
            found.extend(messages(&mut output, chunk).0);
        }
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with(r#"{"jsonrpc":"2.0","id":31,"error":"#));
        assert_eq!(found[1], PING);
    }

    #[test]
    fn only_an_answers_own_id_is_taken_from_its_beginning() {
        let id = |start: &str| answered_id(start.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(
            id(r#"{"jsonrpc":"2.0","id":31,"result":{"#),
            Some(b"31".to_vec())
        );
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":31,"method":"x"#), None);
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":"a,"result":"#), None);
        assert_eq!(id(r#"{"result":{"id":31,"result":"#), None);
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":31"#), None);
    }
}
