//! Sockets that a service manager passes, and clients that a proxy introduces.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{AS_SYSTEMD, Client, Connection, Guard, PASSWORD, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_passed_socket_replaces_the_addresses_and_outlives_the_guard() {
    let (socket, port) = listener();
    let elsewhere = {
        let (_, port) = listener();
        format!("127.0.0.1:{port}")
    };
    for names in ["http", "guard.socket"] {
        // Whoever asks before the guard is up waits.
        let mut early = Connection::open(port);
        let guard = Guard::plan()
            .with(&["--listen", &elsewhere])
            .passing(vec![socket.try_clone().unwrap().into()], names)
            .start_on(port);
        assert_eq!(early.exchange("GET", "/healthz", &[], "").status, 200);
        assert!(TcpStream::connect(&elsewhere).is_err());
        let address = format!("127.0.0.1:{port}");
        assert!(eventually(PATIENCE, || guard.log().contains(&address)));
    }
}

#[test]
fn a134_children_learn_nothing_of_passed_sockets() {
    let (socket, port) = listener();
    let guard = Guard::plan()
        .passing(vec![socket.into()], "http")
        .start_on(port);
    let environment = Client::connect(&guard).call("environment", &json!({}));
    assert!(environment.contains("PATH"), "{environment}");
    assert!(!environment.contains("LISTEN_"), "{environment}");
}

#[test]
fn two_sockets_of_either_kind_are_served() {
    let (tcp, port) = listener();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let guard = Guard::plan()
        .passing(vec![tcp.into(), unix.into()], "http:http")
        .start_on(port);
    assert_eq!(guard.get("/healthz").status, 200);
    let mut socket = UnixStream::connect(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(guard);
    assert!(path.exists(), "the file is the service manager's");
}

#[test]
fn a_passed_socket_by_the_name_of_admin_has_the_metrics_and_replaces_nothing_else() {
    let (socket, port) = listener();
    let guard = Guard::plan().passing(vec![socket.into()], "admin").start();
    let asked = |port| Connection::open(port).exchange("GET", "/metrics", &[], "");
    let metrics = asked(port);
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("mcp_guard_ready 1\n"), "{metrics:?}");
    assert_eq!(asked(guard.port).status, 404);
}

#[test]
fn sockets_that_cannot_be_used_are_refused_with_a_reason() {
    let connected = || {
        let (listener, port) = listener();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener.accept().unwrap());
        OwnedFd::from(client)
    };
    let file = OwnedFd::from(File::open("/dev/null").unwrap());
    for (socket, names, reason) in [
        (connected(), "http", "Accept=no"),
        (file, "http", "no stream socket"),
    ] {
        let output = Command::new("timeout")
            .args(["20", "sh", "-c", AS_SYSTEMD])
            .arg(env!("CARGO_BIN_EXE_mcp-guard"))
            .args(["--external-url", "http://127.0.0.1:1", "--store", "memory:"])
            .args(["--", "cat"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("MCP_GUARD_PASSWORD", PASSWORD)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", names)
            .stdin(Stdio::from(socket))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

/// A PROXY protocol v2 header for a TCP connection over IPv4.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([10, 0, 0, 1, 0x11, 0x11, 0x22, 0x22]);
    header
}

fn introduced(port: u16, client: [u8; 4]) -> Connection {
    let mut connection = Connection::open(port);
    connection.send(&header(client));
    connection
}

#[test]
fn a114_behind_the_proxy_protocol_the_header_names_the_client() {
    let trusting = ["--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
    let guard = Guard::plan().with(&trusting).start();
    let fail = |port, client: [u8; 4], forwarded: &str| {
        let mut connection = introduced(port, client);
        let fields = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", forwarded),
        ];
        connection
            .exchange("POST", "/register", &fields, "{}")
            .status
    };
    // 120 at once of one network; who is introduced as another's client is another.
    let statuses: Vec<u16> = (0..140)
        .map(|_| fail(guard.port, [192, 0, 2, 7], "198.51.100.1"))
        .collect();
    assert_eq!(statuses[0], 400);
    assert!(statuses.contains(&429));
    assert_eq!(fail(guard.port, [192, 0, 2, 8], "192.0.2.7"), 400);
}

#[test]
fn a_health_check_passes_the_proxy_protocol() {
    let trusting = ["--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
    let guard = Guard::plan().with(&trusting).start();
    let status = Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .arg("healthcheck")
        .args(["--external-url", &guard.url()])
        .args(trusting)
        .env_clear()
        .status();
    assert!(status.unwrap().success());
}
