//! One child's life: its pipes are served until it ends or is to end, and then it is put down.
//!
//! Reader and writer are independent, so neither can hold up the other. Whatever ends the
//! child, its sessions are told within a second, and the stop sequence of C5 runs: stdin's
//! end, a SIGTERM, SIGKILL for all that is left.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use super::output::Output;
use super::quota::Ending;
use super::spawner::Supervised;
use super::wire::{Stop, Wire};
use super::{Client, stderr, supervisor};

/// An exit with an error this soon after the start counts as a crash.
const EARLY: Duration = Duration::from_secs(10);
/// What an ended child wrote last is still in the pipe: how long that may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A child that closed a pipe is usually about to exit.
const EXIT_FOLLOWS: Duration = Duration::from_millis(200);
/// What a supervisor may take beyond the grace that it was given, before it is killed itself.
const MARGIN: Duration = Duration::from_secs(1);

const BABBLE: &str = "the server process wrote too much that is no message";

pub(super) type Pipes = (ChildStdin, ChildStdout, Option<ChildStderr>);

/// How a child is kept.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Names it in the log.
    pub(super) number: u64,
    pub(super) stop_grace: Duration,
    /// How long it is kept without a session.
    pub(super) idle_timeout: Duration,
}

/// What a child's life came to.
enum Fate {
    Exited(Option<ExitStatus>),
    Stopped(Stop),
}

/// Serves the child until its process is reaped.
pub(super) async fn tend<C: Client>(
    mut process: Supervised,
    (stdin, stdout, stderr): Pipes,
    wire: Arc<Wire<C>>,
    terms: Terms,
) -> Ending {
    let started = Instant::now();
    let told = Told(Arc::clone(&wire));
    let mut reader = Task(tokio::spawn(read(stdout, Arc::clone(&wire), terms.number)));
    let _writer = Task(tokio::spawn(write(stdin, Arc::clone(&wire))));
    let _log = stderr.map(|stderr| Task(tokio::spawn(stderr::log(stderr, terms.number))));

    let (fate, why) = run(&mut process, &mut reader, &wire, terms).await;
    info!(
        event = "child_ended",
        child = terms.number,
        why,
        "a server process ends"
    );
    wire.end(&why);
    drop(told);
    put_down(&mut process, terms.stop_grace).await;
    Ending {
        crashed: is_crash(&fate, wire.has_answered(), started.elapsed()),
        lived: started.elapsed(),
    }
}

/// Why a child's output is read no further.
enum Silence {
    Closed,
    TooMuchGarbage,
}

/// Waits for whatever ends it first, and says why.
async fn run<C: Client>(
    process: &mut Supervised,
    reader: &mut Task<Silence>,
    wire: &Wire<C>,
    terms: Terms,
) -> (Fate, String) {
    let mut still_reads = true;
    let why = tokio::select! {
        status = process.wait() => {
            let status = status.ok();
            reader.last_words().await;
            return (Fate::Exited(status), describe(status));
        }
        stop = wire.stopped(terms.idle_timeout) => match stop {
            Stop::Deaf => stop.why(),
            _ => return (Fate::Stopped(stop), stop.why().to_owned()),
        },
        silence = &mut reader.0 => match silence {
            Ok(Silence::TooMuchGarbage) => return (Fate::Exited(None), BABBLE.to_owned()),
            Ok(Silence::Closed) | Err(_) => {
                still_reads = false;
                "the server process closed its output"
            }
        },
    };
    // One end of a pipe was closed: the exit usually follows, and says more.
    let exit = timeout(EXIT_FOLLOWS, process.wait()).await;
    let status = exit.ok().and_then(Result::ok);
    if status.is_some() && still_reads {
        reader.last_words().await;
    }
    let why = status.map_or_else(|| why.to_owned(), |status| describe(Some(status)));
    (Fate::Exited(status), why)
}

fn describe(status: Option<ExitStatus>) -> String {
    let code = status.and_then(|status| status.code());
    let known = code.and_then(|code| u8::try_from(code).ok());
    match known {
        Some(supervisor::NOT_FOUND) => "the server's command was not found".into(),
        Some(supervisor::NOT_EXECUTABLE) => "the server's command could not be executed".into(),
        Some(code @ 129..) => format!("the server process was ended by signal {}", code - 128),
        Some(code) => format!("the server process exited with status {code}"),
        None => "the server process was ended".into(),
    }
}

fn is_crash(fate: &Fate, answered: bool, lived: Duration) -> bool {
    match fate {
        Fate::Stopped(Stop::Silent) => true,
        Fate::Stopped(Stop::Left | Stop::Idle | Stop::Guard | Stop::Deaf) => false,
        Fate::Exited(status) => {
            let failed = status.is_none_or(|status| !status.success());
            !answered || (failed && lived < EARLY)
        }
    }
}

/// The wire is closed, so the writer ends stdin as soon as it has written what was queued.
async fn put_down(process: &mut Supervised, grace: Duration) {
    if process.ends_within(grace).await {
        return;
    }
    process.terminate();
    if process.ends_within(grace + MARGIN).await {
        return;
    }
    process.kill();
    process.ends_within(MARGIN).await;
}

/// Everything that one read brought is handed on before the next read.
async fn read<C: Client>(
    mut stdout: impl AsyncRead + Unpin,
    wire: Arc<Wire<C>>,
    number: u64,
) -> Silence {
    let mut output = Output::new(number);
    loop {
        match stdout.read_buf(output.buffer()).await {
            Ok(0) | Err(_) => return Silence::Closed,
            Ok(_) => {}
        }
        if !output.hand_on(|message| wire.incoming(message)) {
            return Silence::TooMuchGarbage;
        }
    }
}

/// Everything that is queued becomes one write. Dropping `stdin` is the child's EOF.
async fn write<C: Client>(mut stdin: impl AsyncWrite + Unpin, wire: Arc<Wire<C>>) {
    let mut batch = BytesMut::new();
    while wire.next_batch(&mut batch).await {
        if stdin.write_all(&batch).await.is_err() {
            return wire.stop(Stop::Deaf);
        }
    }
}

/// Tells the sessions also when the keeper is dropped, as it is with its runtime.
struct Told<C: Client>(Arc<Wire<C>>);

impl<C: Client> Drop for Told<C> {
    fn drop(&mut self) {
        self.0.end(Stop::Guard.why());
    }
}

/// A task that ends with its keeper.
struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// The supervisor leaves no writer behind, so the pipe of an ended child ends by itself.
    async fn last_words(&mut self) {
        let _ = timeout(LAST_WORDS, &mut self.0).await;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn an_exit_is_described_as_a_person_would() {
        assert_eq!(
            describe(Some(exit(3))),
            "the server process exited with status 3"
        );
        assert_eq!(
            describe(Some(exit(137))),
            "the server process was ended by signal 9"
        );
        assert_eq!(
            describe(Some(exit(127))),
            "the server's command was not found"
        );
        assert_eq!(describe(None), "the server process was ended");
    }

    #[test]
    fn a137_what_counts_as_a_crash() {
        let exited = |code| Fate::Exited(Some(exit(code)));
        assert!(is_crash(&exited(0), false, EARLY * 9));
        assert!(is_crash(&exited(1), true, EARLY / 2));
        assert!(!is_crash(&exited(1), true, EARLY * 2));
        assert!(!is_crash(&exited(0), true, EARLY / 2));
        assert!(is_crash(&Fate::Stopped(Stop::Silent), true, EARLY * 9));
        assert!(!is_crash(&Fate::Stopped(Stop::Left), false, EARLY / 2));
    }
}
