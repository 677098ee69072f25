//! Opening a connection to the wrapped server.

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::http1::{Connection, Stream};
use super::pool::{Multiplexed, Single};
use super::trouble::{Trouble, chain};
use crate::http::trust;

/// From the first step to a connection that can be used.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that has gone without a word is noticed after about this long, and six tries more.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

/// Where the wrapped server is. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dialer(Arc<Address>);

struct Address {
    host: String,
    port: u16,
    tls: Option<Tls>,
}

struct Tls {
    name: ServerName<'static>,
    extra_roots: Option<Vec<u8>>,
    /// Made when it is first needed: reading the system's roots takes longer than all else that
    /// happens at a start.
    connector: OnceLock<TlsConnector>,
}

/// A connection, as the server chose its protocol (ALPN).
pub(super) enum Opened {
    Http1(Box<Single>),
    Http2(Multiplexed),
}

impl Dialer {
    /// Errors say what is wrong with the URL.
    pub(super) fn new(url: &Url, extra_roots: Option<&Vec<u8>>) -> Result<Self, &'static str> {
        let host = url.host().ok_or("it names no host")?;
        let port = url.port_or_known_default().ok_or("it names no port")?;
        let host = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let tls = match url.scheme() {
            "https" => Some(Tls {
                name: ServerName::try_from(host.clone()).map_err(|_| "its host is no name")?,
                extra_roots: extra_roots.cloned(),
                connector: OnceLock::new(),
            }),
            "http" => None,
            _ => return Err("its scheme is neither http nor https"),
        };
        Ok(Self(Arc::new(Address { host, port, tls })))
    }

    /// Opens a connection, which lives on the present worker.
    pub(super) async fn open(&self) -> Result<Opened, Trouble> {
        tokio::time::timeout(PATIENCE, self.connect())
            .await
            .unwrap_or_else(|_| {
                Err(Trouble::Unreachable(format!(
                    "no connection in {PATIENCE:?}"
                )))
            })
    }

    async fn connect(&self) -> Result<Opened, Trouble> {
        let unreachable = |error: io::Error| Trouble::Unreachable(error.to_string());
        let address = (self.0.host.as_str(), self.0.port);
        let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
        tune(&tcp).map_err(unreachable)?;
        let Some(tls) = &self.0.tls else {
            return Ok(single(Stream::Plain(tcp)));
        };
        let connector = self.connector().await?;
        let stream = connector.connect(tls.name.clone(), tcp).await;
        let stream = stream.map_err(unreachable)?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            multiplexed(stream).await.map(Opened::Http2)
        } else {
            Ok(single(Stream::Tls(Box::new(stream))))
        }
    }

    async fn connector(&self) -> Result<TlsConnector, Trouble> {
        let dialer = self.clone();
        let made = tokio::task::spawn_blocking(move || dialer.make_connector());
        made.await
            .unwrap_or_else(|error| Err(Trouble::Unreachable(error.to_string())))
    }

    fn make_connector(&self) -> Result<TlsConnector, Trouble> {
        let Some(tls) = &self.0.tls else {
            return Err(Trouble::Unreachable("it does not speak TLS".into()));
        };
        if let Some(connector) = tls.connector.get() {
            return Ok(connector.clone());
        }
        let mut config = trust::client_config(tls.extra_roots.as_deref())
            .map_err(|error| Trouble::Unreachable(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(tls.connector.get_or_init(|| connector).clone())
    }
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEP_ALIVE)?;
    Ok(())
}

fn single(stream: Stream) -> Opened {
    Opened::Http1(Box::new(Single::new(Connection::new(stream))))
}

async fn multiplexed(stream: TlsStream<TcpStream>) -> Result<Multiplexed, Trouble> {
    let io = TokioIo::new(stream);
    let (sender, mut connection) = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(io)
        .await
        .map_err(|error| Trouble::Unreachable(chain(&error)))?;
    let multiplexed = Multiplexed::new(sender, connection.current_max_send_streams());
    let room = multiplexed.room();
    tokio::task::spawn_local(std::future::poll_fn(move |context| {
        let ended = std::pin::Pin::new(&mut connection).poll(context);
        room.set(connection.current_max_send_streams());
        ended.map(|_| ())
    }));
    Ok(multiplexed)
}

/// Runs what belongs to an HTTP/2 connection on the worker where the connection is.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
