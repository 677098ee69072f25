//! A request on its way to the wrapped server (RFC 9112 §3, §6).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;

use super::stream::Stream;
use crate::http::headers::{Constant, write_line};
use crate::upstream::http::upload::Upload;

/// What is known of a request before its body.
pub(in crate::upstream::http) struct Head<'r> {
    pub(in crate::upstream::http) method: &'r Method,
    pub(in crate::upstream::http) target: &'r PathAndQuery,
    pub(in crate::upstream::http) host: &'r HeaderValue,
    /// All but `Host`, what frames the body, and what is constant.
    pub(in crate::upstream::http) fields: &'r [(&'r HeaderName, &'r HeaderValue)],
    pub(in crate::upstream::http) constant: &'r Constant,
}

/// What has to go out yet.
pub(super) struct Sending {
    /// Before the data: the head, or a chunk's.
    before: Bytes,
    data: Bytes,
    after: &'static [u8],
    /// Where more data comes from.
    body: Upload,
    framing: Framing,
    has_begun: bool,
    /// The connection took no more already when the request was begun.
    has_failed: bool,
}

/// How the server learns where the body ends (RFC 9112 §6).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// `Content-Length`, or nothing.
    Length,
    Chunked,
    /// All of the body is in what has to go out.
    Done,
}

/// Why no more goes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The request's body broke off.
    Body,
    /// The connection takes no more.
    Io,
}

/// To copy a body of no more bytes behind the head costs less than to send two pieces.
const SMALL: usize = 2048;

thread_local! {
    /// Where the requests of a worker are put together. Most go out from here at once and whole.
    static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Sending {
    /// Sends what can be sent at once. What is left of a request, if anything, goes out while its
    /// answer is waited for.
    pub(super) fn begin(stream: &mut Stream, head: &Head<'_>, body: Upload) -> Option<Box<Self>> {
        let length = body.size_hint().exact();
        let (framing, data) = match (body.whole_bytes(), length) {
            (Some(data), _) => (Framing::Done, data),
            (None, Some(_)) => (Framing::Length, Bytes::new()),
            (None, None) => (Framing::Chunked, Bytes::new()),
        };
        OUT.with_borrow_mut(|out| {
            out.clear();
            head.encode(length, out);
            if framing == Framing::Done && data.len() <= SMALL {
                out.extend_from_slice(&data);
                return Self::send_at_once(stream, out, body);
            }
            Some(Box::new(Self {
                before: Bytes::copy_from_slice(out),
                data,
                after: b"",
                body,
                framing,
                has_begun: false,
                has_failed: false,
            }))
        })
    }

    /// TLS may have taken what it then failed to send: that is not to be given to it again.
    fn send_at_once(stream: &mut Stream, whole: &[u8], body: Upload) -> Option<Box<Self>> {
        let (written, has_failed) = match stream.write_at_once(whole) {
            Ok(written) => (written, false),
            Err(_) => (0, true),
        };
        let left = whole.get(written..).unwrap_or_default();
        if left.is_empty() && stream.is_flushed() {
            return None;
        }
        Some(Box::new(Self {
            before: Bytes::copy_from_slice(left),
            data: Bytes::new(),
            after: b"",
            body,
            framing: Framing::Done,
            has_begun: written > 0,
            has_failed,
        }))
    }

    /// Whether a byte has gone out.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(super) fn take_back(self) -> Upload {
        self.body
    }

    /// Ready when all is out.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        if self.has_failed {
            return Poll::Ready(Err(Stopped::Io));
        }
        loop {
            let written = ready!(self.poll_write(stream, context));
            written.map_err(|_| Stopped::Io)?;
            if self.framing == Framing::Done {
                let flushed = ready!(stream.poll_flush(context));
                return Poll::Ready(flushed.map_err(|_| Stopped::Io));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                // What there is goes out, whenever the rest comes.
                let flushed = ready!(stream.poll_flush(context));
                flushed.map_err(|_| Stopped::Io)?;
                return Poll::Pending;
            };
            match frame.transpose().map_err(|_| Stopped::Body)? {
                Some(frame) => self.put(frame.into_data().unwrap_or_default()),
                None => self.put_end(),
            }
        }
    }

    fn poll_write(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !(self.before.is_empty() && self.data.is_empty() && self.after.is_empty()) {
            let written = if self.data.is_empty() && self.after.is_empty() {
                ready!(stream.poll_write(context, &self.before))?
            } else {
                let pieces = [&*self.before, &*self.data, self.after].map(IoSlice::new);
                ready!(stream.poll_write_vectored(context, &pieces))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_begun = true;
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let before = written.min(self.before.len());
        self.before.advance(before);
        let data = (written - before).min(self.data.len());
        self.data.advance(data);
        let after = written - before - data;
        self.after = self.after.get(after..).unwrap_or_default();
    }

    fn put(&mut self, data: Bytes) {
        // A chunk without data would be the last one.
        if self.framing == Framing::Chunked && !data.is_empty() {
            self.before = format!("{:x}\r\n", data.len()).into();
            self.after = b"\r\n";
        }
        self.data = data;
    }

    fn put_end(&mut self) {
        if self.framing == Framing::Chunked {
            self.after = b"0\r\n\r\n";
        }
        self.framing = Framing::Done;
    }
}

impl Head<'_> {
    /// `length`: of the body, if that is known.
    fn encode(&self, length: Option<u64>, head: &mut Vec<u8>) {
        head.extend_from_slice(self.method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(self.target.as_str().as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(self.host.as_bytes());
        head.extend_from_slice(b"\r\n");
        for (name, value) in self.fields {
            write_line(name, value, head);
        }
        head.extend_from_slice(self.constant.lines());
        self.encode_framing(length, head);
        head.extend_from_slice(b"\r\n");
    }

    /// A method that means something by its body says so when there is none (RFC 9110 §8.6).
    fn encode_framing(&self, length: Option<u64>, head: &mut Vec<u8>) {
        let has_meaning = matches!(*self.method, Method::POST | Method::PUT | Method::PATCH);
        match length {
            Some(0) if !has_meaning => {}
            Some(length) => {
                head.extend_from_slice(b"content-length: ");
                head.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                head.extend_from_slice(b"\r\n");
            }
            None => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn encoded(method: &Method, length: Option<u64>) -> String {
        let name = HeaderName::from_static("x-a");
        let values = [HeaderValue::from_static("1"), HeaderValue::from_static("2")];
        let head = Head {
            method,
            target: &PathAndQuery::from_static("/mcp?a=b"),
            host: &HeaderValue::from_static("server:3000"),
            fields: &[(&name, &values[0])],
            constant: &Constant::from_iter([(&name, &values[1])]),
        };
        let mut encoded = Vec::new();
        head.encode(length, &mut encoded);
        String::from_utf8(encoded).unwrap()
    }

    #[test]
    fn a_head_says_one_thing_about_its_body() {
        let begin = " /mcp?a=b HTTP/1.1\r\nhost: server:3000\r\nx-a: 1\r\nx-a: 2\r\n";
        for (method, length, framing) in [
            (Method::POST, Some(5), "content-length: 5\r\n"),
            (Method::POST, Some(0), "content-length: 0\r\n"),
            (Method::POST, None, "transfer-encoding: chunked\r\n"),
            (Method::DELETE, Some(0), ""),
            (Method::DELETE, Some(2), "content-length: 2\r\n"),
            (Method::GET, Some(0), ""),
        ] {
            let expected = format!("{method}{begin}{framing}\r\n");
            assert_eq!(encoded(&method, length), expected);
        }
    }

    #[test]
    fn what_a_socket_takes_in_pieces_goes_out_in_order() {
        let before: Bytes = Bytes::from_static(b"head");
        for cut in 1..=12 {
            let mut sending = Sending {
                before: before.clone(),
                data: Bytes::from_static(b"data12"),
                after: b"\r\n",
                body: Upload::whole(Bytes::new()),
                framing: Framing::Done,
                has_begun: false,
                has_failed: false,
            };
            let mut out = Vec::new();
            while out.len() < 12 {
                let whole = [&*sending.before, &*sending.data, sending.after].concat();
                let written = cut.min(whole.len());
                out.extend_from_slice(&whole[..written]);
                sending.advance(written);
            }
            assert_eq!(out, b"headdata12\r\n", "{cut}");
        }
    }

    #[tokio::test]
    async fn a_request_that_failed_at_once_is_not_written_a_second_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await;
        let mut stream = Stream::Plain(ours.unwrap());
        let (mut theirs, _) = listener.accept().await.unwrap();
        let mut sending = Sending {
            before: Bytes::from_static(b"GET / HTTP/1.1"),
            data: Bytes::new(),
            after: b"",
            body: Upload::whole(Bytes::new()),
            framing: Framing::Done,
            has_begun: false,
            has_failed: true,
        };
        let outcome = poll_fn(|context| sending.poll(&mut stream, context)).await;
        assert_eq!(outcome, Err(Stopped::Io));
        drop(stream);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert!(received.is_empty());
    }
}
