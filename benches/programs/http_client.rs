//! As much of an HTTP/1.1 client as measuring needs: one keep-alive connection, whole
//! answers. Small, so that the load costs little of the two cores it shares.

use anyhow::{Context, bail};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls::Server;

const READ: usize = 16 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

/// An answer whose body is complete; spans of what was received.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let mut connection = Self::small(address).await?;
        connection.received.reserve(READ);
        Ok(connection)
    }

    /// As [`Self::open`], over TLS if `secure` says with whom.
    pub(crate) async fn open_to(address: &str, secure: Option<&Server>) -> anyhow::Result<Self> {
        let Some(server) = secure else {
            return Self::open(address).await;
        };
        let stream = server.connect(tcp(address).await?).await?;
        Ok(Self {
            stream: Box::new(stream),
            received: Vec::with_capacity(READ),
        })
    }

    /// A connection for short answers, which grows as it must.
    pub(crate) async fn small(address: &str) -> anyhow::Result<Self> {
        Ok(Self {
            stream: Box::new(tcp(address).await?),
            received: Vec::new(),
        })
    }

    /// Sends one request and waits for the whole of its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        loop {
            self.read().await?;
            if self.is_complete() {
                break;
            }
        }
        let head = self.head_length().context("no head")?;
        let (head, body) = self.received.split_at_checked(head).context("no body")?;
        let head = std::str::from_utf8(head)?;
        Ok(Answer {
            status: status_of(head)?,
            head,
            body,
        })
    }

    /// Sends a request whose answer never ends, and waits for its head.
    pub(crate) async fn open_stream(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.received.clear();
        self.stream.write_all(request).await?;
        while self.head_length().is_none() {
            self.read().await?;
        }
        status_of(std::str::from_utf8(&self.received)?)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            bail!(
                "the server hung up after {:?}",
                String::from_utf8_lossy(&self.received)
            );
        }
        Ok(())
    }

    fn head_length(&self) -> Option<usize> {
        memmem::find(&self.received, b"\r\n\r\n").map(|end| end + 4)
    }

    fn is_complete(&self) -> bool {
        let Some(length) = self.head_length() else {
            return false;
        };
        let (head, body) = self.received.split_at(length);
        match content_length(head) {
            Some(length) => body.len() >= length,
            // Chunked: an answer of this size never holds the mark of the end inside.
            None => body.ends_with(b"\r\n0\r\n\r\n") || status(head) == Some(202),
        }
    }
}

async fn tcp(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn content_length(head: &[u8]) -> Option<usize> {
    let value = header(head, b"content-length:")?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// The value of the header that `name` begins, whatever its case.
pub(crate) fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (begin, value) = line.split_at_checked(name.len())?;
        begin.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

fn status(head: &[u8]) -> Option<u16> {
    let digits = head.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn status_of(head: &str) -> anyhow::Result<u16> {
    status(head.as_bytes()).with_context(|| format!("no status in {head:?}"))
}

/// A POST of `body`; `head` has every other header line, each ended by CRLF.
pub(crate) fn post(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let json = "content-type: application/json\r\naccept: application/json, text/event-stream";
    format!("POST /mcp HTTP/1.1\r\n{head}{json}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}
