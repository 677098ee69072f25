//! The supervisor: a re-exec of this binary between the guard and one child.
//!
//! It takes no part in the data path: the child has the pipes itself. It promises that however the
//! child, the guard or the supervisor's own wait ends, nothing that the child started outlives it:
//! the process group first, then whatever daemonised or called `setsid` and was handed to the
//! supervisor as its reaper. It has no runtime and does no I/O but one line to stderr when
//! the command cannot be started, and it is running the command a millisecond after its own start.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::process_tree::descendants;

/// The hidden first argument that makes this binary a supervisor.
pub const ARGUMENT: &str = "__supervise";

/// What a shell says for a command that is not there.
pub(super) const NOT_FOUND: u8 = 127;
/// What a shell says for a command that cannot be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;

/// How long the children of a guard that died have to end in order.
const GRACE_WITHOUT_GUARD: Duration = Duration::from_secs(2);
/// How long to go after processes that do not die of SIGKILL (another user's, or stuck in I/O).
const KILLING_TIME: Duration = Duration::from_secs(3);
const KILLING_PAUSE: Duration = Duration::from_millis(2);

/// Runs `<guard pid> <grace in ms> -- command arguments…` with this process's stdio as the
/// command's, until it and all its descendants are gone. Exits as the command did (128 + signal
/// for a signal), or as a shell would where it could not be started: 127 not found, 126 otherwise.
///
/// SIGTERM, or the guard's death, gives the command's group a SIGTERM and the grace period before
/// everything is killed.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(order) = Order::parse(args) else {
        complain("the supervisor is started by the guard only");
        return ExitCode::from(64);
    };
    match supervise(&order) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&format!(
                "cannot supervise {}: {error}",
                order.program.display()
            ));
            ExitCode::from(NOT_EXECUTABLE)
        }
    }
}

fn supervise(order: &Order) -> io::Result<u8> {
    let signals = Signals::catch()?;
    process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // The guard may have died before the line above; then that signal never comes.
    if order.guard_is_gone() {
        return Ok(NOT_EXECUTABLE);
    }
    process::set_child_subreaper(Some(process::getpid()))?;

    let started = Command::new(&order.program)
        .args(&order.args)
        .process_group(0)
        .spawn();
    let mut family = match started {
        Ok(child) => Family::of(Pid::from_child(&child)),
        Err(error) => return Ok(order.not_started(&error)),
    };
    // The pipes' other ends must see EOF when the command's ends close.
    let released = release_stdio();
    while family.reap() && family.code.is_none() && !signals.stop_asked() {
        signals.wait(None);
    }
    if family.code.is_none() {
        family.terminate(&signals, order.grace());
    }
    family.kill(&signals);
    released.map(|()| family.code.unwrap_or(128 + 9))
}

/// What to run, and for whom.
struct Order {
    guard: i32,
    grace: Duration,
    program: OsString,
    args: Vec<OsString>,
}

impl Order {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let guard = args.next()?.to_str()?.parse().ok()?;
        let grace = Duration::from_millis(args.next()?.to_str()?.parse().ok()?);
        let separator = args.next()?;
        let program = args.next()?;
        (separator == "--").then(|| Self {
            guard,
            grace,
            program,
            args: args.collect(),
        })
    }

    fn guard_is_gone(&self) -> bool {
        process::getppid().map(Pid::as_raw_pid) != Some(self.guard)
    }

    fn grace(&self) -> Duration {
        if self.guard_is_gone() {
            self.grace.min(GRACE_WITHOUT_GUARD)
        } else {
            self.grace
        }
    }

    fn not_started(&self, error: &io::Error) -> u8 {
        complain(&format!("cannot start {}: {error}", self.program.display()));
        if error.kind() == io::ErrorKind::NotFound {
            NOT_FOUND
        } else {
            NOT_EXECUTABLE
        }
    }
}

/// The signals that matter, as bytes in a socket that a read with a timeout waits on.
///
/// SIGINT, SIGHUP and SIGQUIT are caught and forgotten: the supervisor must not die before its
/// children. They are not ignored, since that would be inherited by the command.
struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let (wake, ring) = UnixStream::pair()?;
        let stop = Arc::new(AtomicBool::new(false));
        // Before the socket, so that the flag is up when the read returns.
        signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
        for signal in [SIGTERM, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, ring.try_clone()?)?;
        }
        for signal in [SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Self { wake, stop })
    }

    fn stop_asked(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Returns after a signal or the time, or now and then for no reason.
    fn wait(&self, at_most: Option<Duration>) {
        let at_most = at_most.map(|time| time.max(Duration::from_millis(1)));
        let set = self.wake.set_read_timeout(at_most);
        let read = (&self.wake).read(&mut [0; 64]);
        let in_vain = matches!(&read, Err(error) if !is_pause(error.kind()));
        if set.is_err() || in_vain {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_pause(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The command and everything that came from it.
struct Family {
    /// The command's process, and by that the name of its group.
    head: Pid,
    /// Its exit code, once it has ended.
    code: Option<u8>,
}

impl Family {
    const fn of(head: Pid) -> Self {
        Self { head, code: None }
    }

    /// Reaps whoever has ended; `false` when there is nobody left.
    fn reap(&mut self) -> bool {
        loop {
            match process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.head => self.code = Some(code(status)),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Asks the group to end and waits for it.
    fn terminate(&mut self, signals: &Signals, grace: Duration) {
        self.signal_group(Signal::TERM);
        let deadline = Instant::now() + grace;
        while self.reap() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            signals.wait(Some(left));
        }
    }

    /// Kills the group at one blow, so that nothing in it can fork away, then those outside it.
    /// Killed parents leave their children to us, so this goes on until there are none.
    fn kill(&mut self, signals: &Signals) {
        self.signal_group(Signal::KILL);
        let deadline = Instant::now() + KILLING_TIME;
        while self.reap() && Instant::now() < deadline {
            for pid in descendants(process::getpid()) {
                // It may have ended by itself, or belong to another user: nothing to be done.
                let _ = process::kill_process(pid, Signal::KILL);
            }
            signals.wait(Some(KILLING_PAUSE));
        }
    }

    /// An empty group is no error. Its number cannot be another's yet: numbers are handed out in a
    /// cycle, and ours was in use until a moment ago.
    fn signal_group(&self, signal: Signal) {
        let _ = process::kill_process_group(self.head, signal);
    }
}

fn code(status: WaitStatus) -> u8 {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(signal).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

fn release_stdio() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// One line on stderr, which the guard logs. Where that fails there is nobody to tell.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "mcp-guard: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(args: &[&str]) -> Option<Order> {
        Order::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn an_order_names_guard_grace_and_command() {
        let order = order(&["17", "1500", "--", "npx", "-y", "--"]).unwrap();
        assert_eq!(order.guard, 17);
        assert_eq!(order.grace, Duration::from_millis(1500));
        assert_eq!(order.program, "npx");
        assert_eq!(order.args, ["-y", "--"]);
    }

    #[test]
    fn what_the_guard_would_not_say_is_refused() {
        for args in [
            &[][..],
            &["17", "1500", "npx", "-y"],
            &["17", "1500", "--"],
            &["x", "1500", "--", "npx"],
            &["17", "-1", "--", "npx"],
        ] {
            assert!(order(args).is_none(), "{args:?}");
        }
    }

    #[test]
    fn an_order_of_another_parent_finds_its_guard_gone() {
        let mut order = order(&["1", "0", "--", "true"]).unwrap();
        order.guard = -1;
        assert!(order.guard_is_gone());
        order.guard = process::getppid().unwrap().as_raw_pid();
        assert!(!order.guard_is_gone());
    }
}
