//! A guard in front of an https URL: whom it trusts, and HTTP/2 where the server speaks it.

use hyper::Version;

use crate::support::{Connection, Guard, OAuthClient, TlsUpstream};

fn in_front_of(upstream: &TlsUpstream, trusting: bool) -> (Guard, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &upstream.authority).unwrap();
    let url = format!("https://localhost:{}/mcp", upstream.port);
    let mut plan = Guard::plan().in_front_of(&url);
    if trusting {
        plan = plan.with(&["--tls-ca-file", roots.to_str().unwrap()]);
    }
    (plan.start(), folder)
}

/// The heads' statuses of that many requests, all of which stay open.
fn open_all(guard: &Guard, target: &str, count: usize) -> Vec<(u16, Connection)> {
    let token = OAuthClient::register(guard).sign_in(guard).access;
    let authorization = format!("Bearer {token}");
    let mut open: Vec<Connection> = (0..count).map(|_| Connection::open(guard.port)).collect();
    for connection in &mut open {
        let headers = [("Authorization", authorization.as_str())];
        connection.send_request("POST", target, &headers, "{}");
    }
    let heads = open.into_iter().map(|mut connection| {
        let status = connection.head().status;
        (status, connection)
    });
    heads.collect()
}

#[test]
fn http2_carries_many_streams_on_few_connections() {
    let upstream = TlsUpstream::start("h2");
    let (guard, _folder) = in_front_of(&upstream, true);
    // One after the other first, so that each worker that takes part has its connection.
    for (status, _) in open_all(&guard, "/mcp", 1) {
        assert_eq!(status, 200);
    }
    let mut open = open_all(&guard, "/stream", 40);
    for (status, connection) in &mut open {
        assert_eq!(*status, 200);
        assert_eq!(connection.chunk().as_deref(), Some("data: 1\n\n"));
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), 41);
    for (_, version, target) in &seen {
        assert_eq!(*version, Version::HTTP_2);
        let expected = format!("https://localhost:{}/", upstream.port);
        assert!(
            target.starts_with(&expected) && target.ends_with("None POST"),
            "{target}"
        );
    }
    let mut connections: Vec<usize> = seen.iter().map(|(connection, ..)| *connection).collect();
    connections.dedup();
    connections.sort_unstable();
    connections.dedup();
    assert!(connections.len() < 41, "{connections:?}");
}

#[test]
fn http1_is_spoken_where_the_server_knows_no_other() {
    let upstream = TlsUpstream::start("http/1.1");
    let (guard, _folder) = in_front_of(&upstream, true);
    for (status, mut connection) in open_all(&guard, "/mcp", 3) {
        assert_eq!(status, 200);
        assert_eq!(connection.chunk().as_deref(), Some("data: 1\n\n"));
        assert_eq!(connection.chunk(), None);
    }
    let (_, version, target) = upstream.seen().pop().unwrap();
    assert_eq!(version, Version::HTTP_11);
    assert!(
        target.contains(&format!("localhost:{}", upstream.port)),
        "{target}"
    );
}

#[test]
fn a_server_whose_certificate_nobody_vouches_for_gets_nothing() {
    for protocol in ["h2", "http/1.1"] {
        let upstream = TlsUpstream::start(protocol);
        let (guard, _folder) = in_front_of(&upstream, false);
        let (status, _) = open_all(&guard, "/mcp", 1).pop().unwrap();
        assert_eq!(status, 502);
        assert!(upstream.seen().is_empty());
    }
}
