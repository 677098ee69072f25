//! A guard in front of a URL: what reaches the wrapped server, and what comes back.
//!
//! The oracle of most tests is the upstream's own record: nothing arrives there that was not
//! authorised, and every byte that does is as it should be.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Answer, Connection, Guard, OAuthClient, RecordingUpstream, Seen, Step, eventually, json_answer,
    two_users_of,
};

pub(crate) const CALL: &str =
    r#"{"jsonrpc":"2.0","id":"seven","method":"tools/call","params":{"name":"x"}}"#;
pub(crate) const RESULT: &str = r#"{"jsonrpc":"2.0","id":"seven","result":{}}"#;

/// Somebody who is signed in.
pub(crate) struct Caller {
    pub(crate) port: u16,
    pub(crate) authorization: String,
}

impl Caller {
    pub(crate) fn new(guard: &Guard) -> Self {
        Self::with(guard, &OAuthClient::register(guard).sign_in(guard).access)
    }

    fn with(guard: &Guard, access_token: &str) -> Self {
        Self {
            port: guard.port,
            authorization: format!("Bearer {access_token}"),
        }
    }

    /// Sends a request on a connection of its own and leaves the answer there.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        further: &[(&str, &str)],
        body: &str,
    ) -> Connection {
        let mut connection = Connection::open(self.port);
        self.send_on(&mut connection, method, target, further, body);
        connection
    }

    pub(crate) fn send_on(
        &self,
        connection: &mut Connection,
        method: &str,
        target: &str,
        further: &[(&str, &str)],
        body: &str,
    ) {
        let mut headers = vec![("Authorization", self.authorization.as_str())];
        if method == "POST" {
            headers.push(("Content-Type", "application/json"));
        }
        headers.extend_from_slice(further);
        connection.send_request(method, target, &headers, body);
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        further: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.send(method, target, further, body).answer()
    }

    fn call(&self) -> Answer {
        self.request("POST", "/mcp", &[], CALL)
    }

    fn listen(&self, target: &str) -> Connection {
        self.send("GET", target, &[("Accept", "text/event-stream")], "")
    }
}

pub(crate) fn in_front_of(upstream: &RecordingUpstream) -> Guard {
    Guard::plan().in_front_of(&upstream.url("/mcp")).start()
}

/// An upstream that answers every request alike.
pub(crate) fn answering(steps: &[Step]) -> RecordingUpstream {
    let steps = steps.to_vec();
    RecordingUpstream::start(move |_| steps.clone())
}

fn plain() -> RecordingUpstream {
    answering(&json_answer("", RESULT))
}

pub(crate) fn send(text: &str) -> Step {
    Step::Send(text.to_owned())
}

fn events(text: &str) -> Step {
    send(&format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk(text)
    ))
}

pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

pub(crate) fn status_and_id(answer: &Answer) -> (u16, serde_json::Value) {
    (answer.status, answer.json()["id"].clone())
}

#[test]
fn a093_the_server_gets_the_message_and_not_the_token() {
    let upstream = plain();
    let guard = Guard::plan()
        .in_front_of(&upstream.url("/mcp"))
        .with(&["--proxy-headers", "X-Api-Key:k1"])
        .variable("MCP_GUARD_PROXY_BEARER_TOKEN", "upstream-secret")
        .start();
    let caller = Caller::new(&guard);
    let further = [
        ("X-Api-Key", "mine"),
        ("Cookie", "a=b"),
        ("X-Other", "kept"),
    ];
    let answer = caller.request("POST", "/mcp?a=b", &further, CALL);
    assert_eq!((answer.status, answer.body.as_str()), (200, RESULT));

    let seen = upstream.last();
    assert_eq!(seen.request_line(), "POST /mcp?a=b HTTP/1.1");
    assert_eq!(seen.body, CALL);
    assert_eq!(seen.all("authorization"), ["Bearer upstream-secret"]);
    assert_eq!(seen.all("x-api-key"), ["k1"]);
    assert_eq!(seen.all("host"), [format!("127.0.0.1:{}", upstream.port)]);
    assert_eq!(seen.all("x-other"), ["kept"]);
    assert_eq!(seen.all("content-length"), [CALL.len().to_string()]);
    assert!(seen.all("cookie").is_empty());
    assert!(!seen.head.contains("mga_"));
}

#[test]
fn a110_everything_below_the_url_is_there_and_nothing_without_a_token() {
    let upstream = plain();
    let guard = Guard::plan()
        .in_front_of(&upstream.url("/api/mcp"))
        .below("/team")
        .start();
    let targets = [
        "/team/api/mcp",
        "/team/api/mcp/",
        "/team/files/a%20b?x=%2e&y",
        "/team/healthz/x",
        "/team/mcp?x=/healthz",
    ];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
        for target in targets {
            let mut connection = Connection::open(guard.port);
            connection.send_request(method, target, &[], "");
            assert_eq!(connection.head().status, 401, "{method} {target}");
        }
    }
    assert!(upstream.seen().is_empty());

    let caller = Caller::new(&guard);
    for target in targets {
        assert_eq!(caller.request("POST", target, &[], CALL).status, 200);
        let below = target.strip_prefix("/team").unwrap();
        // The endpoint is one, with or without a slash.
        let there = below.trim_end_matches('/');
        assert_eq!(upstream.last().target(), there);
    }
    for target in [
        "/team/.well-known/x",
        "/.well-known/x",
        "/api/mcp",
        "/team/.auth/x",
    ] {
        assert_eq!(
            caller.request("GET", target, &[], "").status,
            404,
            "{target}"
        );
    }
    assert_eq!(upstream.seen().len(), targets.len());
}

#[test]
fn r13_the_first_event_is_there_before_the_second_is_sent() {
    let upstream = answering(&[
        events("data: 1\n\n"),
        Step::Pause,
        send(&chunk("data: 2\n\n")),
        send("0\r\n\r\n"),
    ]);
    let guard = in_front_of(&upstream);
    let mut connection = Caller::new(&guard).send("POST", "/mcp", &[], CALL);
    let head = connection.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(connection.chunk().as_deref(), Some("data: 1\n\n"));
    upstream.go_on();
    assert_eq!(connection.chunk().as_deref(), Some("data: 2\n\n"));
    assert_eq!(connection.chunk(), None);
}

#[test]
fn connections_are_used_again() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let mut connection = Connection::open(guard.port);
    for _ in 0..20 {
        caller.send_on(&mut connection, "POST", "/mcp", &[], CALL);
        assert_eq!(connection.answer().status, 200);
    }
    assert!(upstream.seen().iter().all(|seen| seen.connection == 0));
}

#[test]
fn a_connection_that_the_server_closed_costs_no_request() {
    let upstream = answering(&[json_answer("", RESULT), vec![Step::Close]].concat());
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let mut connection = Connection::open(guard.port);
    for count in 0..5 {
        caller.send_on(&mut connection, "POST", "/mcp", &[], CALL);
        assert_eq!(connection.answer().status, 200);
        assert!(upstream.sees_close_of(count));
    }
}

#[test]
fn a125_what_stands_behind_an_answer_is_nobodys_answer() {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    let length = RESULT.len();
    let upstream = answering(&[send(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{RESULT}{extra}"
    ))]);
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let mut connection = Connection::open(guard.port);
    for _ in 0..5 {
        caller.send_on(&mut connection, "POST", "/mcp", &[], CALL);
        assert_eq!(connection.answer().body, RESULT);
    }
    let connections: Vec<usize> = upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3, 4]);
}

#[test]
fn a125_an_early_answer_spends_its_connection() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let further = [("X-Early", "1"), ("Content-Length", "1000000")];
    let mut connection = caller.send("POST", "/mcp", &further, "half of it");
    assert_eq!(connection.answer().body, RESULT);
    // What follows is neither sent on nor taken for a request.
    connection.send(b"GET /smuggled HTTP/1.1\r\n\r\n");
    assert_eq!(connection.rest(), "");
    assert!(upstream.sees_close_of(0));
    assert_eq!(caller.call().status, 200);
    assert_eq!(upstream.last().connection, 1);
}

#[test]
fn a125_a_client_that_leaves_takes_the_exchange_with_it() {
    for first in [vec![], vec![events("data: 1\n\n")]] {
        let upstream = answering(&first);
        let guard = in_front_of(&upstream);
        let caller = Caller::new(&guard);
        let mut connection = caller.send("POST", "/mcp", &[], CALL);
        if first.is_empty() {
            assert!(eventually(Duration::from_secs(10), || {
                upstream.seen().len() == 1
            }));
        } else {
            assert_eq!(connection.head().status, 200);
        }
        drop(connection);
        assert!(upstream.sees_close_of(0));
    }
}

#[test]
fn a106_a107_two_lengths_never_make_two_requests() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let token = Caller::new(&guard).authorization;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: -1\r\n",
    ] {
        let before = upstream.seen().len();
        let mut connection = Connection::open(guard.port);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {token}\r\n\
             Content-Type: application/json\r\n{framing}\r\n0\r\n\r\n{smuggled}",
            guard.port
        );
        connection.send(head.as_bytes());
        let _ = connection.answer();
        assert!(connection.is_closed(), "{framing:?}");
        let seen = upstream.seen();
        assert!(seen.len() <= before + 1, "{framing:?}");
        for seen in &seen {
            assert!(!seen.head.contains("smuggled"), "{framing:?}");
            let framings = seen.all("content-length").len() + seen.all("transfer-encoding").len();
            assert!(framings <= 1, "{}", seen.head);
        }
    }
}

#[test]
fn a109_a_path_arrives_as_it_was_judged_or_not_at_all() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let odd = [
        "//mcp",
        "/a/../mcp",
        "/./mcp",
        "/%2e%2e/mcp",
        "/a/%2E%2E/mcp",
        "/mcp%2f",
        "/mcp%5c",
        "/mcp\\x",
        "/mcp;x",
        "/mcp%3b",
        "/mcp%00",
        "/mcp%3f",
        "/mcp%23",
        "/%6dcp",
        "/a//b",
        "/healthz/..%2fmcp",
        "/mcp%",
        "/mcp%zz",
        "/mcp%252f",
        "/..",
        "/.",
        "*",
        "mcp",
    ];
    for target in odd {
        let mut connection = caller.send("POST", target, &[], CALL);
        let status = connection.head().status;
        assert!(matches!(status, 400 | 404), "{target}: {status}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    let even = [
        "/MCP",
        "/mcpx",
        "/a%20b",
        "/a/b/",
        "/x?y=/../z",
        "/x?a=%2e%2e",
        "/a:b@c",
        "/healthz?x",
    ];
    for target in even.iter().filter(|target| !target.starts_with("/healthz")) {
        let answer = caller.request("POST", target, &[], CALL);
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(upstream.last().target(), *target);
    }
}

#[test]
fn a112_a113_what_a_client_says_of_itself_stays_behind() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let further = [
        (
            "Connection",
            "authorization, x-forwarded-user, mcp-session-id, x-named",
        ),
        ("X-Named", "1"),
        ("X-Forwarded-User", "evil"),
        ("X_Forwarded_User", "evil"),
        ("X.Forwarded.User", "evil"),
        ("X-Mcp-Guard-Assertion", "evil"),
        ("X_Mcp_Guard_User", "evil"),
        ("X-Forwarded-For", "evil"),
        ("Forwarded", "for=evil"),
        ("X-Real-IP", "evil"),
        ("X-Original-URL", "/evil"),
        ("X-HTTP-Method-Override", "evil"),
        ("TE", "trailers"),
        ("Keep-Alive", "evil"),
        ("Proxy-Authorization", "evil"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "evil"),
    ];
    let answer = Caller::new(&guard).request("POST", "/mcp", &further, CALL);
    assert_eq!(answer.status, 200);
    let seen = upstream.last();
    assert!(!seen.head.to_lowercase().contains("evil"), "{}", seen.head);
    assert!(!seen.head.contains("x-named") && !seen.head.contains("upgrade"));
    assert_eq!(seen.all("x-forwarded-user"), ["local:owner"]);
    assert!(seen.all("te").is_empty() && seen.all("connection").is_empty());
}

#[test]
fn a094_a_session_of_the_servers_is_its_owners() {
    let upstream = answering(&json_answer("Mcp-Session-Id: server-made\r\n", RESULT));
    let plan = Guard::without_password().in_front_of(&upstream.url("/mcp"));
    let (guard, alice, bob) = two_users_of(plan);
    let (alice, bob) = (Caller::with(&guard, &alice), Caller::with(&guard, &bob));

    let opened = alice.call();
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    assert_ne!(session, "server-made");
    let before = upstream.seen().len();
    for session in [session.as_str(), "server-made", "server-made.AAAA", ""] {
        for method in ["POST", "GET", "DELETE"] {
            let answer = bob.request(method, "/mcp", &[("Mcp-Session-Id", session)], "{}");
            assert_eq!(answer.status, 404, "{method} {session}");
        }
    }
    assert_eq!(upstream.seen().len(), before);

    let further = [
        ("Mcp-Session-Id", session.as_str()),
        ("Last-Event-ID", "e1"),
    ];
    for method in ["POST", "GET", "DELETE"] {
        let answer = alice.request(method, "/mcp", &further, "");
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.header("mcp-session-id"), Some(session.as_str()));
        let seen = upstream.last();
        assert_eq!(seen.all("mcp-session-id"), ["server-made"]);
        assert_eq!(seen.all("last-event-id"), ["e1"]);
    }

    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize"}).to_string();
    let lost = [("Mcp-Session-Id", "lost")];
    assert_eq!(bob.request("POST", "/mcp", &lost, &initialize).status, 200);
    assert!(upstream.last().all("mcp-session-id").is_empty());
}

#[test]
fn a094_a124_the_address_of_an_sse_session_is_ours_and_its_owners() {
    let upstream = RecordingUpstream::start(|seen| match seen.request_line() {
        line if line.starts_with("GET /sse ") => vec![
            events(": hello\n\n"),
            send(&chunk(
                "event: endpoint\ndata: /messages/?session_id=abc\n\n",
            )),
            send(&chunk("data: later\n\n")),
        ],
        line if line.starts_with("GET /evil ") => vec![
            events("event: endpoint\ndata: http://169.254.169.254/?x\n\n"),
            send(&chunk("data: later\n\n")),
        ],
        _ => vec![send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")],
    });
    let plan = Guard::without_password().in_front_of(&upstream.url("/sse"));
    let (guard, alice, bob) = two_users_of(plan);
    let (alice, bob) = (Caller::with(&guard, &alice), Caller::with(&guard, &bob));

    let mut stream = alice.listen("/sse");
    assert_eq!(stream.head().status, 200);
    let mut text = String::new();
    while !text.contains("later") {
        text.push_str(&stream.chunk().expect("more of the stream"));
    }
    let address = text.split("data: ").nth(1).unwrap().lines().next().unwrap();
    assert!(
        address.starts_with("/messages/?session_id=abc&mcp_guard="),
        "{text}"
    );

    assert_eq!(alice.request("POST", address, &[], CALL).status, 202);
    assert_eq!(upstream.last().target(), "/messages/?session_id=abc");
    let before = upstream.seen().len();
    assert_eq!(bob.request("POST", address, &[], CALL).status, 404);
    let bare = "/messages/?session_id=abc";
    assert_eq!(alice.request("POST", bare, &[], CALL).status, 404);
    assert_eq!(guard.request("POST", address, &[], CALL).status, 401);
    assert_eq!(upstream.seen().len(), before);

    let cut = alice.listen("/evil").rest();
    assert!(!cut.contains("169.254") && !cut.contains("later"), "{cut}");
    assert!(!cut.ends_with("0\r\n\r\n"), "{cut}");
}

/// Clients compare the resource with the URL that people typed.
#[test]
fn the_endpoint_is_the_servers_with_or_without_a_slash_and_named_without() {
    for path in ["/mcp", "/mcp/"] {
        let upstream = plain();
        let guard = Guard::plan().in_front_of(&upstream.url(path)).start();
        let document = guard.get("/.well-known/oauth-protected-resource/mcp");
        assert_eq!(document.json()["resource"], guard.resource());
        assert!(guard.resource().ends_with("/mcp"));
        let caller = Caller::new(&guard);
        for asked in ["/mcp", "/mcp/", "/mcp/?a=b"] {
            assert_eq!(caller.request("POST", asked, &[], CALL).status, 200);
        }
        let seen = upstream.seen();
        let targets: Vec<_> = seen.iter().map(|seen| seen.target().to_owned()).collect();
        assert_eq!(targets, [path, path, &format!("{path}?a=b")]);
    }
}

#[test]
fn a124_a_slash_is_followed_and_remembered() {
    let upstream = RecordingUpstream::start(|seen| match seen.target() {
        "/mcp?a=b" => vec![send(&format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/mcp/?a=b\r\nContent-Length: 0\r\n\r\n",
            seen.header("host").unwrap()
        ))],
        _ => json_answer("", RESULT),
    });
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    for _ in 0..2 {
        let answer = caller.request("POST", "/mcp?a=b", &[], CALL);
        assert_eq!((answer.status, answer.body.as_str()), (200, RESULT));
        assert_eq!(upstream.last().body, CALL);
    }
    let targets: Vec<String> = upstream
        .seen()
        .iter()
        .map(|seen| seen.target().into())
        .collect();
    assert_eq!(targets, ["/mcp?a=b", "/mcp/?a=b", "/mcp/?a=b"]);
}

#[test]
fn a124_no_other_redirect_is_followed_or_shown() {
    for (status, location) in [
        ("307", "http://internal.example/mcp"),
        ("308", "https://127.0.0.1/mcp"),
        ("302", "/login"),
        ("301", "/mcp/"),
        ("303", "/x"),
        ("307", "/mcp"),
    ] {
        let upstream = answering(&[send(&format!(
            "HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))]);
        let guard = in_front_of(&upstream);
        let answer = Caller::new(&guard).call();
        assert_eq!(status_and_id(&answer), (502, json!("seven")), "{location}");
        assert!(answer.header("location").is_none());
        assert!(!answer.body.contains("internal"), "{answer:?}");
        assert!(upstream.seen().len() <= 4, "at most three hops");
    }
}

#[test]
fn r12_a_server_that_is_down_is_a_502_with_the_requests_id() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let guard = Guard::plan()
        .in_front_of(&format!("http://127.0.0.1:{port}/mcp"))
        .start();
    let caller = Caller::new(&guard);
    let begin = Instant::now();
    let answer = caller.call();
    assert_eq!(status_and_id(&answer), (502, json!("seven")));
    assert!(begin.elapsed() < Duration::from_secs(6));
    assert!(!answer.body.contains(&port.to_string()), "{answer:?}");
    let read = caller.request("GET", "/x", &[], "");
    assert_eq!(read.status, 502);
    assert_eq!(read.json()["error"]["code"], -32603);
}

#[test]
fn r12_whatever_is_no_answer_is_a_502_and_asked_for_once() {
    for answer in [
        vec![Step::Close],
        vec![send("SSH-2.0-OpenSSH\r\n"), Step::Close],
        vec![send("HTTP/1.1 200 OK\r\nContent-Le"), Step::Close],
        vec![
            send("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello"),
            Step::Close,
        ],
        vec![send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        )],
        vec![send(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n",
        )],
        vec![send(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nsecret",
        )],
        vec![send(
            "HTTP/1.1 200 OK\r\nMcp-Session-Id: a b\r\nContent-Length: 0\r\n\r\n",
        )],
    ] {
        let upstream = answering(&answer);
        let guard = in_front_of(&upstream);
        let reply = Caller::new(&guard).call();
        assert_eq!(status_and_id(&reply), (502, json!("seven")), "{answer:?}");
        assert!(reply.header("www-authenticate").is_none());
        assert_eq!(upstream.seen().len(), 1, "{answer:?}");
    }
}

#[test]
fn r13_a_server_that_is_silent_is_a_504() {
    let upstream = answering(&[]);
    let plan = Guard::plan().in_front_of(&upstream.url("/mcp"));
    let guard = plan.with(&["--request-timeout", "1s"]).start();
    let answer = Caller::new(&guard).call();
    assert_eq!(status_and_id(&answer), (504, json!("seven")));
    assert!(upstream.sees_close_of(0));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn r14_what_broke_off_never_ends_as_if_it_were_whole() {
    let length = RESULT.len() + 1;
    let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{RESULT}");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n";
    for first in [send(&sized), send(chunked), events("data: 1\n\n")] {
        let upstream = answering(&[first.clone(), Step::Close]);
        let guard = in_front_of(&upstream);
        let mut connection = Caller::new(&guard).send("POST", "/mcp", &[], CALL);
        assert_eq!(connection.head().status, 200);
        let rest = connection.rest();
        assert!(!rest.ends_with("0\r\n\r\n"), "{first:?}: {rest:?}");
        assert!(rest.len() < length, "{rest:?}");
    }
}

#[test]
fn answers_without_a_body_have_none_and_errors_pass() {
    let upstream = RecordingUpstream::start(|seen| {
        let head = match (seen.request_line(), seen.target()) {
            (line, _) if line.starts_with("HEAD") => "200 OK\r\nContent-Length: 1234",
            (_, "/204") => "204 No Content",
            (_, "/304") => "304 Not Modified\r\nETag: \"x\"",
            (_, "/404") => "404 Not Found\r\nContent-Length: 0",
            (_, "/400") => "400 Bad Request\r\nContent-Length: 0",
            _ => "500 Internal Server Error\r\nContent-Length: 0",
        };
        vec![send(&format!("HTTP/1.1 {head}\r\n\r\n"))]
    });
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let mut connection = Connection::open(guard.port);
    caller.send_on(&mut connection, "HEAD", "/x", &[], "");
    let head = connection.head();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1234"))
    );
    for status in [204, 304, 404, 400, 500] {
        caller.send_on(&mut connection, "GET", &format!("/{status}"), &[], "");
        let answer = connection.answer();
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
    }
    assert!(upstream.seen().iter().all(|seen| seen.connection == 0));
}

#[test]
fn a118_bodies_are_bounded_and_large_ones_pass_as_they_come() {
    let upstream = plain();
    let plan = Guard::plan().in_front_of(&upstream.url("/mcp"));
    let guard = plan.with(&["--max-body-size", "1MiB"]).start();
    let caller = Caller::new(&guard);
    let large = "x".repeat(1 << 20);
    assert_eq!(caller.request("POST", "/mcp", &[], &large).status, 200);
    assert_eq!(upstream.last().body, large);

    let before = upstream.seen().len();
    let claimed = [("Content-Length", "1048577")];
    assert_eq!(caller.send("POST", "/mcp", &claimed, "").head().status, 413);
    let mut connection = Connection::open(guard.port);
    connection.send(head_of_chunked(&caller).as_bytes());
    for _ in 0..20 {
        connection.send(chunk(&"x".repeat(64 << 10)).as_bytes());
    }
    assert_eq!(connection.head().status, 413);
    assert_eq!(upstream.seen().len(), before);
    assert_eq!(caller.call().status, 200);
}

#[test]
fn a_body_without_a_length_passes_piece_by_piece() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let mut connection = Connection::open(guard.port);
    connection.send(head_of_chunked(&caller).as_bytes());
    let (begin, end) = CALL.split_at(9);
    connection.send(chunk(begin).as_bytes());
    connection.send(format!("{}0\r\n\r\n", chunk(end)).as_bytes());
    assert_eq!(connection.answer().body, RESULT);
    assert_eq!(upstream.last().body, CALL);
    assert_eq!(upstream.last().all("transfer-encoding"), ["chunked"]);
}

pub(crate) fn head_of_chunked(caller: &Caller) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        caller.port, caller.authorization
    )
}

#[test]
fn a_client_that_asks_whether_to_send_is_told_to() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let further = [
        ("Expect", "100-continue"),
        ("Content-Length", &CALL.len().to_string()),
    ];
    let mut connection = Caller::new(&guard).send("POST", "/mcp", &further, "");
    assert_eq!(connection.head().status, 100);
    connection.send(CALL.as_bytes());
    assert_eq!(connection.answer().body, RESULT);
    assert!(upstream.last().all("expect").is_empty());
}

#[test]
fn a115_no_tunnels() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (method, further) in [
        ("GET", &upgrade[..]),
        ("CONNECT", &[]),
        ("TRACE", &[]),
        ("BREW", &[]),
    ] {
        let status = caller.send(method, "/mcp", further, "").head().status;
        assert!(matches!(status, 400 | 405), "{method}: {status}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a126_an_encoded_answer_passes_as_it_is_and_none_is_encoded_here() {
    let upstream = answering(&json_answer(
        "Content-Encoding: gzip\r\n",
        "gzip, allegedly",
    ));
    let guard = in_front_of(&upstream);
    let accept = [("Accept-Encoding", "gzip")];
    let answer = Caller::new(&guard).request("POST", "/mcp", &accept, CALL);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.body, "gzip, allegedly");
    assert_eq!(upstream.last().header("accept-encoding"), Some("gzip"));
}

#[test]
fn a123_an_answer_says_nothing_for_the_whole_origin() {
    let upstream = answering(&json_answer(
        "Set-Cookie: __Host-x=y\r\nAccess-Control-Allow-Origin: *\r\nClear-Site-Data: \"*\"\r\nX-Kept: 1\r\n",
        RESULT,
    ));
    let guard = in_front_of(&upstream);
    let answer = Caller::new(&guard).call();
    for name in [
        "set-cookie",
        "access-control-allow-origin",
        "clear-site-data",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("sandbox"), "{policy}");
}

#[test]
fn a103_streams_end_with_their_grant() {
    let upstream = answering(&[events("data: 1\n\n")]);
    let guard = in_front_of(&upstream);
    let client = OAuthClient::register(&guard);
    let tokens = client.sign_in(&guard);
    let (caller, other) = (Caller::with(&guard, &tokens.access), Caller::new(&guard));
    let mut open = [
        caller.listen("/mcp"),
        caller.send("POST", "/mcp", &[], CALL),
        other.listen("/mcp"),
    ];
    for stream in &mut open {
        assert_eq!(stream.head().status, 200);
        assert_eq!(stream.chunk().as_deref(), Some("data: 1\n\n"));
    }
    let [listening, answering, theirs] = &mut open;
    client.revoke(&guard, &tokens.refresh);
    for stream in [listening, answering] {
        assert_eq!(stream.chunk(), None);
    }
    assert!(eventually(Duration::from_secs(10), || upstream.closed() == 2));
    guard.signal("TERM");
    assert_eq!(theirs.chunk(), None);
}

#[test]
fn a103_a_listening_stream_ends_with_its_token() {
    let upstream = answering(&[events("data: 1\n\n")]);
    let plan = Guard::plan().in_front_of(&upstream.url("/mcp"));
    let guard = plan.with(&["--access-token-ttl", "3s"]).start();
    let mut stream = Caller::new(&guard).listen("/mcp");
    assert_eq!(stream.head().status, 200);
    assert_eq!(stream.chunk().as_deref(), Some("data: 1\n\n"));
    let begin = Instant::now();
    assert_eq!(stream.chunk(), None);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(upstream.sees_close_of(0));
}

#[test]
fn a120_a_user_has_so_many_streams_and_no_more() {
    let upstream = answering(&[events("data: 1\n\n")]);
    let plan = Guard::plan().in_front_of(&upstream.url("/mcp"));
    let guard = plan.with(&["--max-streams-per-user", "1"]).start();
    let caller = Caller::new(&guard);
    let mut first = caller.listen("/mcp");
    assert_eq!(first.head().status, 200);
    assert_eq!(caller.listen("/mcp").head().status, 429);
    assert_eq!(caller.send("GET", "/x", &[], "").head().status, 429);
    drop(first);
    assert!(eventually(Duration::from_secs(10), || {
        caller.listen("/mcp").head().status == 200
    }));
}

#[test]
fn streaming_only_means_no_listening_at_the_endpoint() {
    let upstream = plain();
    let plan = Guard::plan().in_front_of(&upstream.url("/mcp"));
    let guard = plan.with(&["--http-streaming-only"]).start();
    let caller = Caller::new(&guard);
    for target in ["/mcp", "/mcp/"] {
        assert_eq!(caller.listen(target).head().status, 405, "{target}");
    }
    assert!(upstream.seen().is_empty());
    assert_eq!(caller.call().status, 200);
}

#[test]
fn a105_another_name_or_origin_reaches_nothing() {
    let upstream = plain();
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    for target in ["/mcp", "/other"] {
        let host = [("Host", "evil.test")];
        assert_eq!(caller.request("POST", target, &host, CALL).status, 421);
        let origin = [("Origin", "https://evil.test")];
        assert_eq!(caller.request("POST", target, &origin, CALL).status, 403);
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn concurrent_calls_do_not_wait_for_each_other() {
    let upstream = RecordingUpstream::start(|seen: &Seen| match seen.body.as_str() {
        "wait" => [vec![Step::Pause], json_answer("", RESULT)].concat(),
        _ => json_answer("", RESULT),
    });
    let guard = in_front_of(&upstream);
    let caller = Caller::new(&guard);
    let mut waiting = caller.send("POST", "/mcp", &[], "wait");
    for _ in 0..3 {
        assert_eq!(caller.call().status, 200);
    }
    upstream.go_on();
    assert_eq!(waiting.answer().status, 200);
}
