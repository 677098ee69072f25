//! A guard of one's own: the shipped binary on a free port with a data directory that goes with it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Answer, Connection, forget_tls, secure, speak_tls};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// The name of guards that speak TLS.
pub(crate) const NAME: &str = "guard.test";

/// A running guard; it is killed when it goes out of scope.
pub(crate) struct Guard {
    pub port: u16,
    /// Where it speaks plain HTTP: the same, unless it speaks TLS.
    pub plain_port: u16,
    process: Child,
    log: Arc<Mutex<String>>,
    pub data: Arc<tempfile::TempDir>,
    plan: Plan,
}

/// What to start.
#[derive(Clone)]
pub(crate) struct Plan {
    prefix: String,
    /// Of the guarded endpoint.
    mcp_path: String,
    external: Option<String>,
    tls: Option<TlsFace>,
    arguments: Vec<String>,
    server: Vec<String>,
    variables: Vec<(String, String)>,
    /// Passed as by systemd.
    sockets: Vec<Arc<OwnedFd>>,
    /// Where the state is by `STATE_DIRECTORY` alone.
    state_directory: Option<PathBuf>,
}

/// Starts a program as systemd starts a service that has sockets: standard input and output become
/// descriptors 3 and 4.
pub(crate) const AS_SYSTEMD: &str = "exec 3<&0 4>&1 </dev/null >/dev/null; \
                                     LISTEN_PID=$$ exec \"$0\" \"$@\"";
/// Of a guard that speaks TLS.
#[derive(Clone)]
struct TlsFace {
    /// Whom its clients trust, as PEM.
    roots: Vec<u8>,
    /// Where it redirects; otherwise anywhere.
    plain_port: Option<u16>,
}

impl Guard {
    /// A guard in front of the echo server, with the local user's [`PASSWORD`].
    pub(crate) fn start() -> Self {
        Self::plan().start()
    }

    pub(crate) fn plan() -> Plan {
        Plan {
            prefix: String::new(),
            mcp_path: "/mcp".into(),
            external: None,
            tls: None,
            arguments: Vec::new(),
            server: vec![example("echo_server").display().to_string()],
            variables: vec![("MCP_GUARD_PASSWORD".into(), PASSWORD.into())],
            sockets: Vec::new(),
            state_directory: None,
        }
    }

    /// As [`Self::plan`], but with no way to sign in yet.
    pub(crate) fn without_password() -> Plan {
        Plan {
            variables: Vec::new(),
            ..Self::plan()
        }
    }

    pub(crate) fn url(&self) -> String {
        secure::origin(self.port)
    }

    pub(crate) fn resource(&self) -> String {
        format!("{}{}", self.url(), self.at(&self.plan.mcp_path))
    }

    /// A path below the external URL.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.plan.prefix)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// One request on a connection of its own.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        Connection::open(self.port).exchange(method, target, headers, body)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], "")
    }

    /// What the guard has written to its standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal, by the name that `kill` knows it by.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.unwrap().success());
    }

    /// Runs a command of the program's with this guard's configuration.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        self.plan
            .command(command, self.port, self.plain_port, &self.data)
            .output()
            .unwrap()
    }

    /// The exit code, once the guard has ended; `None` if it does not within `patience`.
    pub(crate) fn exit_within(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Ends this guard without a warning and starts another on the same port and data.
    pub(crate) fn killed_and_restarted(mut self) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let plan = self.plan.clone();
        let data = Arc::clone(&self.data);
        let port = self.port;
        // What it forgets as it goes, the next one learns anew.
        drop(self);
        plan.start_at(port, data).expect("it starts again")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        forget_tls(self.port);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Plan {
    /// Adds arguments, as one would type them.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Passes listening sockets, two at most, by these names.
    pub(crate) fn passing(mut self, sockets: Vec<OwnedFd>, names: &str) -> Self {
        self.sockets = sockets.into_iter().map(Arc::new).collect();
        let count = self.sockets.len().to_string();
        self.variable("LISTEN_FDS", &count)
            .variable("LISTEN_FDNAMES", names)
    }

    /// Keeps its state where systemd says.
    pub(crate) fn in_state_directory(mut self, path: &Path) -> Self {
        self.state_directory = Some(path.to_owned());
        self.variable("STATE_DIRECTORY", path.to_str().unwrap())
    }

    /// Starts it where a socket listens already.
    pub(crate) fn start_on(self, port: u16) -> Guard {
        let data = Arc::new(tempfile::tempdir().unwrap());
        self.start_at(port, data).expect("it starts")
    }

    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_mcp-guard");
        if self.sockets.is_empty() {
            return Command::new(program);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", AS_SYSTEMD, program]);
        shell
    }

    fn descriptor(&self, number: usize) -> Stdio {
        let socket = self.sockets.get(number);
        socket.map_or_else(Stdio::null, |socket| socket.try_clone().unwrap().into())
    }

    /// Puts the external URL's path in front of everything.
    pub(crate) fn below(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Publishes another address than its own, as behind a proxy.
    pub(crate) fn published_at(mut self, external: &str) -> Self {
        self.external = Some(external.to_owned());
        self
    }

    /// Speaks TLS as [`NAME`], to clients that trust `roots` (PEM).
    pub(crate) fn speaking_tls(mut self, roots: &[u8]) -> Self {
        self.tls = Some(TlsFace {
            roots: roots.to_owned(),
            plain_port: None,
        });
        self
    }

    /// Wraps another command.
    pub(crate) fn wrapping(mut self, server: &[&str]) -> Self {
        self.server = server.iter().map(|&part| part.to_owned()).collect();
        self
    }

    /// Stands in front of a URL instead.
    pub(crate) fn in_front_of(mut self, url: &str) -> Self {
        let (_, path) = url.split_once("://").unwrap();
        let path = path.find('/').map_or("/mcp", |at| &path[at..]);
        path.trim_end_matches('/').clone_into(&mut self.mcp_path);
        self.server.clear();
        self.arguments.push(url.to_owned());
        self
    }

    /// Adds arguments to the wrapped command.
    pub(crate) fn server_with(mut self, arguments: &[&str]) -> Self {
        self.server
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts it, on another port if somebody was faster.
    pub(crate) fn start(self) -> Guard {
        let data = Arc::new(tempfile::tempdir().unwrap());
        for _ in 0..5 {
            if let Ok(guard) = self.clone().start_at(free_port(), Arc::clone(&data)) {
                return guard;
            }
        }
        panic!("the guard did not start");
    }

    /// Starts it, with TLS and plain HTTP on ports that are known to others already.
    pub(crate) fn start_with_tls_on(mut self, tls_port: u16, plain_port: u16) -> Guard {
        let tls = self.tls.as_mut().expect("it speaks TLS");
        tls.plain_port = Some(plain_port);
        let data = Arc::new(tempfile::tempdir().unwrap());
        self.start_at(tls_port, data).expect("it starts")
    }

    fn addresses(&self, port: u16, plain_port: u16) -> Vec<String> {
        let here = format!("127.0.0.1:{port}");
        if self.tls.is_some() {
            return vec![
                format!("--external-url=https://{NAME}:{port}{}", self.prefix),
                format!("--tls-listen={here}"),
                format!("--listen=127.0.0.1:{plain_port}"),
            ];
        }
        match &self.external {
            None => vec![format!("--external-url=http://{here}{}", self.prefix)],
            Some(external) => vec![
                format!("--external-url={external}{}", self.prefix),
                format!("--listen={here}"),
            ],
        }
    }

    /// The program with all that it is told, behind a command of its own.
    fn command(
        &self,
        command: &[&str],
        port: u16,
        plain_port: u16,
        data: &tempfile::TempDir,
    ) -> Command {
        let mut program = self.program();
        program
            .args(command)
            .args(self.addresses(port, plain_port))
            .args(self.data_path(data))
            .args(&self.arguments)
            .args((!self.server.is_empty()).then_some("--"))
            .args(&self.server)
            .env_clear()
            .envs(
                ["PATH", "HOME"]
                    .iter()
                    .filter_map(|name| Some((name, std::env::var(name).ok()?))),
            )
            .envs(self.variables.iter().cloned());
        program
    }

    fn data_path(&self, data: &tempfile::TempDir) -> Option<String> {
        let path = data.path().join("state");
        let is_given = self.state_directory.is_none();
        is_given.then(|| format!("--data-path={}", path.display()))
    }

    fn start_at(self, port: u16, data: Arc<tempfile::TempDir>) -> Result<Guard, String> {
        let plain_port = match &self.tls {
            Some(tls) => tls.plain_port.unwrap_or_else(free_port),
            None => port,
        };
        let mut process = self
            .command(&[], port, plain_port, &data)
            .stdin(self.descriptor(0))
            .stdout(self.descriptor(1))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        collect(process.stderr.take().unwrap(), Arc::clone(&log));
        let listens = eventually(Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok() || process.try_wait().unwrap().is_some()
        });
        if !listens || process.try_wait().unwrap().is_some() {
            let _ = process.kill();
            let _ = process.wait();
            let log = log.lock().unwrap().clone();
            eprintln!("{log}");
            return Err(log);
        }
        if let Some(tls) = &self.tls {
            speak_tls(port, NAME, &tls.roots);
        }
        Ok(Guard {
            port,
            plain_port,
            process,
            log,
            data,
            plan: self,
        })
    }
}

fn collect(from: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// An example program of this package; `cargo test` has built it.
pub(super) fn example(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_mcp-guard"));
    let path = binary.parent().unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --examples`",
        path.display()
    );
    path
}

/// Whether `condition` comes true within `patience`.
pub(crate) fn eventually(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
