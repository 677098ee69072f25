//! What a wrapped server is asked over HTTP/1.1, byte for byte, and what happens where a request does
//! not get to its end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::proxy::{CALL, Caller, RESULT, answering, chunk, head_of_chunked, in_front_of, send};
use crate::support::{Connection, Guard, RecordingUpstream, Step, eventually, json_answer};

const PATIENCE: Duration = Duration::from_secs(20);

fn plain() -> RecordingUpstream {
    answering(&json_answer("", RESULT))
}

/// So many bytes, in which none can be missing unnoticed.
fn text_of(length: usize) -> String {
    let bytes = (0..length).map(|n| b'!' + u8::try_from(n * 7919 % 94).unwrap());
    bytes.map(char::from).collect()
}

#[test]
fn a_post_has_this_head_and_nothing_else() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let further = [
        ("Accept", "application/json, text/event-stream"),
        ("Connection", "keep-alive, x-named"),
        ("X-Named", "1"),
        ("Keep-Alive", "timeout=5"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("X-Empty", ""),
    ];
    let caller = Caller::new(&guard);
    assert_eq!(
        caller.request("POST", "/mcp?a=b", &further, CALL).status,
        200
    );
    let head = upstream.last().head;
    let (request_line, fields) = head.split_once("\r\n").unwrap();
    assert_eq!(request_line, "POST /mcp?a=b HTTP/1.1");
    let fields = fields.strip_suffix("\r\n\r\n").unwrap();
    let mut fields: Vec<&str> = fields.split("\r\n").collect();
    fields.sort_unstable();
    let expected = [
        "accept: application/json, text/event-stream",
        &format!("content-length: {}", CALL.len()),
        "content-type: application/json",
        &format!("host: 127.0.0.1:{}", upstream.port),
        "x-empty: ",
        "x-forwarded-for: 127.0.0.1",
        &format!("x-forwarded-host: 127.0.0.1:{}", guard.port),
        "x-forwarded-preferred-username: owner",
        "x-forwarded-proto: http",
        "x-forwarded-user: local:owner",
        "x-twice: one",
        "x-twice: two",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn an_upload_arrives_as_it_was_framed_and_byte_for_byte() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    for length in [1, 60_000, 65_536, 65_537, 1 << 20] {
        let sent = text_of(length);
        assert_eq!(caller.request("POST", "/mcp", &[], &sent).status, 200);
        let seen = upstream.last();
        // Both would fill the screen.
        assert!(seen.body == sent, "{length}: {}", seen.body.len());
        assert_eq!(seen.all("content-length"), [length.to_string()]);
        assert!(seen.all("transfer-encoding").is_empty());
    }
}

#[test]
fn a_chunked_upload_arrives_in_chunks_and_byte_for_byte() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let sent = text_of(1 << 20);
    let mut connection = Connection::open(guard.port);
    for size in [977, 65_536, 1 << 20] {
        connection.send(head_of_chunked(&caller).as_bytes());
        for piece in sent.as_bytes().chunks(size) {
            let piece = std::str::from_utf8(piece).unwrap();
            connection.send(chunk(piece).as_bytes());
        }
        connection.send(b"0\r\nX-After: 1\r\n\r\n");
        assert_eq!(connection.answer().body, RESULT);
        let seen = upstream.last();
        assert!(seen.body == sent, "{size}: {}", seen.body.len());
        assert_eq!(seen.all("transfer-encoding"), ["chunked"]);
        assert!(seen.all("content-length").is_empty());
        assert!(seen.all("trailer").is_empty());
    }
    assert!(upstream.seen().iter().all(|seen| seen.connection == 0));
}

#[test]
fn a_small_body_in_pieces_arrives_whole_and_what_comes_behind_it_is_next() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let sent = text_of(60_000);
    let length = [("Content-Length", "60000")];
    let mut connection = Connection::open(guard.port);
    for size in [997, 30_000, 60_000] {
        caller.send_on(&mut connection, "POST", "/mcp", &length, "");
        for piece in sent.as_bytes().chunks(size) {
            connection.send(piece);
            std::thread::sleep(Duration::from_millis(1));
        }
        // The next one begins before this one is answered.
        caller.send_on(&mut connection, "POST", "/mcp", &[], CALL);
        assert_eq!(connection.answer().body, RESULT, "{size}");
        assert_eq!(connection.answer().body, RESULT, "{size}");
        let bodies: Vec<String> = upstream.seen().into_iter().map(|seen| seen.body).collect();
        assert!(bodies.ends_with(&[sent.clone(), CALL.to_owned()]), "{size}");
    }
}

#[test]
fn a_message_to_a_command_may_come_in_chunks_of_a_byte() {
    const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{
        "protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    let guard = Guard::start();
    let caller = Caller::new(&guard);
    let mut connection = Connection::open(guard.port);
    let mut chunks: String = INITIALIZE
        .chars()
        .map(|one| chunk(&one.to_string()))
        .collect();
    chunks.push_str("0\r\n\r\n");
    let head = head_of_chunked(&caller).replace(
        "\r\n\r\n",
        "\r\nAccept: application/json, text/event-stream\r\n\r\n",
    );
    for _ in 0..3 {
        connection.send(format!("{head}{chunks}").as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("serverInfo"), "{}", answer.body);
    }
}

#[test]
fn requests_without_a_body_say_nothing_of_its_length() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    for method in ["GET", "HEAD", "DELETE"] {
        let status = caller.send(method, "/mcp", &[], "").head().status;
        assert_eq!(status, 200, "{method}");
        let seen = upstream.last();
        assert!(seen.head.starts_with(method), "{}", seen.head);
        assert!(seen.all("content-length").is_empty(), "{}", seen.head);
        assert!(seen.all("transfer-encoding").is_empty(), "{}", seen.head);
    }
}

/// RFC 9110 §8.6: a server may otherwise wait for a body, or ask for its length.
#[test]
fn a_post_without_a_body_says_so() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    assert_eq!(caller.request("POST", "/mcp", &[], "").status, 200);
    let seen = upstream.last();
    assert_eq!(seen.all("content-length"), ["0"], "{}", seen.head);
    assert!(seen.all("transfer-encoding").is_empty());
}

/// The server reads nothing of the body until its answer has arrived.
#[test]
fn a125_an_answer_overtakes_a_large_upload_and_spends_its_connection() {
    let refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much";
    let upstream = RecordingUpstream::start(move |seen| match seen.header("x-early") {
        Some(_) => vec![send(refusal), Step::Pause],
        None => json_answer("", RESULT),
    });
    let plan = Guard::plan().in_front_of(&upstream.url("/mcp"));
    let guard = plan.with(&["--max-body-size", "256MiB"]).start();
    let caller = Caller::new(&guard);
    let length = 64 << 20;
    let mut client = TcpStream::connect(("127.0.0.1", guard.port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nX-Early: 1\r\nContent-Length: {length}\r\n\r\n",
        guard.port, caller.authorization
    );
    let mut upload = client.try_clone().unwrap();
    let uploading = std::thread::spawn(move || {
        let body = std::io::repeat(b'x').take(length);
        upload
            .write_all(head.as_bytes())
            .and_then(|()| std::io::copy(&mut { body }, &mut upload))
    });
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"too much") && matches!(client.read(&mut byte), Ok(1)) {
        answer.extend_from_slice(&byte);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:?}");
    assert!(answer.ends_with("too much"), "{answer:?}");
    upstream.go_on();
    assert!(upstream.sees_close_of(0));
    drop(client);
    assert!(uploading.join().unwrap().is_err(), "all of it was read");
    assert_eq!(caller.request("POST", "/mcp", &[], CALL).body, RESULT);
    assert_eq!(upstream.last().connection, 1);
}

#[test]
fn a106_an_upload_that_breaks_off_is_no_request() {
    let half = text_of(200_000);
    for is_chunked in [false, true] {
        let upstream = plain();
        let guard = in_front_of(&upstream);
        let caller = Caller::new(&guard);
        let connection = if is_chunked {
            let mut connection = Connection::open(guard.port);
            connection.send(head_of_chunked(&caller).as_bytes());
            connection.send(chunk(&half).as_bytes());
            connection
        } else {
            caller.send("POST", "/mcp", &[("Content-Length", "400000")], &half)
        };
        assert!(eventually(PATIENCE, || upstream.begun() == 1));
        drop(connection);
        assert!(upstream.sees_close_of(0));
        assert!(upstream.seen().is_empty(), "{:?}", upstream.last().head);
        assert_eq!(caller.request("POST", "/mcp", &[], CALL).body, RESULT);
        assert_eq!(upstream.begun(), 2);
    }
}
