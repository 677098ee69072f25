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

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::activity::Stream;
use super::connection::{self, Server, Timeouts};
use super::drain::Present;
use super::limits::{Limits, Permit};
use super::socket::{Socket, SocketFile};
use super::{Bound, Drain, Service, home};

/// How long accepting rests when the process has run out of descriptors or memory.
const REST: Duration = Duration::from_millis(50);

/// So many more connections at home, and a connection stays where it is: two workers get more done
/// than one, even if they have to wake each other.
const CROWD: usize = 64;

/// The running workers.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<()>,
    // Removed when the workers have gone.
    _files: Vec<SocketFile>,
}

impl Workers {
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
        let limits = Limits::new(
            settings.max_connections,
            settings.max_connections_per_address,
        );
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
                server: Server {
                    service: Arc::clone(service),
                    drain: drain.clone(),
                    timeouts,
                },
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let listeners = listeners(&self.sockets, &runtime)?;
            let stopped = stopped.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || run(&runtime, post, listeners, inbox, stopped))?);
        }
        Ok(Workers {
            threads,
            stop,
            _files: self
                .sockets
                .into_iter()
                .filter_map(Socket::into_file)
                .collect(),
        })
    }
}

fn listeners(sockets: &[Socket], runtime: &Runtime) -> io::Result<Vec<Listener>> {
    let _context = runtime.enter();
    sockets.iter().map(Listener::clone_of).collect()
}

/// A worker's own handle on a listening socket.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn clone_of(socket: &Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(listener) => TcpListener::from_std(listener.try_clone()?).map(Self::Tcp),
            Socket::Unix(listener, _) => {
                UnixListener::from_std(listener.try_clone()?).map(Self::Unix)
            }
        }
    }

    /// The next connection, and the peer's address if it has one.
    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

/// What others see of a worker: how much it has, and where to put more.
struct Desk {
    thread: OnceLock<ThreadId>,
    load: AtomicUsize,
    inbox: mpsc::UnboundedSender<Handover>,
}

impl Desk {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Handover>) {
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

/// A connection between two workers: taken off the one's event queue, not yet on the other's.
struct Handover {
    stream: Detached,
    place: Place,
    /// Whether it is to stay.
    home: bool,
}

enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// All that counts a connection; freed when it is dropped.
struct Place {
    peer: Option<IpAddr>,
    desk: Arc<Desk>,
    _permit: Permit,
    _present: Present,
}

impl Place {
    fn at(desk: &Arc<Desk>, peer: Option<IpAddr>, permit: Permit, present: Present) -> Self {
        desk.load.fetch_add(1, Ordering::Relaxed);
        Self {
            peer,
            desk: Arc::clone(desk),
            _permit: permit,
            _present: present,
        }
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
    server: Server<S>,
}

fn run<S: Service>(
    runtime: &Runtime,
    post: Post<S>,
    listeners: Vec<Listener>,
    inbox: mpsc::UnboundedReceiver<Handover>,
    mut stopped: watch::Receiver<()>,
) {
    let _ = post.desk.thread.set(std::thread::current().id());
    let tasks = LocalSet::new();
    let worker = Rc::new(Worker {
        desk: post.desk,
        desks: post.desks,
        limits: post.limits,
        server: Rc::new(post.server),
    });
    for listener in listeners {
        tasks.spawn_local(Rc::clone(&worker).accept(listener));
    }
    tasks.spawn_local(worker.take_over(inbox));
    tasks.block_on(runtime, async {
        // Nothing is ever sent: it ends when the sender is dropped.
        let _ = stopped.changed().await;
    });
}

struct Worker<S> {
    desk: Arc<Desk>,
    desks: Arc<[Arc<Desk>]>,
    limits: Arc<Limits>,
    server: Rc<Server<S>>,
}

impl<S: Service> Worker<S> {
    async fn accept(self: Rc<Self>, listener: Listener) {
        let mut resting = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.server.drain.ended() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    resting = false;
                    self.admit(stream, peer);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    // Once for every time that it begins.
                    if !std::mem::replace(&mut resting, true) {
                        tracing::error!(?error, "cannot accept connections for now");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Over the limit a connection is closed at once: an answer would cost more than it is worth.
    fn admit(self: &Rc<Self>, stream: Stream, peer: Option<IpAddr>) {
        let permit = match self.limits.admit(peer) {
            Ok(permit) => permit,
            Err(refused) => {
                // A flood shall not fill the log.
                if refused.is_power_of_two() {
                    tracing::warn!(?peer, refused, "too many connections");
                }
                return;
            }
        };
        let desk = self.emptiest();
        let place = Place::at(desk, peer, permit, self.server.drain.enter());
        if Arc::ptr_eq(desk, &self.desk) {
            self.receive(stream, place);
        } else {
            hand_over(stream, place, false);
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

    async fn take_over(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Handover>) {
        while let Some(Handover {
            stream,
            place,
            home,
        }) = inbox.recv().await
        {
            match attach(stream) {
                Ok(stream) if home => {
                    tokio::task::spawn_local(self.serve(stream, place));
                }
                Ok(stream) => self.receive(stream, place),
                Err(error) => tracing::error!(?error, "a connection was lost on the way"),
            }
        }
    }

    /// A task for each connection: a panic in a reply's body ends this one and no other.
    fn receive(self: &Rc<Self>, stream: Stream, place: Place) {
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let Server {
                service,
                drain,
                timeouts,
            } = &*worker.server;
            // A client that says nothing is not served.
            if let Ok(home) = home::of(&stream, &**service, drain, timeouts.head).await {
                worker.settle(stream, place, home).await;
            }
        });
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
                hand_over(stream, place, true);
            }
            _ => self.serve(stream, place).await,
        }
    }

    fn serve(&self, stream: Stream, place: Place) -> impl Future<Output = ()> + use<S> {
        let peer = place.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let connection = connection::serve(stream, peer, Rc::clone(&self.server));
        async move {
            connection.await;
            drop(place);
        }
    }
}

/// To the worker whose place it has.
fn hand_over(stream: Stream, place: Place, home: bool) {
    if let Ok(stream) = detach(stream) {
        let inbox = place.desk.inbox.clone();
        // A worker that has stopped takes nothing: then this one stops, too.
        let _ = inbox.send(Handover {
            stream,
            place,
            home,
        });
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

fn detach(stream: Stream) -> io::Result<Detached> {
    match stream {
        Stream::Tcp(stream) => stream.into_std().map(Detached::Tcp),
        Stream::Unix(stream) => stream.into_std().map(Detached::Unix),
    }
}

fn attach(stream: Detached) -> io::Result<Stream> {
    match stream {
        Detached::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Stream::Tcp),
        Detached::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Stream::Unix),
    }
}
