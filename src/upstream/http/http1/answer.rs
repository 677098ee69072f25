//! The head of the wrapped server's answer (RFC 9112 §4, §5), and what it says of the body (§6.3).
//! Where the standard would guess, this refuses: an answer whose end is in doubt is none.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Response, StatusCode};

use super::chunked::Chunked;
use super::content::Content;

/// Most header fields of an answer.
const MAX_FIELDS: usize = 100;

/// What the guard adds on the way to the client, less what it takes away: a map that grows is made
/// anew.
const ROOM_FOR_OURS: usize = 3;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream::http) enum Malformed {
    #[error("its head cannot be read")]
    Head,
    #[error("its head is too long")]
    TooLong,
    #[error("interim answers go on and on")]
    TooManyInterim,
    #[error("its Content-Length is no number, or there are several")]
    ContentLength,
    #[error("it has a transfer coding that was not asked for")]
    TransferEncoding,
    #[error("a chunk of it cannot be read")]
    Chunk,
}

pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) content: Content,
    /// Whether the server leaves the connection open, as far as the head says.
    pub(super) persists: bool,
}

impl Answer {
    /// Whether another one follows. 101 is the last: what follows is another protocol.
    pub(super) fn is_interim(&self) -> bool {
        let status = self.head.status();
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Takes a head from what was `received`. `None` if that is not all of it.
pub(super) fn parse(received: &mut Bytes, is_head: bool) -> Result<Option<Answer>, Malformed> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut fields = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut fields,
        received,
        &mut room,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed::Head),
    };
    let mut head = Response::new(());
    let status = fields.code.ok_or(Malformed::Head)?;
    *head.status_mut() = StatusCode::from_u16(status).map_err(|_| Malformed::Head)?;
    let (header, framing) = header(received, fields.headers, is_head)?;
    *head.headers_mut() = header;
    let is_newer = fields.version == Some(1);
    received.advance(length);
    let content = framing.content(head.status(), is_head, is_newer)?;
    let persists = is_newer && !framing.closes;
    Ok(Some(Answer {
        head,
        content,
        persists,
    }))
}

/// The values stay where they were received. What frames the body goes no further, but where there
/// is no body to be framed: the length in an answer to `HEAD` is that of another one's.
fn header(
    received: &Bytes,
    fields: &[httparse::Header<'_>],
    is_head: bool,
) -> Result<(HeaderMap, Framing), Malformed> {
    let mut header = HeaderMap::with_capacity(fields.len() + ROOM_FOR_OURS);
    let mut framing = Framing::default();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Head)?;
        if framing.reads(&name, field.value)? && !is_head {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(received.slice_ref(field.value))
            .map_err(|_| Malformed::Head)?;
        header.append(name, value);
    }
    Ok((header, framing))
}

/// What a head says of its body's end, and of what may follow.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
}

impl Framing {
    /// Whether this field frames the body.
    fn reads(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Malformed> {
        if *name == CONTENT_LENGTH {
            self.read_length(value)?;
        } else if *name == TRANSFER_ENCODING {
            self.read_coding(value)?;
        } else {
            self.closes |= *name == CONNECTION && says_close(value);
            return Ok(false);
        }
        Ok(true)
    }

    /// One number, however often it is said (RFC 9110 §8.6).
    fn read_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let length = number(value).ok_or(Malformed::ContentLength)?;
        match self.length.replace(length) {
            Some(other) if other != length => Err(Malformed::ContentLength),
            _ => Ok(()),
        }
    }

    /// The guard asks for no coding (`TE`), so a server may only chunk, and that once.
    fn read_coding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed::TransferEncoding);
        }
        self.is_chunked = true;
        Ok(())
    }

    fn content(
        &self,
        status: StatusCode,
        is_head: bool,
        is_newer: bool,
    ) -> Result<Content, Malformed> {
        let is_empty = is_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match (self.is_chunked, self.length) {
            _ if is_empty => Ok(Content::NONE),
            (true, None) if is_newer => Ok(Content::Chunked(Chunked::Size)),
            (true, _) => Err(Malformed::TransferEncoding),
            (false, Some(length)) => Ok(Content::Length(length)),
            (false, None) => Ok(Content::UntilClose),
        }
    }
}

/// Digits alone: `+5` is a number to Rust.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

fn says_close(value: &[u8]) -> bool {
    let mut options = value.split(|&byte| byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Result<Option<Answer>, Malformed> {
        parse(&mut Bytes::copy_from_slice(head.as_bytes()), false)
    }

    /// The answer with these header lines.
    fn answer(lines: &str) -> Result<Answer, Malformed> {
        parsed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).map(|answer| answer.expect("whole"))
    }

    #[test]
    fn a_head_is_taken_and_what_follows_stays() {
        let mut received = Bytes::from_static(
            b"HTTP/1.1 404 Not Here\r\nContent-Length: 3\r\nX-A: 1\r\nX-A: 2 \r\n\r\nabcHTTP",
        );
        let answer = parse(&mut received, false).unwrap().unwrap();
        assert_eq!(answer.head.status(), StatusCode::NOT_FOUND);
        let values: Vec<_> = answer.head.headers().get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(answer.content.remaining(), Some(3));
        assert!(answer.persists);
        assert_eq!(received, "abcHTTP");
    }

    #[test]
    fn a_head_in_pieces_is_awaited_and_nothing_of_it_is_taken() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for end in 0..head.len() {
            let mut received = Bytes::copy_from_slice(&head[..end]);
            assert!(parse(&mut received, false).unwrap().is_none(), "{end}");
            assert_eq!(received.len(), end);
        }
    }

    #[test]
    fn a125_an_answer_whose_end_is_in_doubt_is_none() {
        for (lines, expected) in [
            ("content-length: +5", Malformed::ContentLength),
            ("content-length: -1", Malformed::ContentLength),
            ("content-length: 5x", Malformed::ContentLength),
            ("content-length: 5, 5", Malformed::ContentLength),
            ("content-length:", Malformed::ContentLength),
            (
                "content-length: 18446744073709551616",
                Malformed::ContentLength,
            ),
            (
                "content-length: 5\r\ncontent-length: 6",
                Malformed::ContentLength,
            ),
            (
                "transfer-encoding: chunked\r\ncontent-length: 5",
                Malformed::TransferEncoding,
            ),
            (
                "transfer-encoding: gzip, chunked",
                Malformed::TransferEncoding,
            ),
            ("transfer-encoding: identity", Malformed::TransferEncoding),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                Malformed::TransferEncoding,
            ),
            ("no colon", Malformed::Head),
            ("a b: c", Malformed::Head),
            (" folded: x", Malformed::Head),
            ("x: a\0b", Malformed::Head),
        ] {
            assert_eq!(answer(lines).err(), Some(expected), "{lines}");
        }
        let many = vec!["x: y"; MAX_FIELDS + 1].join("\r\n");
        assert_eq!(answer(&many).err(), Some(Malformed::Head));
        for head in [
            "nonsense\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
        ] {
            assert_eq!(parsed(head).err(), Some(Malformed::Head), "{head}");
        }
        let old = parsed("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(old.err(), Some(Malformed::TransferEncoding));
    }

    #[test]
    fn the_end_of_a_body_is_where_the_head_says() {
        let remaining = |lines| answer(lines).unwrap().content.remaining();
        assert_eq!(remaining("content-length: 5"), Some(5));
        assert_eq!(remaining("content-length: 5\r\ncontent-length: 5"), Some(5));
        assert!(matches!(
            answer("x: y").unwrap().content,
            Content::UntilClose
        ));
        let chunked = answer("transfer-encoding: Chunked").unwrap().content;
        assert!(matches!(chunked, Content::Chunked(_)));
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for status in ["204", "304", "101", "100"] {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n");
            assert!(
                parsed(&head).unwrap().unwrap().content.has_ended(),
                "{status}"
            );
        }
        let mut to_head = Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        let answer = parse(&mut to_head, true).unwrap().unwrap();
        assert!(answer.content.has_ended());
        assert_eq!(answer.head.headers()[CONTENT_LENGTH], "5");
    }

    #[test]
    fn what_frames_a_body_ends_with_it() {
        for lines in ["content-length: 5", "transfer-encoding: chunked"] {
            assert!(answer(lines).unwrap().head.headers().is_empty(), "{lines}");
        }
    }

    #[test]
    fn a_connection_persists_unless_the_server_says_or_knows_otherwise() {
        assert!(answer("connection: keep-alive").unwrap().persists);
        assert!(!answer("connection: x, Close").unwrap().persists);
        let old = parsed("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n");
        assert!(!old.unwrap().unwrap().persists);
    }
}
