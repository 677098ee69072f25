//! The threads that serve. Each accepts from its own clone of every listening socket, and gives a
//! connection to whichever worker has fewest: the kernel alone would wake the same one again and
//! again. Once it has spoken, it may move on to the worker where its session lives.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

use super::connection::{self, Server};
use super::deadlines::Timeouts;
use super::drain::Present;
use super::figures::{Figures, Refused};
use super::handshake::{Handshakes, Protocol};
use super::limits::{Limits, Permit};
use super::proxy_header::Proxies;
use super::pulse::Pulse;
use super::socket::{Door, Socket, SocketFile};
use super::stream::{Plain, Secured, Stream};
use super::{Bound, Drain, Peer, Service, home, http2};

/// How long accepting rests when the process has run out of descriptors or memory.
const REST: Duration = Duration::from_millis(50);

/// How often a worker says so.
const QUIET: Duration = Duration::from_mins(1);

/// So many more connections at home, and a connection stays where it is: two workers get more done
/// than one, even if they have to wake each other.
const CROWD: usize = 64;

/// The running workers.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    desks: Arc<[Arc<Desk>]>,
    stop: watch::Sender<()>,
    figures: Arc<Figures>,
    // Removed when the workers have gone.
    _files: Vec<SocketFile>,
}

impl Workers {
    /// What they have to tell of themselves.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Feels whether they turn.
    pub fn pulse(&self) -> Pulse {
        Pulse::of(self.desks.iter().map(|desk| desk.inbox.clone()).collect())
    }

    /// Ends every worker with all that runs on it, and waits for that. Until then workers live on,
    /// also when the drain has closed the last connection: children's pipes are theirs, too.
    pub fn join(self) {
        drop(self.stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }
}

impl Bound {
    /// Starts to serve. Errors are the system's: out of threads or descriptors.
    pub fn serve<S: Service>(self, service: &Arc<S>, drain: &Drain) -> io::Result<Workers> {
        self.serve_within(service, drain, Timeouts::default())
    }

    pub(super) fn serve_within<S: Service>(
        self,
        service: &Arc<S>,
        drain: &Drain,
        timeouts: Timeouts,
    ) -> io::Result<Workers> {
        let settings = &self.settings;
        let figures: Arc<Figures> = Arc::default();
        let limits = Limits::new(
            settings.max_connections,
            settings.max_connections_per_address,
            Arc::clone(&figures),
        );
        let proxies = settings.proxies.clone().map(Proxies::new).map(Arc::new);
        let (desks, inboxes): (Vec<_>, Vec<_>) =
            (0..settings.workers.max(1)).map(|_| Desk::new()).unzip();
        let desks: Arc<[Arc<Desk>]> = desks.into();
        let (stop, stopped) = watch::channel(());

        let mut threads = Vec::new();
        for ((index, inbox), desk) in inboxes.into_iter().enumerate().zip(desks.iter()) {
            let post = Post {
                desk: Arc::clone(desk),
                desks: Arc::clone(&desks),
                limits: Arc::clone(&limits),
                proxies: proxies.clone(),
                tls: settings.tls.as_ref().map(|tls| Arc::clone(&tls.config)),
                server: Server {
                    service: Arc::clone(service),
                    drain: drain.clone(),
                    timeouts,
                    figures: Arc::clone(&figures),
                },
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let listeners = listeners(&self.doors, &runtime)?;
            let stopped = stopped.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || run(&runtime, post, listeners, inbox, stopped))?);
        }
        Ok(Workers {
            threads,
            desks,
            stop,
            figures,
            _files: self
                .doors
                .into_iter()
                .filter_map(|door| door.socket.into_file())
                .collect(),
        })
    }
}

fn listeners(doors: &[Door], runtime: &Runtime) -> io::Result<Vec<Listener>> {
    let _context = runtime.enter();
    doors.iter().map(Listener::clone_of).collect()
}

/// A worker's own handle on a listening socket.
struct Listener {
    socket: ListeningSocket,
    is_secure: bool,
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn clone_of(door: &Door) -> io::Result<Self> {
        let socket = match &door.socket {
            Socket::Tcp(listener) => {
                TcpListener::from_std(listener.try_clone()?).map(ListeningSocket::Tcp)?
            }
            Socket::Unix(listener, _) => {
                UnixListener::from_std(listener.try_clone()?).map(ListeningSocket::Unix)?
            }
        };
        Ok(Self {
            socket,
            is_secure: door.is_secure,
        })
    }

    /// The next connection, and the peer's address if it has one.
    async fn accept(&self) -> io::Result<(Plain, Option<IpAddr>)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Plain::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Plain::Unix(stream), None))
            }
        }
    }
}

/// What others see of a worker: how much it has, and where to put more.
struct Desk {
    thread: OnceLock<ThreadId>,
    load: AtomicUsize,
    inbox: mpsc::UnboundedSender<Letter>,
}

impl Desk {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Letter>) {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let desk = Self {
            thread: OnceLock::new(),
            load: AtomicUsize::new(0),
            inbox,
        };
        (Arc::new(desk), receiver)
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// What comes to a worker from other threads.
pub(super) enum Letter {
    Connection(Handover),
    /// To be answered at once.
    Pulse(oneshot::Sender<()>),
}

/// A connection between two workers: taken off the one's event queue, not yet on the other's.
pub(super) struct Handover {
    stream: Stream,
    place: Place,
    next: Next,
}

/// What is to be done with a connection that comes from another worker.
#[derive(Clone, Copy)]
enum Next {
    /// The proxy says whose connection it is.
    Introduction {
        is_secure: bool,
    },
    Handshake,
    /// Look where it belongs.
    Settle,
    /// It is at home.
    Serve,
}

/// All that counts a connection; freed when it is dropped.
struct Place {
    peer: Option<IpAddr>,
    desk: Arc<Desk>,
    permit: Permit,
    _present: Present,
}

impl Place {
    fn at(desk: &Arc<Desk>, peer: Option<IpAddr>, permit: Permit, present: Present) -> Self {
        desk.load.fetch_add(1, Ordering::Relaxed);
        Self {
            peer,
            desk: Arc::clone(desk),
            permit,
            _present: present,
        }
    }

    fn peer(&self, is_secure: bool) -> Peer {
        Peer {
            address: self.address(),
            is_secure,
        }
    }

    fn address(&self) -> IpAddr {
        self.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn move_to(&mut self, desk: &Arc<Desk>) {
        desk.load.fetch_add(1, Ordering::Relaxed);
        let left = std::mem::replace(&mut self.desk, Arc::clone(desk));
        left.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a worker starts with.
struct Post<S> {
    desk: Arc<Desk>,
    desks: Arc<[Arc<Desk>]>,
    limits: Arc<Limits>,
    proxies: Option<Arc<Proxies>>,
    tls: Option<Arc<ServerConfig>>,
    server: Server<S>,
}

fn run<S: Service>(
    runtime: &Runtime,
    post: Post<S>,
    listeners: Vec<Listener>,
    inbox: mpsc::UnboundedReceiver<Letter>,
    mut stopped: watch::Receiver<()>,
) {
    let _ = post.desk.thread.set(std::thread::current().id());
    let tasks = LocalSet::new();
    let worker = Rc::new(Worker {
        desk: post.desk,
        desks: post.desks,
        limits: post.limits,
        proxies: post.proxies,
        handshakes: post.tls.as_ref().map(Handshakes::new),
        server: Rc::new(post.server),
    });
    for listener in listeners {
        tasks.spawn_local(Rc::clone(&worker).accept(listener));
    }
    tasks.spawn_local(worker.read(inbox));
    tasks.block_on(runtime, async {
        // Nothing is ever sent: it ends when the sender is dropped.
        let _ = stopped.changed().await;
    });
}

struct Worker<S> {
    desk: Arc<Desk>,
    desks: Arc<[Arc<Desk>]>,
    limits: Arc<Limits>,
    proxies: Option<Arc<Proxies>>,
    handshakes: Option<Handshakes>,
    server: Rc<Server<S>>,
}

impl<S: Service> Worker<S> {
    async fn accept(self: Rc<Self>, listener: Listener) {
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.server.drain.ended() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let next = match (&self.proxies, listener.is_secure) {
                        (Some(_), is_secure) => Next::Introduction { is_secure },
                        (None, true) => Next::Handshake,
                        (None, false) => Next::Settle,
                    };
                    self.admit(Stream::Clear(socket), peer, next);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.server.figures.deaf.count();
                    // It comes and goes with every connection that closes.
                    if complained.is_none_or(|then| then.elapsed() >= QUIET) {
                        complained = Some(Instant::now());
                        tracing::error!(?error, "cannot accept connections for now");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Over the limit a connection is closed at once: an answer would cost more than it is worth.
    fn admit(self: &Rc<Self>, stream: Stream, peer: Option<IpAddr>, next: Next) {
        // Those of a proxy count for the clients behind it, once they are known.
        let counted = peer.filter(|_| self.proxies.is_none());
        let permit = match self.limits.admit(counted) {
            Ok(permit) => permit,
            Err(refused) => return too_many(peer, refused),
        };
        let desk = self.emptiest();
        let place = Place::at(desk, peer, permit, self.server.drain.enter());
        if Arc::ptr_eq(desk, &self.desk) {
            self.receive(stream, place, next);
        } else {
            hand_over(stream, place, next);
        }
    }

    /// Itself, unless another has less to do.
    fn emptiest(&self) -> &Arc<Desk> {
        let others = self.desks.iter();
        others.fold(&self.desk, |least, desk| {
            if desk.load() < least.load() {
                desk
            } else {
                least
            }
        })
    }

    async fn read(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Letter>) {
        while let Some(letter) = inbox.recv().await {
            match letter {
                Letter::Connection(handover) => self.take_over(handover),
                Letter::Pulse(answer) => drop(answer.send(())),
            }
        }
    }

    fn take_over(self: &Rc<Self>, handover: Handover) {
        let Handover {
            mut stream,
            place,
            next,
        } = handover;
        match stream.arrive() {
            Ok(()) => self.receive(stream, place, next),
            Err(error) => tracing::error!(?error, "a connection was lost on the way"),
        }
    }

    /// A task for each connection: a panic in a reply's body ends this one and no other.
    fn receive(self: &Rc<Self>, stream: Stream, place: Place, next: Next) {
        let worker = Rc::clone(self);
        match next {
            Next::Introduction { is_secure } => tokio::task::spawn_local(async move {
                worker.hear_proxy(stream, place, is_secure).await;
            }),
            Next::Handshake => tokio::task::spawn_local(async move {
                worker.shake_hands(stream, place).await;
            }),
            Next::Settle => tokio::task::spawn_local(async move {
                worker.look_at(stream, place).await;
            }),
            Next::Serve => tokio::task::spawn_local(async move {
                worker.serve(stream, place).await;
            }),
        };
    }

    /// From here on the connection is that of the client behind the proxy.
    async fn hear_proxy(&self, mut stream: Stream, mut place: Place, is_secure: bool) {
        let (Stream::Clear(socket), Some(proxies)) = (&mut stream, &self.proxies) else {
            return;
        };
        let patience = self.server.timeouts.head;
        let introduced = tokio::select! {
            biased;
            () = self.server.drain.ended() => return,
            introduced = proxies.introduced(socket, place.address(), patience) => introduced,
        };
        let Ok(client) = introduced else {
            return self.server.figures.refused.count(Refused::ProxyHeader);
        };
        place.peer = client.or(place.peer);
        if let Some(peer) = place.peer
            && let Err(refused) = place.permit.belongs_to(peer)
        {
            return too_many(Some(peer), refused);
        }
        if is_secure {
            self.shake_hands(stream, place).await;
        } else {
            self.look_at(stream, place).await;
        }
    }

    async fn shake_hands(&self, stream: Stream, place: Place) {
        let (Stream::Clear(socket), Some(handshakes)) = (stream, &self.handshakes) else {
            return;
        };
        let patience = self.server.timeouts.handshake;
        let accepted = tokio::select! {
            biased;
            () = self.server.drain.ended() => return,
            accepted = handshakes.accept(socket, patience) => accepted,
        };
        let Some((tls, protocol)) = accepted else {
            return self.server.figures.refused.count(Refused::Handshake);
        };
        let ahead = Bytes::new();
        let stream = Stream::Tls(Box::new(Secured { tls, ahead }));
        match protocol {
            Protocol::Http1 => self.look_at(stream, place).await,
            Protocol::Http2 => {
                http2::serve(stream, place.peer(true), Rc::clone(&self.server)).await;
                drop(place);
            }
            Protocol::AcmeTls => {}
        }
    }

    /// A client that says nothing is not served.
    async fn look_at(&self, mut stream: Stream, place: Place) {
        let Server {
            service,
            drain,
            timeouts,
            ..
        } = &*self.server;
        if let Ok(home) = home::of(&mut stream, &**service, drain, timeouts.head).await {
            self.settle(stream, place, home).await;
        }
    }

    /// Serves the connection, or gives it to the worker where it is at home, unless that one has far
    /// more to do already.
    async fn settle(&self, stream: Stream, mut place: Place, home: Option<ThreadId>) {
        let is_home = |desk: &&Arc<Desk>| home.is_some() && desk.thread.get().copied() == home;
        match self.desks.iter().find(is_home) {
            Some(desk)
                if desk.load() < self.desk.load() + CROWD && !Arc::ptr_eq(desk, &self.desk) =>
            {
                place.move_to(desk);
                hand_over(stream, place, Next::Serve);
            }
            _ => self.serve(stream, place).await,
        }
    }

    async fn serve(&self, stream: Stream, place: Place) {
        let peer = place.peer(stream.is_secure());
        connection::serve(stream, peer, Rc::clone(&self.server)).await;
        drop(place);
    }
}

/// A flood shall not fill the log.
fn too_many(peer: Option<IpAddr>, refused: u64) {
    if refused.is_power_of_two() {
        tracing::warn!(?peer, refused, "too many connections");
    }
}

/// To the worker whose place it has.
fn hand_over(mut stream: Stream, place: Place, next: Next) {
    if stream.leave().is_ok() {
        let inbox = place.desk.inbox.clone();
        // A worker that has stopped takes nothing: then this one stops, too.
        let _ = inbox.send(Letter::Connection(Handover {
            stream,
            place,
            next,
        }));
    }
}

/// Errors of accept(2) that say something about the connection and nothing about us.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
