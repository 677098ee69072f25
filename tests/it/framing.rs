//! Requests that two readers could take apart differently, byte for byte against the shipped binary
//! (threat cases A-106 … ): whatever is wrong with one, it gets one answer at most, the
//! connection ends, and what stands behind it is never taken for a request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Guard;

/// What would be answered 200 if anybody took it for a request.
const SMUGGLED: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// All that comes back until the guard closes the connection, which it does.
fn answers(guard: &Guard, wire: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", guard.port)).unwrap();
    let patience = Duration::from_secs(20);
    socket.set_read_timeout(Some(patience)).unwrap();
    // It may have had enough before the end.
    let _ = socket.write_all(wire);
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("the connection ends");
    String::from_utf8_lossy(&all).into_owned()
}

/// One answer, of this status.
fn assert_refused(guard: &Guard, status: u16, wire: &[u8]) {
    let all = answers(guard, wire);
    let shown = String::from_utf8_lossy(&wire[..wire.len().min(200)]).into_owned();
    assert!(
        all.starts_with(&format!("HTTP/1.1 {status} ")),
        "{shown:?}: {all}"
    );
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {all}");
}

fn post(guard: &Guard, fields: &str, body: &str) -> String {
    let port = guard.port;
    format!("POST /register HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n\r\n{body}{SMUGGLED}")
}

#[test]
fn a106_a_body_has_one_length_or_the_connection_ends() {
    let guard = Guard::start();
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length : 5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: \x0bchunked",
    ] {
        assert_refused(&guard, 400, post(&guard, fields, "hello").as_bytes());
    }
}

#[test]
fn a106_two_framings_yield_one_answer_and_the_end() {
    let guard = Guard::start();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let fields = format!("{fields}\r\nContent-Type: application/json");
        let all = answers(&guard, post(&guard, &fields, "0\r\n\r\n").as_bytes());
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
        assert!(!all.contains("HTTP/1.1 200"), "{all}");
    }
}

#[test]
fn a107_other_codings_are_not_taken_apart() {
    let guard = Guard::start();
    for coding in ["gzip, chunked", "identity, chunked"] {
        let fields = format!("Transfer-Encoding: {coding}");
        assert_refused(&guard, 501, post(&guard, &fields, "0\r\n\r\n").as_bytes());
    }
}

#[test]
fn a106_chunks_are_read_to_the_letter() {
    let guard = Guard::start();
    let fields = "Transfer-Encoding: chunked\r\nContent-Type: application/json";
    for body in [
        "2\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}XX0\r\n\r\n",
        "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "2;a=\nb\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
    ] {
        assert_refused(&guard, 400, post(&guard, fields, body).as_bytes());
    }
}

#[test]
fn a108_a_head_that_is_malformed_ends_the_connection() {
    let guard = Guard::start();
    for head in [
        "GET /healthz HTTP/1.1\r\nHost: a\rX: b",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\r\n b",
        "GET /heal thz HTTP/1.1\r\nHost: a",
        "GET /healthz HTTP/1.2\r\nHost: a",
        "GET /healthz HTTP/1.1",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b",
        "GET http://evil.test/healthz HTTP/1.1\r\nHost: a",
    ] {
        assert_refused(&guard, 400, format!("{head}\r\n\r\n{SMUGGLED}").as_bytes());
    }
    let old =
        format!("GET /healthz HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{SMUGGLED}");
    let all = answers(&guard, old.as_bytes());
    assert!(!all.contains(" 200 "), "{all}");
}

#[test]
fn a108_a_head_without_measure_ends_the_connection() {
    let guard = Guard::start();
    let head =
        |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (status, head) in [
        (431, head("/healthz", &"x: 1\r\n".repeat(101))),
        (
            431,
            head("/healthz", &format!("x: {}\r\n", "1".repeat(500_000))),
        ),
        (414, head(&format!("/{}", "x".repeat(70_000)), "")),
    ] {
        assert_refused(&guard, status, head.as_bytes());
    }
}

#[test]
fn a115_no_tunnel_begins() {
    let guard = Guard::start();
    for head in [
        "CONNECT a:80 HTTP/1.1",
        "TRACE /healthz HTTP/1.1",
        "BREW /healthz HTTP/1.1",
    ] {
        let wire = format!("{head}\r\nHost: a:80\r\n\r\n{SMUGGLED}");
        assert_refused(&guard, 405, wire.as_bytes());
    }
    let upgrade = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n\
                   GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = answers(&guard, upgrade.as_bytes());
    assert_eq!(all.matches("HTTP/1.1 200").count(), 2, "{all}");
    assert!(!all.contains("101 "), "{all}");
}
