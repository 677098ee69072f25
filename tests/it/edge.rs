//! What the internet does to a listener: clients that are slow on purpose, too many of them, and no
//! descriptors left. Somebody else is served meanwhile.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mcp_guard::http::trust;
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio_rustls::rustls::ClientConnection;

use crate::support::{Client, Connection, Guard, NAME, eventually};
use crate::tls::Files;

const PATIENCE: Duration = Duration::from_secs(20);

/// No wait of a bystander is longer, whatever others do. The machine may be busy.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// Asks again and again, on new connections and on an old one.
struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Duration)>,
}

impl Bystander {
    fn of(guard: &Guard) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (port, stopped) = (guard.port, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut kept = Connection::open(port);
            let (mut times, mut longest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                for connection in [&mut kept, &mut Connection::open(port)] {
                    let answer = connection.exchange("GET", "/healthz", &[], "");
                    assert_eq!(answer.status, 200);
                }
                times += 1;
                longest = longest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(50));
            }
            (times, longest)
        });
        Self { stop, thread }
    }

    fn was_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (times, longest) = self.thread.join().expect("a bystander was not served");
        assert!(
            times > 0 && longest < NOTICEABLE,
            "{times} times, {longest:?}"
        );
    }
}

/// So many connections may be opened here: the guard has the same limit, and others run beside.
fn many(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft: usize = files
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    wanted.min(soft.saturating_sub(400))
}

/// Whether the guard closes it, by an answer and an end or by a reset.
fn is_closed(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    match socket.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a116_thousands_who_say_nothing_or_half_a_word_are_gone_in_time() {
    let guard = Guard::plan()
        .with(&["--max-connections-per-address", "4000"])
        .start();
    let bystander = Bystander::of(&guard);
    let words = [
        "",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX-",
    ];
    let mut sockets: Vec<TcpStream> = (0..many(2000))
        .map(|n| {
            let mut socket = TcpStream::connect(("127.0.0.1", guard.port)).unwrap();
            socket.write_all(words[n % words.len()].as_bytes()).unwrap();
            socket
        })
        .collect();
    let begun = Instant::now();
    assert!(sockets.iter_mut().all(is_closed));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    bystander.was_served();
}

/// What a client says first: with it, the costly part of a handshake is done.
fn client_hello(files: &Files) -> Vec<u8> {
    let config = trust::client_config(Some(files.authority.pem.as_bytes())).unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    hello
}

fn descriptors(guard: &Guard) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", guard.pid()));
    open.unwrap().count()
}

/// The most memory that the guard has had so far.
pub(crate) fn peak_kib(guard: &Guard) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Handshakes under way at a time, of all workers.
fn most_handshakes() -> usize {
    1024 * std::thread::available_parallelism().unwrap().get()
}

#[test]
fn a153_thousands_of_client_hellos_and_nothing_more_are_gone_in_time() {
    let files = Files::new();
    let guard = files
        .plan()
        .with(&["--max-connections-per-address", "6000"])
        .start();
    let client = Client::connect(&guard);
    let bystander = Bystander::of(&guard);
    let hello = client_hello(&files);
    let (open, memory) = (descriptors(&guard), peak_kib(&guard));
    let mut most = open;
    let mut sockets: Vec<TcpStream> = (0..many(5000))
        .map(|n| {
            let mut socket = TcpStream::connect(("127.0.0.1", guard.port)).unwrap();
            socket.write_all(&hello).unwrap();
            if n % 100 == 0 {
                most = most.max(descriptors(&guard));
                // At the guard's pace: on a slow machine a bystander would wait for all of them.
                assert_eq!(guard.get("/healthz").status, 200);
            }
            socket
        })
        .collect();
    let begun = Instant::now();
    assert!(client.call("echo", &json!({"x": 7})).contains('7'));
    assert!(sockets.iter_mut().all(is_closed));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    bystander.was_served();
    let grown = peak_kib(&guard) - memory;
    // Those that were just accepted, or just ended, come on top.
    let bound = most_handshakes() * 3 / 2;
    assert!(most - open <= bound, "{open} descriptors, then {most}");
    assert!(grown <= 24 * most_handshakes(), "{grown} KiB");
    assert!(eventually(PATIENCE, || descriptors(&guard) <= open));
}

#[test]
fn a116_a_body_that_dribbles_is_cut_off_before_and_behind_the_gate() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let authorization = format!("Bearer {}", client.token);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let json = ("Content-Type", "application/json");
    for (path, headers) in [
        ("/token", vec![form]),
        ("/register", vec![json]),
        (
            "/mcp",
            vec![json, ("Authorization", authorization.as_str())],
        ),
    ] {
        let mut connection = Connection::open(guard.port);
        let length = [("Content-Length", "1000"), ("Connection", "close")];
        connection.send_request("POST", path, &[&headers[..], &length].concat(), "{");
        let begun = Instant::now();
        let answer = connection.answer();
        assert_eq!(answer.status, 408, "{path}: {answer:?}");
        assert!(begun.elapsed() < PATIENCE, "{path}: {:?}", begun.elapsed());
    }
}

#[test]
fn a117_the_guard_survives_to_run_out_of_descriptors() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let pid = guard.pid().to_string();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = format!("--nofile={}", open + 40);
    let lowered = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(lowered.unwrap().success());
    let bystander = {
        let mut kept = Connection::open(guard.port);
        assert_eq!(kept.exchange("GET", "/healthz", &[], "").status, 200);
        kept
    };
    let crowd: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(("127.0.0.1", guard.port)).unwrap())
        .collect();
    assert!(eventually(PATIENCE, || guard
        .log()
        .contains("cannot accept connections")));
    let mut bystander = bystander;
    assert_eq!(bystander.exchange("GET", "/healthz", &[], "").status, 200);
    drop(crowd);
    assert_eq!(guard.get("/healthz").status, 200);
    assert!(client.call("pid", &json!({})).parse::<u32>().is_ok());
    let complaints = guard.log().matches("cannot accept connections").count();
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!(complaints <= workers, "{complaints} lines for one shortage");
}

/// A program that this machine may not have. The continuous integration has all of them.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.exists());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "{name} is missing"
    );
    found
}

/// Runs slowhttptest with 200 connections; what it said, and how long it took.
fn slow(guard: &Guard, path: &str, arguments: &[&str]) -> Option<(String, Duration)> {
    let program = program("slowhttptest")?;
    let url = format!("{}{path}", guard.url());
    let begun = Instant::now();
    let output = Command::new(program)
        .args([
            "-c", "200", "-r", "200", "-i", "1", "-x", "24", "-p", "3", "-u", &url,
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((said, begun.elapsed()))
}

#[test]
fn a116_slowhttptest_gets_rid_of_its_connections_and_of_nobody_elses() {
    let guard = Guard::start();
    let form = "application/x-www-form-urlencoded";
    for (what, path, arguments) in [
        ("heads", "/healthz", &["-H", "-l", "40"][..]),
        (
            "bodies",
            "/token",
            &["-B", "-l", "40", "-s", "8192", "-f", form],
        ),
        ("ranges", "/", &["-R", "-l", "40", "-a", "10", "-b", "3000"]),
    ] {
        let bystander = Bystander::of(&guard);
        let Some((said, took)) = slow(&guard, path, arguments) else {
            return;
        };
        bystander.was_served();
        assert!(said.contains("No open connections left"), "{what}: {said}");
        assert!(took < PATIENCE, "{what} took {took:?}");
    }
    // What it reads slowly is small enough to wait in the kernel, so this ends by its own clock.
    let bystander = Bystander::of(&guard);
    let reading = [
        "-X", "-l", "8", "-w", "1", "-y", "2", "-n", "5", "-z", "1", "-k", "3",
    ];
    let Some((said, _)) = slow(&guard, "/", &reading) else {
        return;
    };
    bystander.was_served();
    assert!(said.contains("Hit test time limit"), "{said}");
    assert!(!said.contains("service available:   NO"), "{said}");
}
