//! The examples for proxies in front of the guard, each run by the real program where it is
//! installed; in CI they all are. Only addresses and certificates differ from what is shown.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    Browser, Form, Guard, Plan, Site, Tokens, eventually, free_port, next_message,
};

/// Where the clients of these tests are: not where the proxy is, so that the guard can tell.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const WELL: Duration = Duration::from_secs(20);

/// What an example stands for, and what a test puts in its place.
type Replacement = (&'static str, String);

#[test]
fn nginx_as_in_the_example() {
    stands_in_front("nginx", |front, guard| {
        let mut changes = nginx_changes(front);
        changes.push(("127.0.0.1:8080", guard));
        nginx(&adapted("nginx.conf", &changes))
    });
}

#[test]
fn caddy_as_in_the_example() {
    stands_in_front("caddy", |front, guard| {
        let address = format!("http://127.0.0.1:{front} {{\n\tbind 127.0.0.1\n");
        let changes = [("mcp.example.com {\n", address), ("127.0.0.1:8080", guard)];
        let configuration = adapted("Caddyfile", &changes);
        let arguments = ["run", "--config", "front", "--adapter", "caddyfile"];
        (
            format!("{{\n\tadmin off\n}}\n{configuration}"),
            arguments.to_vec(),
        )
    });
}

#[test]
fn haproxy_as_in_the_example() {
    stands_in_front("haproxy", |front, guard| {
        let tls = "bind :443 ssl crt /etc/haproxy/certs/mcp.example.com.pem alpn h2,http/1.1";
        let changes = [
            (tls, format!("bind 127.0.0.1:{front}")),
            ("127.0.0.1:8080", guard),
        ];
        (adapted("haproxy.cfg", &changes), vec!["-db", "-f", "front"])
    });
}

#[test]
fn nginx_before_two_guards_as_in_the_example() {
    let Some(program) = installed("nginx") else {
        return;
    };
    let (_front, port, _guards) = several_times(|| {
        let port = free_port();
        let external = format!("http://127.0.0.1:{port}");
        let guard = |prefix| behind(&external).below(prefix).start();
        let guards = [guard("/one"), guard("/two")];
        let mut changes = nginx_changes(port);
        for (shown, guard) in ["127.0.0.1:8081", "127.0.0.1:8082"]
            .into_iter()
            .zip(&guards)
        {
            changes.push((shown, address(guard)));
        }
        let (configuration, arguments) = nginx(&adapted("nginx-prefix.conf", &changes));
        let front = Front::start(&program, &configuration, &arguments, port)?;
        Some((front, port, guards))
    });
    let [one, two] = ["one", "two"]
        .map(|prefix| Site::discover(&format!("http://127.0.0.1:{port}/{prefix}"), CLIENT));
    let mut browser = Browser::from(CLIENT);
    let pages = [
        one.consent_page(&mut browser),
        two.consent_page(&mut browser),
    ];
    for (site, page) in [&one, &two].into_iter().zip(&pages) {
        let tokens = site.allow(&mut browser, page);
        events_arrive_at_once(site, &tokens);
    }
}

/// What is promised of every proxy: all of OAuth and MCP works through it, events come as they
/// happen, and the guard knows who is calling.
fn stands_in_front(name: &str, configuration: impl Fn(u16, String) -> (String, Vec<&'static str>)) {
    let Some(program) = installed(name) else {
        return;
    };
    let (_front, port, guard) = several_times(|| {
        let port = free_port();
        let guard = behind(&format!("http://127.0.0.1:{port}")).start();
        let (configuration, arguments) = configuration(port, address(&guard));
        let front = Front::start(&program, &configuration, &arguments, port)?;
        Some((front, port, guard))
    });
    let site = Site::discover(&format!("http://127.0.0.1:{port}"), CLIENT);
    events_arrive_at_once(&site, &site.sign_in());
    the_log_names_the_client(&site, &guard);
}

fn events_arrive_at_once(site: &Site, tokens: &Tokens) {
    let session = site.session(tokens);
    // The answer waits for ours to the question, which we know from the first event only.
    let mut call = session.send("POST", &tool("ask", &json!({"number": 1})).to_string());
    assert_eq!(call.head().status, 200);
    let question = next_message(&mut call);
    assert_eq!(question["method"], "sampling/createMessage");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "user"}});
    assert_eq!(session.post(&answer).status, 202);
    assert_eq!(next_message(&mut call)["id"], 1);

    let mut listening = session.send("GET", "");
    assert_eq!(listening.head().status, 200);
    assert_eq!(session.post(&tool("notify", &json!({}))).status, 200);
    let change = next_message(&mut listening);
    assert_eq!(change["method"], "notifications/tools/list_changed");
}

/// A114: whatever the client says of itself.
fn the_log_names_the_client(site: &Site, guard: &Guard) {
    let mut browser = Browser::from(CLIENT);
    let form = Form::of(&site.consent_page(&mut browser));
    let (port, _) = site.place(&site.external);
    let headers = [
        ("Origin", site.external.as_str()),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.1"),
        ("X-Real-IP", "192.0.2.1"),
    ];
    let body = form.with(&[("password", "not this one")]);
    let refused = browser.post(port, &form.action, &body, &headers);
    assert_eq!(refused.status, 403, "{refused:?}");
    let logged = || {
        let log = guard.log();
        let line = log.lines().find(|line| line.contains("sign_in_refused"));
        line.map(str::to_owned)
    };
    assert!(eventually(WELL, || logged().is_some()), "{}", guard.log());
    let line = logged().unwrap();
    assert!(line.contains(&CLIENT.to_string()), "{line}");
    assert!(!line.contains("192.0.2.1"), "{line}");
}

fn tool(name: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": arguments}})
}

/// A guard as the examples have it run, but for the address.
fn behind(external: &str) -> Plan {
    Guard::plan()
        .published_at(external)
        .with(&["--trusted-proxies", "127.0.0.1"])
}

fn address(guard: &Guard) -> String {
    format!("127.0.0.1:{}", guard.port)
}

/// A free port may be somebody else's by the time it is used.
fn several_times<T>(start: impl Fn() -> Option<T>) -> T {
    let started = (0..5).find_map(|_| start());
    started.expect("the proxy does not start")
}

/// An example with each of these texts replaced, wherever it stands; it stands there.
fn adapted(example: &str, changes: &[Replacement]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(example);
    let mut text = fs::read_to_string(path).unwrap();
    for (shown, ours) in changes {
        assert!(text.contains(shown), "{example} has no {shown}");
        text = text.replace(shown, ours);
    }
    text
}

fn nginx_changes(front: u16) -> Vec<Replacement> {
    let certificate = "ssl_certificate     /etc/letsencrypt/live/mcp.example.com/fullchain.pem;";
    let key = "ssl_certificate_key /etc/letsencrypt/live/mcp.example.com/privkey.pem;";
    vec![
        (
            "listen 443 ssl http2;",
            format!("listen 127.0.0.1:{front};"),
        ),
        (certificate, String::new()),
        (key, String::new()),
    ]
}

/// What stands around a virtual host; nothing is written outside the folder it runs in.
fn nginx(virtual_host: &str) -> (String, Vec<&'static str>) {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders = kinds
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{folders}{virtual_host}}}\n"
    );
    (
        configuration,
        vec!["-p", ".", "-e", "stderr", "-c", "front"],
    )
}

/// Where a program is. Without it there is nothing to test, except in CI, where it must be there.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A running proxy, in a folder of its own.
struct Front {
    process: Child,
    folder: tempfile::TempDir,
}

impl Front {
    /// `None` if it ends instead of listening; it says why on standard error.
    fn start(program: &Path, configuration: &str, arguments: &[&str], port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("front"), configuration).unwrap();
        let process = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut front = Self { process, folder };
        let ended = |front: &mut Self| front.process.try_wait().unwrap().is_some();
        let up = eventually(WELL, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok() || ended(&mut front)
        });
        if up && !ended(&mut front) {
            return Some(front);
        }
        let log = fs::read_to_string(front.folder.path().join("log"));
        eprintln!("{}: {}", program.display(), log.unwrap());
        None
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.process);
        let _ = kill_process(pid, Signal::TERM);
        let gone = || matches!(self.process.try_wait(), Ok(Some(_)) | Err(_));
        if !eventually(Duration::from_secs(5), gone) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
