//! Under systemd: what the guard tells it, what it is given by it, and the units that are shipped.
//! What the protocol says is read off a socket as systemd has one; passed sockets that are no units'
//! are in `sockets`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::support::{Client, Document, Guard, PASSWORD, Plan, eventually};
use crate::tls_programs::program;

const PATIENCE: Duration = Duration::from_secs(20);

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    address: String,
    _folder: tempfile::TempDir,
}

/// A message, its lines by variable.
type Message = BTreeMap<String, String>;

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::at(socket, path.display().to_string(), folder)
    }

    /// At a name of Linux's own, as in older containers.
    fn abstractly() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("notify").display().to_string();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::at(socket, format!("@{name}"), folder)
    }

    fn at(socket: UnixDatagram, address: String, folder: tempfile::TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            address,
            _folder: folder,
        }
    }

    fn of(&self, plan: Plan) -> Plan {
        plan.variable("NOTIFY_SOCKET", &self.address)
    }

    fn hear(&self) -> Message {
        self.try_hear().expect("a message")
    }

    fn try_hear(&self) -> Option<Message> {
        let mut bytes = [0; 4096];
        let length = match self.socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        };
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        let lines = text.lines().map(|line| line.split_once('=').unwrap());
        Some(
            lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The next that is no sign of life.
    fn hear_news(&self) -> Message {
        loop {
            let message = self.hear();
            if !message.contains_key("WATCHDOG") {
                return message;
            }
        }
    }

    /// What was said and not heard yet.
    fn rest(&self) -> Vec<Message> {
        self.socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.try_hear()).collect()
    }
}

fn is_ready(message: &Message) -> bool {
    message.get("READY").is_some_and(|value| value == "1")
}

/// Microseconds on the clock that a reload is dated by.
fn monotonic() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap().as_micros()
}

#[test]
fn readiness_is_told_once_the_port_answers() {
    for manager in [Manager::new(), Manager::abstractly()] {
        // Who waits for READY=1 connects as soon as it has come.
        std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                let message = manager.hear();
                let url = message["STATUS"].strip_prefix("Serving http://").unwrap();
                let (address, path) = url.split_once('/').unwrap();
                let connected = TcpStream::connect(address).is_ok();
                (message.clone(), path == "mcp", connected)
            });
            let guard = manager.of(Guard::plan()).start();
            let (message, names_the_path, connected) = told.join().unwrap();
            assert!(is_ready(&message) && names_the_path, "{message:?}");
            assert!(connected);
            drop(guard);
        });
        assert_eq!(manager.rest(), []);
    }
}

#[test]
fn a_guard_that_cannot_listen_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = Manager::new();
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .args(["--store", "memory:", "--external-url"])
        .arg(format!("http://{}", taken.local_addr().unwrap()))
        .args(["--", "cat"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("MCP_GUARD_PASSWORD", PASSWORD)
        .env("NOTIFY_SOCKET", &manager.address)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(manager.rest(), []);
}

#[test]
fn a_manager_that_is_not_there_keeps_nothing_from_starting() {
    let guard = Guard::plan()
        .variable("NOTIFY_SOCKET", "/nowhere/notify")
        .start();
    assert_eq!(guard.get("/healthz").status, 200);
    let said = || {
        guard
            .log()
            .contains("the service manager could not be told")
    };
    assert!(eventually(PATIENCE, said));
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("guard.toml");
    let manager = Manager::new();
    let reload = |guard: &Guard, text: &str| {
        fs::write(&config, text).unwrap();
        let before = monotonic();
        guard.signal("HUP");
        let begun = manager.hear();
        assert_eq!(begun["RELOADING"], "1", "{begun:?}");
        let since: u128 = begun["MONOTONIC_USEC"].parse().unwrap();
        assert!((before..=monotonic()).contains(&since));
        let done = manager.hear();
        assert!(is_ready(&done), "{done:?}");
        done["STATUS"].clone()
    };
    fs::write(&config, "").unwrap();
    let plan = Guard::plan().with(&["--config", config.to_str().unwrap()]);
    let guard = manager.of(plan).start();
    let serving = manager.hear()["STATUS"].clone();
    assert_eq!(serving, format!("Serving {}", guard.resource()));
    assert_eq!(reload(&guard, "allow-any-user = true"), serving);
    let status = reload(&guard, "max-children = 7");
    assert_eq!(
        status,
        format!("{serving}; needs a restart: --max-children")
    );
    let status = reload(&guard, "pasword = 'canary'");
    let refused = format!("{serving}; the new configuration is refused: ");
    let why = status.strip_prefix(&refused).expect(&status);
    assert!(why.contains("unknown key `pasword`") && !why.contains("canary"));
}

#[test]
fn a_stop_is_told_before_it_is_waited_for() {
    let manager = Manager::new();
    let plan = Guard::plan().with(&["--shutdown-grace", "100s"]);
    let mut guard = manager.of(plan).start();
    assert!(is_ready(&manager.hear()));
    let client = Client::connect(&guard);
    // Is never answered, and waited for.
    let mut silent = client.send("POST", &Client::tool("silence", &json!({})).to_string());
    silent.head();
    guard.signal("TERM");
    let message = manager.hear();
    assert_eq!(message["STOPPING"], "1", "{message:?}");
    assert!(message["STATUS"].starts_with("Stopping"), "{message:?}");
    // The grace, and what the children may take.
    let within: u64 = message["EXTEND_TIMEOUT_USEC"].parse().unwrap();
    assert_eq!(Duration::from_micros(within), Duration::from_mins(2));
    assert_eq!(guard.exit_within(Duration::from_millis(100)), None);
    guard.signal("INT");
    assert_eq!(guard.exit_within(PATIENCE), Some(0));
    assert_eq!(manager.rest(), []);
}

#[test]
fn signs_of_life_come_twice_as_often_as_they_are_waited_for() {
    const BEATS: u32 = 6;
    let manager = Manager::new();
    let begin = Instant::now();
    let plan = Guard::plan().variable("WATCHDOG_USEC", "200000");
    let mut guard = manager.of(plan).start();
    assert!(is_ready(&manager.hear()));
    for _ in 0..BEATS {
        assert_eq!(manager.hear(), [("WATCHDOG".into(), "1".into())].into());
    }
    // Not more often: the first is given at once.
    assert!(begin.elapsed() >= (BEATS - 1) * Duration::from_millis(100));
    guard.signal("HUP");
    assert!(manager.hear_news().contains_key("RELOADING"));
    assert!(is_ready(&manager.hear_news()));
    assert!(manager.hear().contains_key("WATCHDOG"));
    guard.signal("TERM");
    assert!(manager.hear_news().contains_key("STOPPING"));
    assert_eq!(guard.exit_within(PATIENCE), Some(0));
}

#[test]
fn signs_of_life_that_another_process_is_to_give_are_not_given() {
    let manager = Manager::new();
    let plan = Guard::plan()
        .variable("WATCHDOG_USEC", "2000")
        .variable("WATCHDOG_PID", "1");
    let mut guard = manager.of(plan).start();
    assert!(is_ready(&manager.hear()));
    assert_eq!(guard.get("/healthz").status, 200);
    guard.signal("TERM");
    assert!(manager.hear().contains_key("STOPPING"));
    assert_eq!(guard.exit_within(PATIENCE), Some(0));
    assert_eq!(manager.rest(), []);
}

#[test]
fn a134_children_learn_nothing_of_what_systemd_says_to_the_guard() {
    let manager = Manager::new();
    let credentials = tempfile::tempdir().unwrap();
    let (socket, port) = listener();
    let plan = Guard::plan()
        .variable("WATCHDOG_USEC", "30000000")
        .variable(
            "CREDENTIALS_DIRECTORY",
            credentials.path().to_str().unwrap(),
        )
        .variable("INVOCATION_ID", "canary")
        .variable("RUNTIME_DIRECTORY", "canary")
        .passing(vec![socket.into()], "http");
    let guard = manager.of(plan).start_on(port);
    let environment = Client::connect(&guard).call("environment", &json!({}));
    assert!(environment.contains("PATH"), "{environment}");
    for ours in [
        "NOTIFY_SOCKET",
        "WATCHDOG_",
        "LISTEN_",
        "CREDENTIALS_DIRECTORY",
        "canary",
    ] {
        assert!(!environment.contains(ours), "{ours}: {environment}");
    }
}

#[test]
fn a_secret_of_loadcredential_is_found_under_the_name_of_its_option() {
    let credentials = tempfile::tempdir().unwrap();
    fs::write(credentials.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    let guard = Guard::without_password()
        .variable(
            "CREDENTIALS_DIRECTORY",
            credentials.path().to_str().unwrap(),
        )
        .start();
    assert_eq!(Client::connect(&guard).call("echo", &json!(1)), "1");
}

#[test]
fn a141_a_state_directory_behind_the_link_of_a_dynamic_user_is_taken() {
    let library = tempfile::tempdir().unwrap();
    // As with DynamicUser=yes and StateDirectoryMode=0700.
    let private = library.path().join("private/mcp-guard");
    let mut owner_only = fs::DirBuilder::new();
    owner_only.recursive(true).mode(0o700);
    owner_only.create(&private).unwrap();
    let link = library.path().join("mcp-guard");
    symlink("private/mcp-guard", &link).unwrap();
    let plan = Guard::plan().in_state_directory(&link);
    let guard = plan.start();
    assert_eq!(Client::connect(&guard).call("echo", &json!(1)), "1");
    let database = fs::metadata(private.join("mcp-guard.db")).unwrap();
    assert_eq!(database.permissions().mode() & 0o777, 0o600);
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A unit that is shipped.
struct Unit {
    path: PathBuf,
    text: String,
}

impl Unit {
    fn named(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(name);
        let text = fs::read_to_string(&path).unwrap();
        Self { path, text }
    }

    /// What it says of this, each time.
    fn values(&self, name: &str) -> Vec<&str> {
        let settings = self.settings().into_iter();
        settings
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .collect()
    }

    /// What it says, comments aside.
    fn settings(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    }
}

#[test]
fn the_sockets_units_pass_what_the_guard_takes() {
    for name in ["mcp-guard.socket", "mcp-guard@.socket"] {
        let unit = Unit::named(name);
        let [names] = unit.values("FileDescriptorName")[..] else {
            panic!("one name: {name}");
        };
        let [address] = unit.values("ListenStream")[..] else {
            panic!("one address: {name}");
        };
        let manager = Manager::new();
        let (tcp, port) = listener();
        if !address.starts_with('/') {
            let plan = Guard::plan().passing(vec![tcp.into()], names);
            let guard = manager.of(plan).start_on(port);
            assert!(is_ready(&manager.hear()));
            assert_eq!(guard.get("/healthz").status, 200);
            continue;
        }
        // The harness looks for its guard at a port, so there is one beside it.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard.sock");
        let file = UnixListener::bind(&path).unwrap();
        let names = format!("{names}:{names}");
        let plan = Guard::plan().passing(vec![tcp.into(), file.into()], &names);
        let _guard = manager.of(plan).start_on(port);
        assert!(is_ready(&manager.hear()));
        assert!(health_at(&path).starts_with("HTTP/1.1 200"));
    }
}

fn health_at(path: &Path) -> String {
    let mut socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    socket.write_all(request).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// The units as they are installed, with the program where it was built and the TLS drop-in in force.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (unit, instance) in UNITS {
        let Unit { text, .. } = Unit::named(unit);
        let text = text.replace("/usr/local/bin/mcp-guard", env!("CARGO_BIN_EXE_mcp-guard"));
        fs::write(folder.path().join(instance), &text).unwrap();
        if instance.ends_with(".service") {
            // As a drop-in adds to it.
            let tls = Unit::named("mcp-guard-tls.conf").text;
            fs::write(folder.path().join(format!("tls-{instance}")), text + &tls).unwrap();
        }
    }
    folder
}

/// A unit, and what it is enabled as.
const UNITS: [(&str, &str); 4] = [
    ("mcp-guard.service", "mcp-guard.service"),
    ("mcp-guard@.service", "mcp-guard@a.service"),
    ("mcp-guard.socket", "mcp-guard.socket"),
    ("mcp-guard@.socket", "mcp-guard@a.socket"),
];

fn analyze(systemd_analyze: &Path, folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(systemd_analyze)
        .args(arguments)
        .current_dir(folder)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a168_systemd_has_nothing_to_say_against_the_units() {
    let Some(systemd_analyze) = program("systemd-analyze") else {
        return;
    };
    let folder = installed();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let unit = entry.unwrap().file_name().into_string().unwrap();
        let arguments = ["verify", "--man=no", &format!("./{unit}")];
        let (passed, said) = analyze(&systemd_analyze, folder.path(), &arguments);
        assert!(passed && said.is_empty(), "{unit}: {said}");
    }
    let broken = folder.path().join("broken.service");
    fs::write(broken, "[Service]\nExecStart=/nowhere/mcp-guard\n").unwrap();
    let arguments = ["verify", "--man=no", "./broken.service"];
    let (passed, said) = analyze(&systemd_analyze, folder.path(), &arguments);
    assert!(!passed, "nothing would be noticed: {said}");
}

#[test]
fn what_the_document_adds_to_the_units_is_understood() {
    const FOLDER: &str = "# /etc/systemd/system/";
    let Some(systemd_analyze) = program("systemd-analyze") else {
        return;
    };
    let document = Document::named("docs/systemd.md");
    let blocks = document.blocks().into_iter();
    let added = blocks.filter(|block| block.language == "text" && block.text.starts_with(FOLDER));
    let mut seen = 0;
    for block in added {
        seen += 1;
        let folder = installed();
        let (name, _) = block.text[FOLDER.len()..].split_once('\n').unwrap();
        let unit = name.split(".d/").next().unwrap();
        let path = folder.path().join(unit);
        // What a drop-in adds to is there already.
        let before = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(before.is_empty(), unit == name, "{name}");
        fs::write(&path, before + &block.text).unwrap();
        let arguments = ["verify", "--man=no", &format!("./{unit}")];
        let (passed, said) = analyze(&systemd_analyze, folder.path(), &arguments);
        assert!(passed && said.is_empty(), "{}: {said}", block.text);
    }
    assert!(seen >= 4, "only {seen} were found");
}

#[test]
fn the_configurations_that_the_document_shows_would_start() {
    let document = Document::named("docs/systemd.md");
    let shown = |beginning: &str| {
        let mut blocks = document.blocks().into_iter();
        let block = blocks.find(|block| block.text.starts_with(beginning));
        block.expect(beginning).text
    };
    let folder = tempfile::tempdir().unwrap();
    let hash = mcp_guard::identity::local::hash_password(PASSWORD).unwrap();
    let config = folder.path().join("guard.toml");
    fs::write(&config, shown("external-url = ")).unwrap();
    fs::write(folder.path().join("password-hash"), &hash).unwrap();
    let check = |variables: BTreeMap<String, String>| {
        let output = Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
            // In place of a server that need not be installed here.
            .args(["check", "--", "cat"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("STATE_DIRECTORY", folder.path().join("state"))
            .envs(variables)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let one = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
    check(BTreeMap::from([
        one("MCP_GUARD_CONFIG", &config),
        one("CREDENTIALS_DIRECTORY", folder.path()),
    ]));
    let file = shown("MCP_GUARD_CONFIG=").replace("'$argon2id$…'", &hash);
    let lines = file.lines().map(|line| line.split_once('=').unwrap());
    let mut variables: BTreeMap<_, _> = lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let options = variables.remove("GUARD_OPTIONS").unwrap();
    assert!(options.starts_with("-- "), "{options}");
    check(variables);
}

#[test]
fn a168_the_services_are_exposed_by_two_of_ten_at_most() {
    const AT_MOST: &str = "--threshold=20";
    let Some(systemd_analyze) = program("systemd-analyze") else {
        return;
    };
    let folder = installed();
    let mut judged = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let unit = entry.unwrap().file_name().into_string().unwrap();
        if unit.ends_with(".service") {
            judged += 1;
            let arguments = ["security", "--offline=true", AT_MOST, "--no-pager", &unit];
            let (passed, said) = analyze(&systemd_analyze, folder.path(), &arguments);
            assert!(passed && said.contains("Overall exposure level"), "{said}");
        }
    }
    assert_eq!(judged, 4);
}

#[test]
fn a168_each_of_several_guards_is_confined_as_a_single_one() {
    let (one, many) = (
        Unit::named("mcp-guard.service"),
        Unit::named("mcp-guard@.service"),
    );
    let only_in = |this: &Unit, other: &Unit| -> Vec<String> {
        let other = other.settings();
        let lines = this.settings().into_iter();
        lines
            .filter(|line| !other.contains(line))
            .map(|line| line.split('=').next().unwrap().to_owned())
            .collect()
    };
    let named = [
        "Description",
        "ExecStart",
        "EnvironmentFile",
        "StateDirectory",
        "CacheDirectory",
        "Environment",
    ];
    assert_eq!(only_in(&one, &many), named, "{}", one.path.display());
    let also: Vec<String> = only_in(&many, &one)
        .into_iter()
        .filter(|name| !named.contains(&name.as_str()))
        .collect();
    assert_eq!(also, ["AssertPathExists", "AssertPathExists", "User"]);
    // Without it all of them would be the same user.
    assert_eq!(many.values("User"), ["mcp-guard-%i"]);
}
