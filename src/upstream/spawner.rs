//! The thread that starts children.
//!
//! A supervisor's parent-death signal follows the thread that started it, not the process, so all
//! of them are started from one thread that lives as long as [`Spawner`] does. Starting is serial
//! by that, which bounds its rate.

use std::ffi::OsString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::process_tree::descendants;
use super::supervisor;

/// Starts supervisors.
pub(super) struct Spawner {
    jobs: Sender<Job>,
}

struct Job {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Supervised>>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, inbox) = channel();
        thread::Builder::new()
            .name("child-spawner".into())
            .spawn(move || serve(&inbox))?;
        Ok(Self { jobs })
    }

    /// Starts a supervisor. Its pipes and its exit are watched by `runtime`.
    pub(super) async fn spawn(&self, command: Command, runtime: Handle) -> io::Result<Supervised> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            command,
            runtime,
            reply,
        };
        let gone = || io::Error::other("the spawning thread has ended");
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn serve(inbox: &Receiver<Job>) {
    for mut job in inbox {
        // Tokio panics where a runtime lacks the driver; this thread must go on all the same.
        let _entered = job.runtime.enter();
        let started = catch_unwind(AssertUnwindSafe(|| job.command.spawn()))
            .unwrap_or_else(|_| Err(io::Error::other("its runtime cannot watch processes")));
        let started = started.map(Supervised);
        // Nobody waits for it any more: dropping the child stops it.
        let _ = job.reply.send(started);
    }
}

/// The command line that makes this binary the supervisor of `command`.
///
/// `grace` is what the child has after a SIGTERM. In a group of its own, so that a terminal's
/// Ctrl-C reaches the guard alone, which stops its children in order.
pub(super) fn supervised(program: &PathBuf, grace: Duration, command: &[OsString]) -> Command {
    let mut line = Command::new(program);
    line.arg0("mcp-guard")
        .arg(supervisor::ARGUMENT)
        .arg(std::process::id().to_string())
        .arg(grace.as_millis().to_string())
        .arg("--")
        .args(command)
        .process_group(0);
    line
}

/// This binary. Through `/proc` it is the running version even after an upgrade has replaced or
/// removed the file.
pub(super) fn own_binary() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return running;
    }
    std::env::current_exe().unwrap_or(running)
}

/// A running supervisor. Dropping it stops the child, however that comes about.
pub(super) struct Supervised(Child);

impl Supervised {
    /// The child's stdin, stdout and, if it is piped, stderr.
    pub(super) fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout, Option<ChildStderr>)> {
        Some((
            self.0.stdin.take()?,
            self.0.stdout.take()?,
            self.0.stderr.take(),
        ))
    }

    /// The status that the supervisor passes on from the command. Safe to cancel and to repeat.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Whether it ended within this time.
    pub(super) async fn ends_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.wait()).await.is_ok()
    }

    /// Has the supervisor end the child with a SIGTERM and, after its grace, with SIGKILLs.
    pub(super) fn terminate(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// For a supervisor that does not do its work (something stopped it): kills it with all its
    /// descendants.
    pub(super) fn kill(&self) {
        let Some(pid) = self.pid() else { return };
        for process in descendants(pid).into_iter().chain([pid]) {
            let _ = kill_process(process, Signal::KILL);
        }
    }

    /// `None` once it was reaped, so a signal can never hit another process.
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.0.id()?).ok()?)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.terminate();
    }
}
