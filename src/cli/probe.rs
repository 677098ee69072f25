//! Asks the guard that runs on this machine, as a client would: in the clear, or with TLS where it
//! speaks that. Its certificate is not judged: what is asked holds no secret, and the other end is
//! this machine's own address.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
};

use crate::config::Listening;
use crate::http::ExternalUrl;
use crate::listener::{Address, LOCAL_HEADER};

/// For all of one question.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// Where a guard listens.
#[derive(Debug)]
pub(super) struct Door<'l> {
    pub(super) address: &'l Address,
    is_secure: bool,
    /// Whether it wants to be told first that no proxy stands between (`--proxy-protocol`).
    introduces: bool,
}

/// What the guard said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where TLS is spoken.
    pub(super) leaf: Option<CertificateDer<'static>>,
}

/// Where clients are served: a guard that speaks TLS only redirects elsewhere.
pub(super) fn doors(listening: &Listening) -> Vec<Door<'_>> {
    let introduces = listening.proxy_protocol;
    let door = |is_secure| {
        move |address| Door {
            address,
            is_secure,
            introduces,
        }
    };
    if listening.secure.is_empty() {
        return listening.plain().map(door(false)).collect();
    }
    listening.secure.iter().map(door(true)).collect()
}

/// One GET of `path`, below the external URL.
pub(super) fn ask(
    door: &Door<'_>,
    external_url: &ExternalUrl,
    path: &str,
    deadline: Instant,
) -> io::Result<Answer> {
    // In one piece: formatted straight to the socket it would go out in six.
    let request = format!(
        "GET {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        external_url.prefix(),
        external_url.authority(),
    );
    let mut socket = connect(door.address, deadline)?;
    if door.introduces {
        socket.write_all(LOCAL_HEADER)?;
    }
    if !door.is_secure {
        let status = exchange(socket, &request, deadline)?;
        return Ok(Answer { status, leaf: None });
    }
    let mut tls = StreamOwned::new(client(external_url.host())?, socket);
    let status = exchange(&mut tls, &request, deadline)?;
    let chain = tls.conn.peer_certificates().unwrap_or_default();
    Ok(Answer {
        status,
        leaf: chain.first().map(|leaf| leaf.clone().into_owned()),
    })
}

trait Socket: Read + Write {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

fn connect(address: &Address, deadline: Instant) -> io::Result<Box<dyn Socket>> {
    Ok(match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), left(deadline)?)?;
            stream.set_read_timeout(Some(left(deadline)?))?;
            stream.set_write_timeout(Some(left(deadline)?))?;
            Box::new(stream)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(left(deadline)?))?;
            stream.set_write_timeout(Some(left(deadline)?))?;
            Box::new(stream)
        }
    })
}

fn left(deadline: Instant) -> io::Result<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no answer within 3 s"))
}

/// Every address of this machine is reached through loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn exchange(mut stream: impl Read + Write, request: &str, deadline: Instant) -> io::Result<u16> {
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut part = [0; 64];
    // "HTTP/1.1 200" is all that matters. A peer that sends a byte a second has the same 3 s.
    while head.len() < 12 {
        left(deadline)?;
        let read = stream.read(&mut part)?;
        if read == 0 {
            break;
        }
        head.extend(part.iter().take(read));
    }
    status(&head).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn status(head: &[u8]) -> Option<u16> {
    let version = head.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(version.get(2..5)?).ok()?.parse().ok()
}

/// Our end of TLS, which asks for `host`.
fn client(host: &str) -> io::Result<ClientConnection> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}

/// Takes whatever certificate comes, from whoever has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn url() -> ExternalUrl {
        ExternalUrl::parse("http://localhost:8080/team").unwrap()
    }

    /// In the clear.
    const fn door(address: &Address) -> Door<'_> {
        Door {
            address,
            is_secure: false,
            introduces: false,
        }
    }

    fn status_of(address: &Address) -> u16 {
        let answer = ask(&door(address), &url(), "/healthz", Instant::now() + LIMIT);
        answer.unwrap().status
    }

    fn serve(mut stream: impl Read + Write) -> String {
        let mut request = vec![0; 1024];
        let read = stream.read(&mut request).unwrap();
        stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    }

    #[test]
    fn a_guard_is_asked_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let server = thread::spawn(move || serve(listener.accept().unwrap().0));
        assert_eq!(status_of(&address), 503);
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /team/healthz HTTP/1.1\r\nHost: localhost:8080\r\n"));
    }

    #[test]
    fn a_guard_is_asked_over_a_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || serve(listener.accept().unwrap().0));
        assert_eq!(status_of(&Address::Unix(path)), 503);
        server.join().unwrap();
    }

    #[test]
    fn a_guard_that_does_not_answer_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let deadline = Instant::now() + Duration::from_millis(50);
        assert!(ask(&door(&address), &url(), "/healthz", deadline).is_err());
    }

    #[test]
    fn behind_the_proxy_protocol_the_check_introduces_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut header = vec![0; LOCAL_HEADER.len()];
            stream.read_exact(&mut header).unwrap();
            (header, serve(stream))
        });
        let door = Door {
            introduces: true,
            ..door(&address)
        };
        let answer = ask(&door, &url(), "/healthz", Instant::now() + LIMIT);
        assert_eq!(answer.unwrap().status, 503);
        let (header, request) = server.join().unwrap();
        assert_eq!(header, LOCAL_HEADER);
        assert!(request.starts_with("GET /team/healthz"));
    }

    #[test]
    fn only_an_http_status_counts() {
        assert_eq!(status(b"HTTP/1.1 200 OK"), Some(200));
        assert_eq!(status(b"SSH-2.0-x 200"), None);
        assert_eq!(status(b"HTTP/1.1"), None);
    }

    #[test]
    fn unspecified_addresses_are_asked_through_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reach("[::]:80"), "[::1]:80");
        assert_eq!(reach("10.0.0.7:80"), "10.0.0.7:80");
    }
}
