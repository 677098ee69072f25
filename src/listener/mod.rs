//! Sockets, connections, their limits, and the drain at the end.
//!
//! One worker per core, each a single-threaded runtime: a connection is served by one of them from
//! its first byte to its last, so what a request touches needs no lock. The accept loop, the
//! deadlines and the counts are our own, because hyper has no limit on a peer that sends nothing
//! and waits for ever on an open event stream (design rule D-20).

mod activity;
mod address;
mod connection;
mod deadlines;
mod drain;
mod figures;
mod frames;
mod handshake;
mod home;
mod http2;
mod limits;
mod news;
mod passed;
mod proxy_header;
mod pulse;
mod socket;
mod stream;
mod workers;

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::ThreadId;

use hyper::Request;
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio_rustls::rustls::ServerConfig;

use crate::http::Reply;

pub use address::{Address, AddressError};
pub use drain::Drain;
pub use figures::{Figures, Refused};
pub use passed::{PassedError, PassedSockets};
pub use proxy_header::LOCAL_HEADER;
pub use pulse::Pulse;
pub use socket::{BindError, Bound, bind};
pub use workers::Workers;

/// Where to listen, and how much to let in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Not to be able to listen on one of these is an error.
    pub addresses: Vec<Address>,
    /// Listened on where it is possible: `[::1]` beside 127.0.0.1, on machines that have IPv6.
    pub if_possible: Vec<Address>,
    /// Where TLS is spoken.
    pub tls: Option<TlsSettings>,
    /// Threads that serve connections; at least one is started.
    pub workers: usize,
    /// Connections at any one time, over all addresses.
    pub max_connections: usize,
    /// Connections at any one time of one IPv4 address or one IPv6 /64. Unix sockets have no such
    /// count: behind them is a proxy.
    pub max_connections_per_address: usize,
    /// `--proxy-protocol`: only these may connect, and each connection begins with a header that
    /// says who is behind it.
    pub proxies: Option<Vec<IpNet>>,
}

/// Where to listen for TLS, and with what to answer.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Not to be able to listen on one of these is an error.
    pub addresses: Vec<Address>,
    pub config: Arc<ServerConfig>,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// 127.0.0.1 on a unix socket; with the PROXY protocol, the address that its header names.
    pub address: IpAddr,
    /// Whether it speaks TLS with us.
    pub is_secure: bool,
}

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. The future stays on the worker that polls it first. If it panics, the
    /// client gets a 500, and an HTTP/1.1 connection ends.
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Reply>;

    /// The thread that had best serve a connection which begins with these bytes, if it matters.
    /// They are not checked yet: nothing but the place may follow from them.
    fn home(&self, first_bytes: &[u8]) -> Option<ThreadId> {
        let _ = first_bytes;
        None
    }
}

#[cfg(test)]
mod http2_tests;
#[cfg(test)]
mod proxy_header_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
