//! A guard that speaks TLS itself, with a certificate in files.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_guard::http::trust;
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::support::{Authority, Client, Connection, Guard, NAME, Plan, eventually};

const WELL: Duration = Duration::from_secs(20);
/// Two looks at the files, and then some.
const TWO_LOOKS: Duration = Duration::from_secs(40);

/// A certificate in files, and who vouches for it.
pub(crate) struct Files {
    pub authority: Authority,
    pub folder: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self {
            authority: Authority::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        files.write(NAME);
        files
    }

    /// Replaces what is there.
    fn write(&self, name: &str) {
        self.authority.write_pair(self.folder.path(), name);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the authority's certificate lies.
    pub(crate) fn root(&self) -> PathBuf {
        let path = self.path("root.pem");
        fs::write(&path, &self.authority.pem).unwrap();
        path
    }

    pub(crate) fn plan(&self) -> Plan {
        let text = |name| self.path(name).to_str().unwrap().to_owned();
        Guard::plan()
            .speaking_tls(self.authority.pem.as_bytes())
            .with(&["--tls-cert-file", &text("chain.pem")])
            .with(&["--tls-key-file", &text("key.pem")])
    }

    pub(crate) fn guard(&self) -> Guard {
        self.plan().start()
    }
}

/// Whether a handshake for this name, from a client with these protocols, comes to its end.
fn shakes_hands(files: &Files, guard: &Guard, name: &str, protocol: &[u8]) -> bool {
    let mut config = trust::client_config(Some(files.authority.pem.as_bytes())).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", guard.port)).unwrap();
    let mut stream = StreamOwned::new(tls, socket);
    stream.conn.complete_io(&mut stream.sock).is_ok()
}

fn told(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    text.concat()
}

#[test]
fn sign_in_and_calls_work_over_tls_and_every_url_is_https() {
    let files = Files::new();
    let guard = files.plan().with(&["--hsts", "31536000"]).start();
    let refused = guard.request("POST", "/mcp", &[], "{}");
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").unwrap();
    let document = format!("resource_metadata=\"https://{NAME}:{}/", guard.port);
    assert!(challenge.contains(&document), "{challenge}");
    let hsts = refused.header("strict-transport-security");
    assert_eq!(hsts, Some("max-age=31536000"));
    let client = Client::connect(&guard);
    let said = client.call("echo", &json!({"text": "over TLS"}));
    assert!(said.contains("over TLS"), "{said}");
    assert!(
        guard.log().contains("certificate_loaded"),
        "{}",
        guard.log()
    );
}

#[test]
fn a152_plain_http_is_sent_to_the_external_url_whatever_host_it_names() {
    let files = Files::new();
    let guard = files.plan().with(&["--hsts", "60"]).start();
    let plain = |method: &str, target: &str, host: &str| {
        let mut connection = Connection::open(guard.plain_port);
        connection.exchange(method, target, &[("Host", host)], "")
    };
    let own = format!("https://{NAME}:{}", guard.port);
    for (target, expected) in [
        ("/mcp?a=b%20c", "/mcp?a=b%20c"),
        ("/", "/"),
        ("/healthz", "/healthz"),
        ("/a/../mcp", "/"),
        ("/%2e%2e/x", "/"),
        ("//evil.test/x", "/"),
        ("http://evil.test/x", "/x"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = plain(method, target, "evil.test");
            assert_eq!(answer.status, 308, "{method} {target}: {answer:?}");
            let location = format!("{own}{expected}");
            assert_eq!(answer.header("location"), Some(location.as_str()));
            assert_eq!(answer.header("strict-transport-security"), None);
        }
    }
}

#[test]
fn a149_plain_http_answers_nothing_that_looks_like_a_proof() {
    let files = Files::new();
    let guard = files.guard();
    for token in [
        "x",
        "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
        "a.b",
        "%41",
        "a/b",
        "",
    ] {
        let target = format!("/.well-known/acme-challenge/{token}");
        let answer = Connection::open(guard.plain_port).exchange("GET", &target, &[], "");
        assert!([404, 308].contains(&answer.status), "{target}: {answer:?}");
        assert_eq!(answer.body, "", "{target}");
    }
    for name in [NAME, "other.test"] {
        assert!(!shakes_hands(&files, &guard, name, b"acme-tls/1"), "{name}");
    }
    assert!(shakes_hands(&files, &guard, NAME, b"http/1.1"));
}

#[test]
fn a154_what_is_sent_in_the_clear_is_refused_and_logged_without_it() {
    let files = Files::new();
    let guard = files.guard();
    let bearer = [("Authorization", "Bearer mga_canary")];
    let plain = |method: &str, target: &str, headers: &[(&str, &str)]| {
        let mut connection = Connection::open(guard.plain_port);
        connection.exchange(method, target, headers, "")
    };
    for (method, target, headers) in [
        ("POST", "/mcp", &bearer[..]),
        ("GET", "/mcp", &bearer[..]),
        ("GET", "/mcp?access_token=mga_canary", &[]),
        ("POST", "/token", &[]),
        ("DELETE", "/elsewhere", &[]),
    ] {
        let answer = plain(method, target, headers);
        assert_eq!(answer.status, 403, "{method} {target}: {answer:?}");
        assert!(answer.body.contains("https"), "{answer:?}");
    }
    let logged = || guard.log().contains("sent_in_the_clear");
    assert!(eventually(WELL, logged), "{}", guard.log());
    assert!(!guard.log().contains("canary"), "{}", guard.log());
}

#[test]
fn a_certificate_that_changes_is_taken_over_and_a_bad_one_is_not() {
    let files = Files::new();
    let guard = files.guard();
    assert!(shakes_hands(&files, &guard, NAME, b"h2"));
    assert!(!shakes_hands(&files, &guard, "new.test", b"h2"));
    files.write("new.test");
    guard.signal("HUP");
    let is_new = || shakes_hands(&files, &guard, "new.test", b"h2");
    assert!(eventually(WELL, is_new), "{}", guard.log());
    fs::write(files.path("key.pem"), "no key").unwrap();
    let refused = || guard.log().contains("certificate_refused");
    assert!(eventually(TWO_LOOKS, refused), "{}", guard.log());
    assert!(shakes_hands(&files, &guard, "new.test", b"h2"));
    // Without a signal.
    files.write(NAME);
    let is_old = || shakes_hands(&files, &guard, NAME, b"h2");
    assert!(eventually(TWO_LOOKS, is_old), "{}", guard.log());
    assert_eq!(guard.log().matches("certificate_refused").count(), 1);
}

#[test]
fn the_health_check_and_the_live_check_ask_over_tls() {
    let files = Files::new();
    let mut guard = files.guard();
    let well = guard.run(&["healthcheck"]);
    assert_eq!(well.status.code(), Some(0), "{}", told(&well));
    let live = guard.run(&["check", "--live"]);
    let text = told(&live);
    assert_eq!(live.status.code(), Some(0), "{text}");
    for part in [
        &format!("127.0.0.1:{}: ready\n", guard.port),
        &format!("certificate  for {NAME}\n"),
        "issued by    CN=Authority of the tests",
        "valid until  ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    guard.signal("TERM");
    assert_eq!(guard.exit_within(WELL), Some(0));
    for command in [&["healthcheck"][..], &["check", "--live"]] {
        let output = guard.run(command);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    }
}

#[tokio::test]
async fn r26_a_stop_finishes_the_streams_of_http2_that_are_under_way() {
    let files = Files::new();
    let mut guard = files.guard();
    let client = Client::connect(&guard);
    let mut config = trust::client_config(Some(files.authority.pem.as_bytes())).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", guard.port)).await;
    let name = ServerName::try_from(NAME).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, socket.unwrap()).await.unwrap();
    let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let call = |millis: u64| {
        let mut body = Client::tool("sleep", &json!({ "millis": millis }));
        body["id"] = millis.into();
        let request = Request::post(guard.resource())
            .header("authorization", format!("Bearer {}", client.token))
            .header("mcp-session-id", &client.session)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let mut send = send.clone();
        async move { send.send_request(request).await.unwrap() }
    };
    // Both answers have begun, as streams, when the stop does.
    let (one, two) = tokio::join!(call(1500), call(1600));
    guard.signal("TERM");
    for reply in [one, two] {
        let whole = reply.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&whole);
        assert!(text.contains("done"), "{text}");
    }
    // GOAWAY, and then the end without an error.
    connection.await.unwrap().unwrap();
    assert_eq!(guard.exit_within(WELL), Some(0));
}

#[test]
fn what_cannot_be_listened_on_is_an_error_only_where_it_was_asked_for() {
    let files = Files::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let guard = files.guard();
    let tls = format!("--tls-listen=127.0.0.1:{port}");
    let (chain, key) = (files.path("chain.pem"), files.path("key.pem"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .args(["--external-url=https://guard.test", "--store=memory:", &tls])
        .args([
            "--listen=127.0.0.1:0",
            "--password",
            crate::support::PASSWORD,
        ])
        .arg("--tls-cert-file")
        .arg(chain)
        .arg("--tls-key-file")
        .arg(key)
        .args(["--", "cat"])
        .output()
        .unwrap();
    let text = told(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("(--tls-listen)"), "{text}");
    drop(guard);
}
