//! Workers on loopback with a toy service, looked at through plain sockets.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use hyper::StatusCode;
use tokio::sync::Notify;

use super::deadlines::Timeouts;
use super::*;
use crate::http::{Body, RequestBody, canonicalise, full};

/// Longer than anything here takes; only a failure waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const SHORT: Duration = Duration::from_millis(150);

#[derive(Default)]
pub(super) struct Toy {
    drain: Drain,
    /// Lets `/slow` answer.
    go: Notify,
    slow: AtomicUsize,
    pub(super) streams: Arc<AtomicUsize>,
}

impl Service for Toy {
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Reply> {
        assert!(request.uri().path() != "/panic-at-once", "as asked");
        self.answer(request, peer)
    }
}

impl Toy {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        match request.uri().path() {
            "/thread" => {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                Reply::new(full(name))
            }
            "/peer" => Reply::new(full(peer.address.to_string())),
            "/echo" => {
                let body = RequestBody::Incoming(request.into_body());
                Reply::new(full(body.read(1 << 20, PATIENCE).await.unwrap_or_default()))
            }
            // As the guard's own router begins.
            "/canonical" => match canonicalise(request, peer.address, &[]) {
                Ok(_) => Reply::new(full("canonical")),
                Err(refusal) => refusal.reply(),
            },
            "/refuse" => {
                let mut reply = Reply::new(full("no"));
                *reply.status_mut() = StatusCode::UNAUTHORIZED;
                reply
            }
            "/impatient" => {
                let body = RequestBody::Incoming(request.into_body());
                let mut reply = Reply::new(full("late"));
                if body.read(1 << 20, SHORT).await.is_err() {
                    *reply.status_mut() = StatusCode::REQUEST_TIMEOUT;
                }
                reply
            }
            "/slow" => {
                let go = self.go.notified();
                self.slow.fetch_add(1, Ordering::SeqCst);
                go.await;
                Reply::new(full("done"))
            }
            "/panic" => panic!("as asked"),
            "/stream" => self.stream(Some(Box::pin(self.drain.ended()))),
            "/deaf" => self.stream(None),
            "/panicking-stream" => Reply::new(Body::stream(PanickingStream)),
            _ => Reply::new(full("hello")),
        }
    }
}

impl Toy {
    /// How many wait at `/slow`.
    pub(super) fn slow(&self) -> usize {
        self.slow.load(Ordering::SeqCst)
    }

    /// Lets them answer.
    pub(super) fn go(&self) {
        self.go.notify_waiters();
    }

    fn stream(&self, ended: Option<Pin<Box<dyn Future<Output = ()>>>>) -> Reply {
        self.streams.fetch_add(1, Ordering::SeqCst);
        Reply::new(Body::stream(Endless {
            ended,
            tick: Box::pin(tokio::time::sleep(Duration::ZERO)),
            streams: Arc::clone(&self.streams),
        }))
    }
}

static CHUNK: Bytes = Bytes::from_static(&[b'x'; 8192]);

/// Sends 8 KiB over and over, until it is told to end, if it listens.
struct Endless {
    ended: Option<Pin<Box<dyn Future<Output = ()>>>>,
    tick: Pin<Box<tokio::time::Sleep>>,
    streams: Arc<AtomicUsize>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(ended) = &mut self.ended
            && ended.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        ready!(self.tick.as_mut().poll(context));
        let next = tokio::time::Instant::now() + Duration::from_millis(1);
        self.tick.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(CHUNK.clone()))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

struct PanickingStream;

impl http_body::Body for PanickingStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("as asked")
    }
}

pub(super) struct Guard {
    pub(super) address: SocketAddr,
    pub(super) toy: Arc<Toy>,
    pub(super) drain: Drain,
    workers: Workers,
}

pub(super) fn settings(addresses: Vec<Address>) -> Settings {
    Settings {
        addresses,
        if_possible: Vec::new(),
        tls: None,
        workers: 2,
        max_connections: 100,
        max_connections_per_address: 100,
        proxies: None,
    }
}

pub(super) fn start(settings: &Settings, timeouts: Timeouts) -> Guard {
    let bound = bind(settings, PassedSockets::default()).unwrap();
    let Address::Tcp(address) = bound.local_addresses().remove(0) else {
        panic!("the first address here is TCP");
    };
    let drain = Drain::new();
    let toy = Arc::new(Toy {
        drain: drain.clone(),
        ..Toy::default()
    });
    let workers = bound.serve_within(&toy, &drain, timeouts).unwrap();
    Guard {
        address,
        toy,
        drain,
        workers,
    }
}

fn guard_with(timeouts: Timeouts) -> Guard {
    start(&settings(vec!["127.0.0.1:0".parse().unwrap()]), timeouts)
}

/// What a client reads until the server ends the connection, by FIN or by reset. One that stays open
/// fails the test: then the read runs out of time.
pub(super) fn read_to_the_end(client: &mut impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    if let Err(error) = client.read_to_end(&mut rest) {
        let open = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        assert!(!open.contains(&error.kind()), "still open: {error}");
    }
    rest
}

fn guard() -> Guard {
    guard_with(Timeouts::default())
}

impl Guard {
    fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    pub(super) fn wait(&self, grace: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(self.drain.wait(grace))
    }

    /// Whether every connection goes away by itself.
    pub(super) fn empties(&self) -> bool {
        eventually(|| self.drain.open() == 0)
    }

    pub(super) fn stop(self) {
        self.drain.abort();
        self.wait(PATIENCE);
        self.workers.join();
    }
}

struct Client<S>(S);

impl<S: Read + Write> Client<S> {
    fn send(&mut self, wire: &str) -> &mut Self {
        self.0.write_all(wire.as_bytes()).unwrap();
        self
    }

    /// One reply with a Content-Length: head and body.
    fn reply(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    fn get(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.reply().1
    }

    /// Whether the server has ended the connection, whichever way.
    fn is_over(&mut self) -> bool {
        let mut scrap = vec![0; 65536];
        loop {
            match self.0.read(&mut scrap) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// Looks until it is so, for a bounded time.
pub(super) fn eventually(so: impl Fn() -> bool) -> bool {
    let step = Duration::from_millis(5);
    (0..PATIENCE.as_millis() / step.as_millis()).any(|_| {
        let now = so();
        if !now {
            std::thread::sleep(step);
        }
        now
    })
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let guard = guard();
    let mut client = guard.connect();
    let post = |body| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{body}");
    client.send(&["1", "2", "3"].map(post).concat());
    let replies = [client.reply().1, client.reply().1, client.reply().1];
    assert_eq!(replies, ["1", "2", "3"]);
    assert_eq!(client.get("/peer"), "127.0.0.1");
    guard.stop();
}

#[test]
fn connections_are_shared_out_evenly() {
    let guard = guard();
    let mut clients: Vec<_> = (0..8).map(|_| guard.connect()).collect();
    let mut threads: Vec<_> = clients.iter_mut().map(|c| c.get("/thread")).collect();
    threads.sort();
    let expected = [["worker-0"; 4], ["worker-1"; 4]].concat();
    assert_eq!(threads, expected);
    guard.stop();
}

#[test]
fn a_unix_socket_serves_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.sock");
    let addresses = vec!["127.0.0.1:0".parse().unwrap(), Address::Unix(path.clone())];
    let guard = start(&settings(addresses), Timeouts::default());
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(Client(stream).get("/peer"), "127.0.0.1");
    guard.stop();
    assert!(!path.exists());
}

#[test]
fn a116_a_connection_that_says_nothing_is_closed() {
    let guard = guard_with(Timeouts {
        head: SHORT,
        ..Timeouts::default()
    });
    assert!(guard.connect().is_over());
    guard.stop();
}

#[test]
fn a116_a_head_that_dribbles_is_closed() {
    let guard = guard_with(Timeouts {
        head: SHORT,
        ..Timeouts::default()
    });
    for first in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = guard.connect();
        client.send(first);
        let mut writer = client.0.try_clone().unwrap();
        // Each byte is in time for a limit between bytes; none is for a limit on the whole.
        let dribble = std::thread::spawn(move || {
            std::iter::repeat_n(b"G", 1000).all(|byte| {
                std::thread::sleep(SHORT / 10);
                writer.write_all(byte).is_ok()
            })
        });
        assert!(client.is_over());
        drop(client);
        assert!(!dribble.join().unwrap());
    }
    guard.stop();
}

#[test]
fn a_connection_may_rest_between_requests_longer_than_a_head_may_take() {
    let guard = guard_with(Timeouts {
        head: SHORT,
        ..Timeouts::default()
    });
    let mut client = guard.connect();
    assert_eq!(client.get("/"), "hello");
    std::thread::sleep(SHORT * 3);
    assert_eq!(client.get("/"), "hello");
    guard.stop();
}

#[test]
fn a116_a_connection_that_rests_too_long_is_closed() {
    let guard = guard_with(Timeouts {
        idle: SHORT,
        ..Timeouts::default()
    });
    let mut client = guard.connect();
    assert_eq!(client.get("/"), "hello");
    assert!(client.is_over());
    guard.stop();
}

#[test]
fn a_handler_may_take_its_time() {
    let guard = guard_with(Timeouts {
        head: SHORT,
        idle: SHORT,
        stall: SHORT,
        ..Timeouts::default()
    });
    let mut client = guard.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(eventually(|| guard.toy.slow.load(Ordering::SeqCst) == 1));
    std::thread::sleep(SHORT * 3);
    guard.toy.go.notify_waiters();
    assert_eq!(client.reply().1, "done");
    guard.stop();
}

#[test]
fn a116_a_client_that_does_not_read_is_given_up() {
    let guard = guard_with(Timeouts {
        stall: SHORT,
        ..Timeouts::default()
    });
    let mut client = guard.connect();
    client.send("GET /deaf HTTP/1.1\r\nHost: a\r\n\r\n");
    let streams = Arc::clone(&guard.toy.streams);
    assert!(eventually(|| streams.load(Ordering::SeqCst) == 1));
    assert!(eventually(|| streams.load(Ordering::SeqCst) == 0));
    guard.stop();
}

#[test]
fn a117_connections_over_the_limit_are_closed_and_places_come_back() {
    let guard = start(
        &Settings {
            max_connections_per_address: 2,
            ..settings(vec!["127.0.0.1:0".parse().unwrap()])
        },
        Timeouts::default(),
    );
    let mut held = [guard.connect(), guard.connect()];
    for client in &mut held {
        assert_eq!(client.get("/"), "hello");
    }
    assert!(guard.connect().is_over());
    let [kept, gone] = held;
    drop(gone);
    assert!(eventually(|| guard.drain.open() == 1));
    assert_eq!(guard.connect().get("/"), "hello");
    drop(kept);
    guard.stop();
}

#[test]
fn a118_a_refusal_reaches_a_client_that_is_still_sending() {
    let guard = guard();
    let mut client = guard.connect();
    let body = "x".repeat(600_000);
    let length = body.len();
    let head = format!("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.send(&head).send(&body);
    assert!(client.reply().0.starts_with("HTTP/1.1 401"));
    guard.stop();
}

#[test]
fn a118_a_refusal_asks_for_no_body() {
    let guard = guard();
    let mut client = guard.connect();
    client.send(
        "POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
    );
    assert!(client.reply().0.starts_with("HTTP/1.1 401"));
    guard.stop();
}

#[test]
fn a_head_that_is_no_http_gets_a_400() {
    let guard = guard();
    let mut client = guard.connect();
    client.send("rubbish\r\n\r\n");
    assert!(client.reply().0.starts_with("HTTP/1.1 400"));
    assert!(client.is_over());
    guard.stop();
}

#[test]
fn a108_heads_without_measure_are_refused() {
    let guard = guard();
    for fields in [
        "x: 1\r\n".repeat(101),
        format!("x: {}\r\n", "1".repeat(200_000)),
    ] {
        let mut client = guard.connect();
        // The server need not read all of it.
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let _ = client.0.write_all(head.as_bytes());
        assert!(client.reply().0.starts_with("HTTP/1.1 431"));
    }
    guard.stop();
}

#[test]
fn r32_a_panic_costs_its_own_request_only() {
    let guard = guard();
    let mut bystanders = [guard.connect(), guard.connect()];
    for client in &mut bystanders {
        assert_eq!(client.get("/"), "hello");
    }
    for path in ["/panic", "/panic-at-once"].repeat(2) {
        let mut client = guard.connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.reply().0.starts_with("HTTP/1.1 500"));
        assert!(client.is_over());
        let mut client = guard.connect();
        client.send("GET /panicking-stream HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_over());
    }
    for client in &mut bystanders {
        assert_eq!(client.get("/"), "hello");
    }
    assert!(eventually(|| guard.drain.open() == 2));
    guard.stop();
}

#[test]
fn r26_the_drain_closes_idle_connections_and_accepts_no_more() {
    let guard = guard();
    let mut idle = guard.connect();
    assert_eq!(idle.get("/"), "hello");
    let mut silent = guard.connect();
    assert!(eventually(|| guard.drain.open() == 2));
    guard.drain.begin();
    assert!(idle.is_over());
    assert!(silent.is_over());
    assert!(guard.wait(PATIENCE));
    assert!(eventually(|| TcpStream::connect(guard.address).is_err()));
    guard.stop();
}

#[test]
fn r26_the_drain_lets_a_request_finish() {
    let guard = guard();
    let mut client = guard.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(eventually(|| guard.toy.slow.load(Ordering::SeqCst) == 1));
    guard.drain.begin();
    guard.toy.go.notify_waiters();
    let (head, body) = client.reply();
    assert_eq!(body, "done");
    assert!(head.contains("connection: close"), "{head}");
    assert!(client.is_over());
    assert!(guard.wait(PATIENCE));
    guard.stop();
}

#[test]
fn r26_the_drain_ends_an_endless_stream() {
    let guard = guard();
    let mut client = guard.connect();
    client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(eventually(|| guard.toy.streams.load(Ordering::SeqCst) == 1));
    guard.drain.begin();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.0.read_to_end(&mut all).unwrap();
        all
    });
    assert!(guard.wait(PATIENCE));
    assert!(reader.join().unwrap().ends_with(b"\r\n0\r\n\r\n"));
    guard.stop();
}

#[test]
fn r26_a_stream_that_does_not_end_is_cut_off_at_the_deadline() {
    let guard = guard();
    let mut client = guard.connect();
    client.send("GET /deaf HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(eventually(|| guard.toy.streams.load(Ordering::SeqCst) == 1));
    guard.drain.begin();
    assert!(!guard.wait(SHORT));
    assert!(eventually(|| guard.drain.open() == 0));
    assert!(client.is_over());
    guard.stop();
}
