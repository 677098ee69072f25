//! The PROXY protocol in front of running workers, in the clear and before TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::deadlines::Timeouts;
use super::tests::{Guard, PATIENCE, SHORT, read_to_the_end, settings, start};
use super::*;

/// A header for a client at this address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[10, 0, 0, 1, 0x11, 0x11, 0x22, 0x22]].concat();
    [&LOCAL_HEADER[..12], &[0x21, 0x11, 0, 12], &addresses].concat()
}

fn guard(trusted: &str, timeouts: Timeouts) -> Guard {
    let settings = Settings {
        proxies: Some(vec![trusted.parse().unwrap()]),
        max_connections_per_address: 1,
        ..settings(vec!["127.0.0.1:0".parse().unwrap()])
    };
    start(&settings, timeouts)
}

/// What comes back, until the guard closes.
fn exchange(guard: &Guard, wire: &[u8]) -> String {
    let mut socket = TcpStream::connect(guard.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have been closed by then.
    let _ = socket.write_all(wire);
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    answer
}

const GET: &[u8] = b"GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a114_the_peer_is_whom_the_trusted_proxy_names() {
    let guard = guard("127.0.0.0/8", Timeouts::default());
    let named = exchange(&guard, &[&header([192, 0, 2, 7])[..], GET].concat());
    assert!(named.ends_with("192.0.2.7"), "{named}");
    let own = exchange(&guard, &[&LOCAL_HEADER[..], GET].concat());
    assert!(own.ends_with("127.0.0.1"), "{own}");
    guard.stop();
}

#[test]
fn a114_nobody_connects_without_a_header_or_past_the_proxy() {
    let trusting = guard("127.0.0.0/8", Timeouts::default());
    assert_eq!(exchange(&trusting, GET), "");
    let version_1 = [&b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n"[..], GET].concat();
    assert_eq!(exchange(&trusting, &version_1), "");
    trusting.stop();
    let elsewhere = guard("10.0.0.0/8", Timeouts::default());
    let introduced = [&header([192, 0, 2, 7])[..], GET].concat();
    assert_eq!(exchange(&elsewhere, &introduced), "");
    elsewhere.stop();
}

#[test]
fn a116_a_proxy_that_says_nothing_is_not_waited_for() {
    let guard = guard(
        "127.0.0.0/8",
        Timeouts {
            head: SHORT,
            ..Timeouts::default()
        },
    );
    assert_eq!(exchange(&guard, b""), "");
    assert_eq!(exchange(&guard, &LOCAL_HEADER[..10]), "");
    guard.stop();
}

#[test]
fn a117_limits_count_the_clients_and_not_the_proxy() {
    let guard = guard("127.0.0.0/8", Timeouts::default());
    let hold = |client| {
        let mut socket = TcpStream::connect(guard.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&header(client)).unwrap();
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let count = socket.read(&mut [0; 512]).unwrap_or(0);
        (socket, count > 0)
    };
    let (_first, served) = hold([192, 0, 2, 1]);
    assert!(served);
    let (_other, served) = hold([192, 0, 2, 2]);
    assert!(served);
    let (_again, served) = hold([192, 0, 2, 1]);
    assert!(!served);
    guard.stop();
}

#[test]
fn a114_the_header_stands_before_tls() {
    let secured = tls_tests::secured_behind("127.0.0.0/8");
    let mut socket = TcpStream::connect(secured.guard.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&header([192, 0, 2, 7])).unwrap();
    let mut client = secured.over(socket, tls_tests::NAME, &["http/1.1"]);
    client.write_all(GET).unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(answer.ends_with(b"192.0.2.7"), "{answer:?}");
    let mut bare = secured.connect(tls_tests::NAME, &["http/1.1"]);
    assert!(bare.write_all(GET).is_err() || read_to_the_end(&mut bare).is_empty());
    secured.guard.stop();
}
