//! Ports at which the tests speak TLS: whatever connects there does, so that every client and browser
//! of the tests can be used.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use mcp_guard::http::trust;
use rustls_pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

static PORTS: Mutex<BTreeMap<u16, Face>> = Mutex::new(BTreeMap::new());

/// Whom one expects at a port.
#[derive(Clone)]
struct Face {
    name: String,
    config: Arc<ClientConfig>,
}

/// Connections to this port are made as to `name`, whose certificate `roots` (PEM) vouch for.
pub(crate) fn speak_tls(port: u16, name: &str, roots: &[u8]) {
    let face = Face {
        name: name.to_owned(),
        config: Arc::new(trust::client_config(Some(roots)).unwrap()),
    };
    lock().insert(port, face);
}

/// The port may be somebody else's next.
pub(crate) fn forget_tls(port: u16) {
    lock().remove(&port);
}

fn lock() -> std::sync::MutexGuard<'static, BTreeMap<u16, Face>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How requests name what listens there.
pub(super) fn authority(port: u16) -> String {
    match lock().get(&port) {
        // As browsers write it.
        Some(face) if port == 443 => face.name.clone(),
        Some(face) => format!("{}:{port}", face.name),
        None => format!("127.0.0.1:{port}"),
    }
}

pub(super) fn origin(port: u16) -> String {
    let scheme = if lock().contains_key(&port) {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{}", authority(port))
}

/// A byte stream to such a port, or to another.
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn over(socket: TcpStream, port: u16) -> Self {
        let Some(face) = lock().get(&port).cloned() else {
            return Self::Clear(socket);
        };
        let name = ServerName::try_from(face.name).unwrap();
        let tls = ClientConnection::new(face.config, name).unwrap();
        Self::Tls(Box::new(StreamOwned::new(tls, socket)))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
