//! HTTP/2 frame by frame, over TLS, against running workers: what clients may not do, and that it
//! costs nobody else anything (RFC 9113; threat cases ).

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt as _;

use super::deadlines::Timeouts;
use super::tests::{PATIENCE, SHORT, eventually};
use super::tls_tests::{NAME, Secured, TlsClient, get, secured, secured_with, until_goaway};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `CANCEL` (RFC 9113 §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// More than any limit on frames lets through.
const MANY: u32 = 200_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [high, middle, low, kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A field that is in no table (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127);
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

/// `:method`, `:scheme` and `:path` from the static table's names, and more.
fn head(method: &str, path: &str, further: &[Vec<u8>]) -> Vec<u8> {
    let authority = field(":authority", NAME);
    let fields = [
        field(":method", method),
        field(":scheme", "https"),
        field(":path", path),
        authority,
    ];
    [fields.concat(), further.concat()].concat()
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &head("GET", path, &[]),
    )
}

/// Odd numbers are the client's (RFC 9113 §5.1.1).
const fn nth(n: u32) -> u32 {
    2 * n + 1
}

/// A client that has said its preface.
struct Raw(TlsClient);

impl Raw {
    fn open(secured: &Secured) -> Self {
        let mut client = secured.connect(NAME, &["h2"]);
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        // No header table, so that every reply's fields stand for themselves.
        let no_table = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        client.write_all(&no_table).unwrap();
        Self(client)
    }

    fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write_all(bytes).unwrap();
        self
    }

    /// Sends until the guard has had enough; the reasons of its GOAWAY, if one got through.
    fn flood(mut self, wire: impl Fn(u32) -> Vec<u8>) -> (u32, Option<u32>) {
        // What it answers must be read, or the flood would end for want of room.
        let timeout = Some(Duration::from_micros(1));
        let mut seen = Vec::new();
        let mut sent = 0;
        while sent < MANY {
            let batch: Vec<u8> = (sent..sent + 50).flat_map(&wire).collect();
            if self.0.write_all(&batch).is_err() {
                break;
            }
            sent += 50;
            self.0.sock.set_read_timeout(timeout).unwrap();
            while self.read_into(&mut seen) {}
            if goaway(&seen).is_some_and(|reason| reason != 0) {
                break;
            }
        }
        self.0.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        while self.read_into(&mut seen) {}
        (sent, goaway(&seen))
    }

    fn read_into(&mut self, seen: &mut Vec<u8>) -> bool {
        let mut part = [0; 16 * 1024];
        match self.0.read(&mut part) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                seen.extend_from_slice(&part[..count]);
                true
            }
        }
    }

    /// The next frame of this kind: its stream and payload.
    fn next(&mut self, kind: u8) -> (u32, Vec<u8>) {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).unwrap();
            if head[3] == kind {
                let stream = [head[5], head[6], head[7], head[8]];
                return (u32::from_be_bytes(stream), payload);
            }
        }
    }

    /// The status of the next reply. The guard's first field is an indexed or a literal `:status`
    /// (RFC 7541 Appendix A: 8 is 200, 12 is 400).
    fn status(&mut self) -> u16 {
        let (_, block) = self.next(HEADERS);
        // The size of the table is stated once.
        match *block.strip_prefix(&[0x20]).unwrap_or(&block) {
            [0x88, ..] => 200,
            [0x8c, ..] => 400,
            [0x08 | 0x48, length, ref rest @ ..] => number(length, rest),
            _ => panic!("no status: {block:?}"),
        }
    }
}

/// Three digits, plain or by Huffman's code for digits (RFC 7541 Appendix B).
fn number(length: u8, rest: &[u8]) -> u16 {
    let text = &rest[..usize::from(length & 0x7f)];
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    let mut bits = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1));
    let mut take = |count: usize| {
        bits.by_ref()
            .take(count)
            .fold(0_u16, |all, bit| all << 1 | u16::from(bit))
    };
    let mut digit = || match take(5) {
        low @ 0..=2 => low,
        high => (high << 1 | take(1)) - 0x19 + 3,
    };
    let digits = [digit(), digit(), digit()];
    digits[0] * 100 + digits[1] * 10 + digits[2]
}

/// The reason of the last GOAWAY among these frames.
fn goaway(mut wire: &[u8]) -> Option<u32> {
    let mut reason = None;
    while let Some((head, rest)) = wire.split_at_checked(9) {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let Some((payload, after)) = rest.split_at_checked(length) else {
            break;
        };
        if head[3] == GOAWAY {
            reason = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        wire = after;
    }
    reason
}

/// The flood ends, a bystander is served before and after, and the connection's place comes back.
fn refuses(wire: impl Fn(u32) -> Vec<u8>) -> u32 {
    let secured = secured();
    let mut bystander = Raw::open(&secured);
    assert_eq!(bystander.send(&request(1, "/")).status(), 200);
    let (sent, reason) = Raw::open(&secured).flood(wire);
    assert!(sent < MANY, "{sent} were taken");
    assert_ne!(reason, Some(0), "no error was named");
    assert_eq!(bystander.send(&request(3, "/")).status(), 200);
    drop(bystander);
    assert!(secured.guard.empties());
    secured.guard.stop();
    sent
}

#[test]
fn a121_requests_that_are_reset_at_once_end_the_connection() {
    refuses(|n| {
        let reset = frame(RST_STREAM, 0, nth(n), &CANCEL);
        [request(nth(n), "/slow"), reset].concat()
    });
}

#[test]
fn a121_a_head_without_end_ends_the_connection() {
    refuses(|n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &head("GET", "/", &[])),
        _ => frame(CONTINUATION, 0, 1, &field("x", "y")),
    });
}

#[test]
fn a121_requests_that_make_the_guard_reset_them_end_the_connection() {
    // MadeYouReset: the client asks, and then breaks a rule on that stream.
    refuses(|n| {
        let nothing = frame(WINDOW_UPDATE, 0, nth(n), &[0; 4]);
        [request(nth(n), "/slow"), nothing].concat()
    });
    refuses(|n| {
        let too_much = frame(WINDOW_UPDATE, 0, nth(n), &[0x7f, 0xff, 0xff, 0xff]);
        [request(nth(n), "/slow"), too_much].concat()
    });
}

#[test]
fn a121_empty_frames_of_a_body_end_the_connection() {
    refuses(|n| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &head("POST", "/echo", &[])),
        _ => frame(DATA, 0, 1, &[]),
    });
}

#[test]
fn a121_a_flood_of_pings_ends_the_connection() {
    refuses(|_| frame(PING, 0, 0, b"--------"));
}

#[test]
fn a121_a_flood_of_settings_ends_the_connection() {
    refuses(|_| frame(SETTINGS, 0, 0, &[]));
    // SETTINGS_HEADER_TABLE_SIZE, up and down.
    refuses(|n| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, u8::from(n % 2 == 0), 0]));
}

#[test]
fn a121_a_flood_of_frames_that_mean_nothing_ends_the_connection() {
    for kind in [2, 10, 200] {
        refuses(|_| frame(kind, 0, 1, &[0; 5]));
    }
    refuses(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn a121_no_more_than_a_hundred_requests_are_under_way_at_once() {
    let secured = secured();
    let mut client = Raw::open(&secured);
    for n in 0..101 {
        client.send(&request(nth(n), "/slow"));
    }
    // REFUSED_STREAM: the client may try that one again.
    let (stream, reason) = client.next(RST_STREAM);
    assert_eq!((stream, &reason[..]), (nth(100), &[0, 0, 0, 7][..]));
    assert!(eventually(|| secured.guard.toy.slow() == 100));
    secured.guard.toy.go();
    for _ in 0..100 {
        assert_eq!(client.status(), 200);
    }
    secured.guard.stop();
}

#[test]
fn a122_a_head_has_a_hundred_fields_and_sixteen_kibibytes_at_most() {
    let secured = secured();
    let mut client = Raw::open(&secured);
    let fields = |count: usize, length: usize| {
        let fields: Vec<_> = (0..count)
            .map(|n| field(&format!("x-with-a-name-{n}"), &"v".repeat(length)))
            .collect();
        head("GET", "/canonical", &fields)
    };
    for (stream, count, length, expected) in [
        (1, 90, 1, 200),
        (3, 100, 1, 431),
        (5, 90, 120, 200),
        (7, 99, 126, 431),
    ] {
        let block = fields(count, length);
        // A frame holds no more than 16 KiB.
        let (first, rest) = block.split_at(block.len() / 2);
        client.send(&frame(HEADERS, END_STREAM, stream, first));
        client.send(&frame(CONTINUATION, END_HEADERS, stream, rest));
        assert_eq!(client.status(), expected, "{count} fields of {length}");
    }
    secured.guard.stop();
}

#[test]
fn a122_what_http2_lets_through_is_refused_as_in_http1() {
    let secured = secured();
    let mut client = Raw::open(&secured);
    let good = || vec![field(":scheme", "https"), field(":path", "/canonical")];
    let cases: Vec<(u16, Vec<Vec<u8>>)> = vec![
        (200, [good(), vec![field(":authority", NAME)]].concat()),
        (
            400,
            [
                good(),
                vec![field(":authority", NAME), field("host", "other.test")],
            ]
            .concat(),
        ),
        (
            400,
            [good(), vec![field(":authority", "user@guard.test")]].concat(),
        ),
        (400, [good(), vec![field("host", NAME)]].concat()),
        (
            200,
            [
                good(),
                vec![
                    field(":authority", NAME),
                    field("cookie", "a=1"),
                    field("cookie", "b=2"),
                ],
            ]
            .concat(),
        ),
    ];
    for (n, (expected, fields)) in (0..).zip(cases) {
        let block = [vec![field(":method", "GET")], fields].concat().concat();
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, nth(n), &block));
        assert_eq!(client.status(), expected, "{n}");
    }
    secured.guard.stop();
}

#[test]
fn a116_a_body_over_http2_that_does_not_come_is_given_up() {
    let secured = secured_with(Timeouts::default());
    let mut client = Raw::open(&secured);
    client.send(&frame(
        HEADERS,
        END_HEADERS,
        1,
        &head("POST", "/impatient", &[]),
    ));
    client.send(&frame(DATA, 0, 1, b"half"));
    assert_eq!(client.status(), 408);
    // The others on the connection go on.
    assert_eq!(client.send(&request(3, "/")).status(), 200);
    secured.guard.stop();
}

#[tokio::test]
async fn a121_an_old_connection_is_asked_to_go_and_finishes_what_it_has() {
    let secured = secured_with(Timeouts {
        age: SHORT,
        ..Timeouts::default()
    });
    let (mut send, connection) = secured.http2().await;
    let slow = tokio::spawn(send.send_request(get("/slow")));
    until_goaway(&mut send).await;
    secured.guard.toy.go();
    let reply = slow.await.unwrap().unwrap();
    assert_eq!(
        reply.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
    connection.await.unwrap().unwrap();
    let (mut send, _connection) = secured.http2().await;
    assert_eq!(send.send_request(get("/")).await.unwrap().status(), 200);
    drop(send);
    tokio::task::spawn_blocking(move || secured.guard.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn r26_the_drain_ends_a_hundred_streams_and_lets_slow_requests_finish() {
    const CONNECTIONS: usize = 4;
    const STREAMS: usize = 25;
    let secured = secured();
    let mut streams = Vec::new();
    let mut answers = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut send, connection) = secured.http2().await;
        for _ in 0..STREAMS {
            let reply = send.send_request(get("/stream")).await.unwrap();
            streams.push(tokio::spawn(reply.into_body().collect()));
        }
        for _ in 0..2 {
            answers.push(tokio::spawn(send.send_request(get("/slow"))));
        }
        connections.push((send, connection));
    }
    let toy = Arc::clone(&secured.guard.toy);
    while toy.slow() < CONNECTIONS * 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(toy.streams.load(Ordering::SeqCst), CONNECTIONS * STREAMS);
    secured.guard.drain.begin();
    for stream in streams {
        stream.await.unwrap().expect("an end, and no reset");
    }
    assert_eq!(toy.streams.load(Ordering::SeqCst), 0);
    toy.go();
    for answer in answers {
        let reply = answer.await.unwrap().unwrap();
        assert_eq!(
            reply.into_body().collect().await.unwrap().to_bytes(),
            "done"
        );
    }
    for (send, connection) in connections {
        drop(send);
        connection.await.unwrap().unwrap();
    }
    let drained = tokio::task::spawn_blocking(move || {
        let drained = secured.guard.wait(PATIENCE);
        secured.guard.stop();
        drained
    });
    assert!(drained.await.unwrap());
}

/// Where the program is missing there is nothing to see; the continuous integration has it.
#[test]
fn h2load_gets_every_answer() {
    let secured = secured();
    let url = format!("https://{NAME}:{}/hello", secured.guard.address.port());
    let run = Command::new("h2load")
        .args(["-n", "4000", "-c", "8", "-m", "50", "--connect-to"])
        .arg(secured.guard.address.to_string())
        .arg(url)
        .output();
    if let Ok(output) = run {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("4000 succeeded, 0 failed"), "{said}");
    } else {
        assert!(std::env::var_os("CI").is_none(), "h2load is missing");
    }
    secured.guard.stop();
}
