//! `healthcheck`: asks the guard that runs with this configuration whether it is well. For
//! containers that have no other tool to ask with.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{FAILED, complain, refused};
use crate::config::{Listening, RawConfig};
use crate::http::ExternalUrl;
use crate::listener::{Address, LOCAL_HEADER};

/// For all of it.
const LIMIT: Duration = Duration::from_secs(3);

pub(super) fn run(raw: &RawConfig) -> ExitCode {
    let (external_url, listening) = match Listening::resolve(raw) {
        Ok(resolved) => resolved,
        Err(error) => return refused(&error),
    };
    let deadline = Instant::now() + LIMIT;
    let mut causes = Vec::new();
    let request = request(&external_url, listening.proxy_protocol);
    for address in listening.all() {
        match ask(address, &request, deadline) {
            Ok(200) => return ExitCode::SUCCESS,
            Ok(status) => causes.push(format!("{address} answers {status}")),
            Err(error) => causes.push(format!("{address}: {error}")),
        }
    }
    complain(
        &"the guard is not well",
        &causes,
        Some("see its log; the check needs the same --external-url and --listen as the guard"),
    );
    ExitCode::from(FAILED)
}

/// The status of one `GET /healthz`.
fn ask(address: &Address, request: &[u8], deadline: Instant) -> io::Result<u16> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), left(deadline)?)?;
            stream.set_read_timeout(Some(left(deadline)?))?;
            stream.set_write_timeout(Some(left(deadline)?))?;
            exchange(stream, request, deadline)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(left(deadline)?))?;
            stream.set_write_timeout(Some(left(deadline)?))?;
            exchange(stream, request, deadline)
        }
    }
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

/// In one piece: formatted straight to the socket it would go out in six.
fn request(external_url: &ExternalUrl, proxy_protocol: bool) -> Vec<u8> {
    let header = LOCAL_HEADER.iter().filter(|_| proxy_protocol);
    let request = format!(
        "GET {}/healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        external_url.prefix(),
        external_url.authority(),
    );
    header.copied().chain(request.into_bytes()).collect()
}

fn exchange(mut stream: impl Read + Write, request: &[u8], deadline: Instant) -> io::Result<u16> {
    stream.write_all(request)?;
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn request() -> Vec<u8> {
        let url = ExternalUrl::parse("http://localhost:8080/team").unwrap();
        super::request(&url, false)
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
        assert_eq!(
            ask(&address, &request(), Instant::now() + LIMIT).unwrap(),
            503
        );
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /team/healthz HTTP/1.1\r\nHost: localhost:8080\r\n"));
    }

    #[test]
    fn a_guard_is_asked_over_a_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || serve(listener.accept().unwrap().0));
        let address = Address::Unix(path);
        assert_eq!(
            ask(&address, &request(), Instant::now() + LIMIT).unwrap(),
            503
        );
        server.join().unwrap();
    }

    #[test]
    fn a_guard_that_does_not_answer_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let deadline = Instant::now() + Duration::from_millis(50);
        assert!(ask(&address, &request(), deadline).is_err());
    }

    #[test]
    fn behind_the_proxy_protocol_the_check_introduces_itself() {
        let url = ExternalUrl::parse("http://localhost:8080").unwrap();
        let request = super::request(&url, true);
        assert_eq!(
            request.strip_prefix(LOCAL_HEADER),
            Some(&super::request(&url, false)[..])
        );
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
