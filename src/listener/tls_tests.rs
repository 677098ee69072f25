//! TLS and HTTP/2 on loopback, with the toy service of the other tests.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::deadlines::Timeouts;
use super::tests::{Guard, PATIENCE, SHORT, read_to_the_end, settings, start};
use super::*;
use crate::tls::testing::self_signed_pem;
use crate::tls::{Certificates, KeyPair, server_config};

pub(super) const NAME: &str = "guard.test";

/// A client's end, speaking TLS.
pub(super) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

pub(super) struct Secured {
    pub(super) guard: Guard,
    certificates: Arc<Certificates>,
    root: CertificateDer<'static>,
}

pub(super) fn secured_with(timeouts: Timeouts) -> Secured {
    secured_as(timeouts, None)
}

/// Behind proxies that introduce their clients.
pub(super) fn secured_behind(proxies: &str) -> Secured {
    secured_as(Timeouts::default(), Some(proxies))
}

fn secured_as(timeouts: Timeouts, proxies: Option<&str>) -> Secured {
    let (chain, key) = self_signed_pem(NAME);
    let certificates = Certificates::new();
    certificates.set(
        NAME,
        &KeyPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap(),
    );
    let mut settings = settings(Vec::new());
    settings.proxies = proxies.map(|net| vec![net.parse().unwrap()]);
    settings.tls = Some(TlsSettings {
        addresses: vec!["127.0.0.1:0".parse().unwrap()],
        config: server_config(Arc::clone(&certificates)).unwrap(),
    });
    Secured {
        guard: start(&settings, timeouts),
        certificates,
        root: CertificateDer::from_pem_slice(chain.as_bytes()).unwrap(),
    }
}

pub(super) fn secured() -> Secured {
    secured_with(Timeouts::default())
}

impl Secured {
    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    pub(super) fn connect(&self, name: &str, protocols: &[&str]) -> TlsClient {
        let socket = TcpStream::connect(self.guard.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.over(socket, name, protocols)
    }

    /// TLS on a connection that is there.
    pub(super) fn over(&self, socket: TcpStream, name: &str, protocols: &[&str]) -> TlsClient {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(self.client(protocols), name).unwrap();
        StreamOwned::new(tls, socket)
    }

    pub(super) async fn http2(
        &self,
    ) -> (
        SendRequest<Empty<Bytes>>,
        tokio::task::JoinHandle<hyper::Result<()>>,
    ) {
        let socket = tokio::net::TcpStream::connect(self.guard.address)
            .await
            .unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(self.client(&["h2"]));
        let stream = stream.connect(name, socket).await.unwrap();
        let (send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        (send, tokio::spawn(connection))
    }
}

pub(super) fn get(path: &str) -> Request<Empty<Bytes>> {
    let url = format!("https://{NAME}{path}");
    Request::get(url).body(Empty::new()).unwrap()
}

async fn text(send: &mut SendRequest<Empty<Bytes>>, path: &str) -> String {
    let reply = send.send_request(get(path)).await.unwrap();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The GOAWAY arrives in its own time; until then requests are still taken.
pub(super) async fn until_goaway(send: &mut SendRequest<Empty<Bytes>>) {
    let goaway = async {
        while send.ready().await.is_ok() && send.send_request(get("/hello")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, goaway).await.unwrap();
}

/// Until a request has come as far as `/slow`.
async fn until_it_waits(guard: &Guard) {
    let waits = async {
        while guard.toy.slow() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

#[test]
fn https_is_served_with_keep_alive_and_every_worker() {
    let secured = secured();
    let mut workers = std::collections::BTreeSet::new();
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut client = secured.connect(NAME, &["http/1.1"]);
        for _ in 0..2 {
            client
                .write_all(b"GET /thread HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            let mut reply = vec![0; 4096];
            let count = client.read(&mut reply).unwrap();
            let reply = String::from_utf8_lossy(&reply[..count]).into_owned();
            assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
            workers.insert(reply.rsplit("\r\n").next().unwrap().to_owned());
        }
        open.push(client);
    }
    assert_eq!(workers.len(), 2);
    drop(open);
    secured.guard.stop();
}

#[tokio::test]
async fn http2_is_chosen_by_alpn_and_streams_are_answered_side_by_side() {
    let secured = secured();
    let (mut send, _connection) = secured.http2().await;
    let slow = tokio::spawn(send.send_request(get("/slow")));
    assert_eq!(text(&mut send, "/hello").await, "hello");
    until_it_waits(&secured.guard).await;
    secured.guard.toy.go();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    assert_eq!(text(&mut send, "/peer").await, "127.0.0.1");
    drop(send);
    tokio::task::spawn_blocking(move || secured.guard.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn r26_the_drain_says_goaway_and_finishes_what_is_under_way() {
    let secured = secured();
    let (mut send, connection) = secured.http2().await;
    let slow = tokio::spawn(send.send_request(get("/slow")));
    until_it_waits(&secured.guard).await;
    secured.guard.drain.begin();
    until_goaway(&mut send).await;
    secured.guard.toy.go();
    let reply = slow.await.unwrap().unwrap();
    assert_eq!(
        reply.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
    connection.await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || secured.guard.stop())
        .await
        .unwrap();
}

#[test]
fn a150_a_foreign_name_gets_no_certificate() {
    let secured = secured();
    let mut client = secured.connect("other.test", &["http/1.1"]);
    let error = client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap_err();
    assert!(error.to_string().contains("fatal alert"), "{error}");
    secured.guard.stop();
}

#[test]
fn a149_a_validation_sees_its_certificate_and_nothing_else() {
    let secured = secured();
    let mut foreign = secured.connect(NAME, &["acme-tls/1"]);
    assert!(foreign.flush().is_err() || foreign.write_all(b"x").is_err());
    // The proof is the certificate that the client knows already.
    let (chain, key) = self_signed_pem(NAME);
    let proof = KeyPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    secured.certificates.set_challenge(NAME, &proof);
    let secured = Secured {
        root: CertificateDer::from_pem_slice(chain.as_bytes()).unwrap(),
        ..secured
    };
    let mut client = secured.connect(NAME, &["acme-tls/1"]);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert_eq!(client.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    assert_eq!(read_to_the_end(&mut client), b"");
    secured.guard.stop();
}

#[test]
fn a116_a_handshake_that_is_not_finished_is_closed() {
    let secured = secured_with(Timeouts {
        handshake: SHORT,
        ..Timeouts::default()
    });
    for start in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = TcpStream::connect(secured.guard.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(start).unwrap();
        // An alert, or nothing.
        let rest = read_to_the_end(&mut client);
        assert!(rest.len() < 50, "{rest:?}");
    }
    secured.guard.stop();
}

#[test]
fn a116_half_a_preface_is_closed_and_so_is_an_idle_http2_connection() {
    let secured = secured_with(Timeouts {
        head: SHORT,
        idle: SHORT,
        ..Timeouts::default()
    });
    for start in [
        &b"PRI * HT"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut client = secured.connect(NAME, &["h2"]);
        client.write_all(start).unwrap();
        read_to_the_end(&mut client);
    }
    secured.guard.stop();
}

#[test]
fn a116_a_secure_client_that_says_nothing_is_closed() {
    let secured = secured_with(Timeouts {
        head: Duration::from_millis(100),
        ..Timeouts::default()
    });
    let mut client = secured.connect(NAME, &["http/1.1"]);
    client.flush().unwrap();
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    assert_eq!(read_to_the_end(&mut client), b"");
    secured.guard.stop();
}
