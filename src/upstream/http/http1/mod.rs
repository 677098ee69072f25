//! HTTP/1.1 with the wrapped server (RFC 9112): one exchange at a time on a connection.
//!
//! A connection is driven by whoever waits for the answer. It has no task, no channel and no buffer
//! of its own: what is read goes through room that all connections of a worker share, so that a
//! stream that says nothing holds its socket and little else. An answer that could be read in two
//! ways is none, and its connection carries nothing more (threat case A-125).

mod answer;
mod chunked;
mod content;
mod request;
mod stream;

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::{Method, Response};
use tokio::io::ReadBuf;

use super::upload::Upload;
pub(super) use answer::Malformed;
use content::{Content, Next};
pub(super) use request::Head;
use request::{Sending, Stopped};
pub(super) use stream::Stream;

/// Most bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// As many interim answers (RFC 9110 §15.2) may come before the answer.
const MAX_INTERIM: usize = 16;

/// As much is read at once.
const ROOM: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; ROOM].into_boxed_slice());
}

/// Why an exchange came to no end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Not a byte of the request went out.
    #[error("the connection was closed before the request")]
    Unsent,
    /// The client's fault, or that of its body's size.
    #[error("the request's body broke off")]
    Upload,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server hung up before the end of its answer")]
    HungUp,
    #[error("the server's answer is malformed: {0}")]
    Malformed(#[from] Malformed),
}

pub(super) struct Connection {
    stream: Stream,
    /// What has to go out yet.
    sending: Option<Box<Sending>>,
    /// Read, and not understood yet.
    received: Bytes,
    /// What the answer has to bring yet; nothing before its head is there.
    content: Content,
    /// Whether the answer has no body, whatever its header says: it is one to `HEAD`.
    is_head: bool,
    /// Interim answers so far.
    interim: usize,
    /// Whether another exchange may follow, as far as is known.
    persists: bool,
}

/// For what is done now or not at all: nobody waits.
const fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Connection {
    pub(super) const fn new(stream: Stream) -> Self {
        Self {
            stream,
            sending: None,
            received: Bytes::new(),
            content: Content::NONE,
            is_head: false,
            interim: 0,
            persists: true,
        }
    }

    /// Begins an exchange. What does not go out at once goes out while the answer is waited for.
    pub(super) fn begin(&mut self, head: &Head<'_>, body: Upload) {
        self.is_head = *head.method == Method::HEAD;
        self.interim = 0;
        self.sending = Sending::begin(&mut self.stream, head, body);
    }

    /// The request's body, if the exchange failed with [`Fault::Unsent`].
    pub(super) fn take_back(&mut self) -> Option<Upload> {
        self.sending.take().map(|sending| sending.take_back())
    }

    /// The answer's head. Sends the request on the way.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Fault>> {
        self.send(context)?;
        loop {
            let Some(answer) = answer::parse(&mut self.received, self.is_head)? else {
                if self.received.len() > MAX_HEAD {
                    return Poll::Ready(Err(Malformed::TooLong.into()));
                }
                if ready!(self.poll_read(context))? == 0 {
                    return Poll::Ready(Err(Fault::HungUp));
                }
                continue;
            };
            if answer.is_interim() {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Poll::Ready(Err(Malformed::TooManyInterim.into()));
                }
                continue;
            }
            self.persists &= answer.persists;
            self.content = answer.content;
            return Poll::Ready(Ok(answer.head));
        }
    }

    /// The next of the answer's body.
    pub(super) fn poll_data(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Err(fault) = self.send(context) {
            return Poll::Ready(Some(Err(fault)));
        }
        loop {
            match self.content.next(&mut self.received) {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::Missing) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            match ready!(self.poll_read(context)) {
                Ok(0) if self.content.ends_with_the_connection() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(Fault::HungUp))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// All of the body, if it has come along with the head and says its length: most answers are
    /// that small.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        self.content.take_whole(&mut self.received)
    }

    /// Bytes of the body to come, if the answer says so.
    pub(super) const fn remaining(&self) -> Option<u64> {
        self.content.remaining()
    }

    /// Whether the answer has been read to its end.
    pub(super) const fn has_ended(&self) -> bool {
        self.content.has_ended()
    }

    /// Whether the exchange came to its proper end, and another may follow: the request was out
    /// before the first byte of its answer, and nothing stands behind that.
    pub(super) fn may_be_used_again(&self) -> bool {
        self.persists && self.has_ended() && self.sending.is_none() && self.received.is_empty()
    }

    /// Whether the server neither closed the connection nor said anything unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.poll_read(&mut nobody()).is_pending()
    }

    /// Sends what can be sent now. Who waits, waits for the answer.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let Some(sending) = &mut self.sending else {
            return Ok(());
        };
        match sending.poll(&mut self.stream, context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Stopped::Body)) => return Err(Fault::Upload),
            Poll::Ready(Err(Stopped::Io)) if !sending.has_begun() => return Err(Fault::Unsent),
            // A server that takes no more may have said why.
            Poll::Ready(Err(Stopped::Io)) => self.persists = false,
        }
        self.sending = None;
        Ok(())
    }

    /// Reads what is there: no bytes at the stream's end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ.with_borrow_mut(|room| {
            let mut room = ReadBuf::new(room);
            ready!(self.stream.poll_read(context, &mut room))?;
            let read = room.filled();
            // A server that speaks before it has the whole request may take the rest of that for
            // the next one.
            self.persists &= self.sending.is_none();
            self.received = if self.received.is_empty() {
                Bytes::copy_from_slice(read)
            } else {
                [&self.received, read].concat().into()
            };
            Poll::Ready(Ok(read.len()))
        })
    }
}
