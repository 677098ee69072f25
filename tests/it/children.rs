//! Children under the real supervisor: what they are given, and that nothing of them stays behind.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_guard::mcp::Message;
use mcp_guard::upstream::{
    Attachment, Caller, ChildStderr, Children, Client, Delivery, ExchangeId, Isolation, JoinError,
    SendError, SessionKey, Settings, supervisor,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const SUPERVISOR: &str = env!("CARGO_BIN_EXE_mcp-guard");
const GRACE: Duration = Duration::from_millis(300);
/// Far longer than anything here takes, for loops that would not end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers the first request, which has the id 1 on the wire.
const ANSWER_FIRST: &str = r#"read -r line; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; "#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"i","method":"initialize"}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":"i","result":{}}"#;

/// Settings for a shell script whose processes are told apart by a mark in their environment.
fn shell(script: &str, mark: &str) -> Settings {
    Settings {
        command: ["sh", "-c", script].map(Into::into).into(),
        working_dir: None,
        env: vec![("CHILD_MARK".into(), unique(mark))],
        clean_env: false,
        pass_env: Vec::new(),
        stderr: ChildStderr::Log,
        isolation: Isolation::Session,
        max_children: 32,
        max_children_per_user: 4,
        idle_timeout: PATIENCE,
        stop_grace: GRACE,
    }
}

fn unique(mark: &str) -> String {
    format!("{mark}-{}", std::process::id())
}

fn children(settings: Settings) -> Arc<Children<Ear>> {
    Children::supervised_by(SUPERVISOR.into(), settings)
}

fn user(name: &str) -> Caller {
    Caller {
        subject: format!("local:{name}"),
        login: name.into(),
        email: None,
        groups: Vec::new(),
    }
}

fn message(text: &str) -> Message {
    Message::parse(text.to_owned().into()).unwrap()
}

/// A session that listens.
struct Ear {
    key: SessionKey,
    heard: UnboundedSender<String>,
}

fn session(key: u64) -> (Arc<Ear>, UnboundedReceiver<String>) {
    let (heard, receiver) = unbounded_channel();
    let key = SessionKey(key);
    (Arc::new(Ear { key, heard }), receiver)
}

impl Client for Ear {
    fn key(&self) -> SessionKey {
        self.key
    }

    fn deliver(&self, delivery: Delivery) {
        let (Delivery::Last(_, message) | Delivery::More(_, message) | Delivery::Unowned(message)) =
            delivery;
        let _ = self
            .heard
            .send(String::from_utf8_lossy(message.bytes()).into());
    }

    fn ended(&self, why: &str) {
        let _ = self.heard.send(format!("ended: {why}"));
    }
}

/// A session of one user with a child.
async fn joined(children: &Arc<Children<Ear>>) -> (Attachment<Ear>, UnboundedReceiver<String>) {
    let (ear, hears) = session(1);
    let attachment = children.join(&user("ada"), ear).await.unwrap();
    (attachment, hears)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

async fn next(hears: &mut UnboundedReceiver<String>) -> String {
    soon(hears.recv()).await.unwrap()
}

/// The living processes with this mark, supervisors included.
fn marked(mark: &str) -> Vec<String> {
    let mark = format!("CHILD_MARK={}", unique(mark));
    let has_mark = |directory: &Path| {
        let environment = fs::read(directory.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == mark.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path())
        .filter(|path| has_mark(path))
        .map(|path| path.display().to_string())
        .collect()
}

async fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "it never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_comes_back_answered_under_its_own_id() {
    let children = children(shell(&format!("{ANSWER_FIRST} cat >/dev/null"), "answer"));
    let (attachment, mut hears) = joined(&children).await;
    attachment
        .request(ExchangeId(7), &message(INITIALIZE))
        .unwrap();
    assert_eq!(next(&mut hears).await, ANSWER);
    assert_eq!(children.count(), 1);
    drop(attachment);
    until(|| children.count() == 0).await;
    assert!(marked("answer").is_empty());
    assert!(hears.recv().await.is_none(), "who left hears nothing more");
}

#[tokio::test]
async fn a129_what_a_child_leaves_behind_dies_with_it() {
    let script = "sleep 1000 & setsid sleep 1000 & \
        (setsid sh -c 'setsid sleep 1000 & sleep 1000' &) ; \
        read -r line; exit 0";
    let children = children(shell(script, "leftovers"));
    let (attachment, mut hears) = joined(&children).await;
    // The supervisor, the shell and the five.
    until(|| marked("leftovers").len() == 7).await;
    attachment
        .request(ExchangeId(1), &message(INITIALIZE))
        .unwrap();
    assert_eq!(
        next(&mut hears).await,
        "ended: the server process exited with status 0"
    );
    until(|| children.count() == 0).await;
    assert_eq!(marked("leftovers"), [""; 0]);
}

#[tokio::test]
async fn a129_a_child_that_ignores_every_hint_is_killed() {
    let script = "trap '' TERM INT HUP; sleep 1000 & while :; do sleep 1000; done";
    let children = children(shell(script, "stubborn"));
    let (attachment, _hears) = joined(&children).await;
    until(|| marked("stubborn").len() >= 3).await;
    let asked = Instant::now();
    drop(attachment);
    until(|| children.count() == 0).await;
    assert!(asked.elapsed() >= GRACE * 2, "it had its time");
    assert_eq!(marked("stubborn"), [""; 0]);
}

#[tokio::test]
async fn c5_a_child_that_is_told_to_end_may_finish() {
    let directory = tempfile::tempdir().unwrap();
    let script = "trap 'echo saved > work; exit 0' TERM; touch ready; \
        while :; do sleep 0.01; done";
    let mut settings = shell(script, "finish");
    settings.working_dir = Some(directory.path().into());
    let children = children(settings);
    let (attachment, _hears) = joined(&children).await;
    until(|| directory.path().join("ready").exists()).await;
    drop(attachment);
    until(|| children.count() == 0).await;
    let work = fs::read_to_string(directory.path().join("work"));
    assert_eq!(work.unwrap(), "saved\n");
}

#[tokio::test]
async fn what_a_child_says_last_still_arrives() {
    for ending in ["exit 3", "exec <&-; exit 3"] {
        let script = format!("{ANSWER_FIRST} {ending}");
        let children = children(shell(&script, "last"));
        let (attachment, mut hears) = joined(&children).await;
        let request = message(INITIALIZE);
        attachment.request(ExchangeId(1), &request).unwrap();
        assert_eq!(next(&mut hears).await, ANSWER);
        let told = next(&mut hears).await;
        assert_eq!(told, "ended: the server process exited with status 3");
    }
}

#[tokio::test]
async fn a129_a_stopped_supervisor_is_killed_with_all_it_watched() {
    let children = children(shell("setsid sleep 1000 & sleep 1000", "frozen"));
    let (attachment, _hears) = joined(&children).await;
    until(|| marked("frozen").len() == 4).await;
    for process in marked("frozen") {
        let pid = process.rsplit('/').next().unwrap();
        let stopped = Command::new("kill").args(["-STOP", pid]).status();
        assert!(stopped.unwrap().success());
    }
    drop(attachment);
    until(|| children.count() == 0).await;
    until(|| marked("frozen").is_empty()).await;
}

#[tokio::test]
async fn a129_nothing_outlives_a_guard_that_was_killed() {
    let script =
        r#""$0" "$1" $$ 300 -- sh -c 'trap "" TERM; setsid sleep 1000 & sleep 1000' & wait"#;
    let mut guard = Command::new("sh")
        .args(["-c", script, SUPERVISOR, supervisor::ARGUMENT])
        .env("CHILD_MARK", unique("orphan"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until(|| marked("orphan").len() == 5).await;
    guard.kill().unwrap();
    guard.wait().unwrap();
    until(|| marked("orphan").is_empty()).await;
}

#[tokio::test]
async fn a134_a_child_sees_its_own_variables_pipes_and_user_only() {
    let directory = tempfile::tempdir().unwrap();
    let script = "env > env; ls -l /proc/self/fd > fd; pwd > pwd; touch done; cat >/dev/null";
    let mut settings = shell(script, "inside");
    settings.working_dir = Some(directory.path().into());
    settings.clean_env = true;
    settings
        .env
        .push(("WHO".into(), "{user.login} $(id) {user.subject}".into()));
    let children = children(settings);
    let (_attachment, _hears) = joined(&children).await;
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    until(|| directory.path().join("done").exists()).await;

    let environment = read("env");
    let who = environment.lines().find(|line| line.starts_with("WHO="));
    assert_eq!(who, Some("WHO=ada $(id) local:ada"));
    assert!(!environment.contains("CARGO_"), "{environment}");
    let here = directory.path().canonicalize().unwrap();
    assert_eq!(read("pwd").trim_end(), here.to_str().unwrap());
    let ours = left_open();
    let open = read("fd");
    let open = open.lines().filter_map(|line| line.split_once(" -> "));
    for (entry, target) in open {
        let number = entry.rsplit(' ').next().unwrap();
        let of_its_own = ["0", "1", "2"].contains(&number) || target.ends_with("/fd");
        assert!(
            of_its_own || ours.iter().any(|open| open == number),
            "{number} {target}"
        );
    }
}

/// Descriptors that whoever started this test left open for everybody, and so not ours to close.
fn left_open() -> Vec<String> {
    let is_inherited = |number: &String| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        flags.is_some_and(|flags| flags & 0o2_000_000 == 0)
    };
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = open.filter_map(|entry| entry.file_name().into_string().ok());
    numbers.filter(is_inherited).collect()
}

#[tokio::test]
async fn r07_a_crash_is_told_within_a_second_and_others_are_unaffected() {
    let children = children(shell("read -r line; kill -9 $$", "crash"));
    let (attachment, mut hears) = joined(&children).await;
    let asked = Instant::now();
    let request = message(INITIALIZE);
    attachment.request(ExchangeId(1), &request).unwrap();
    let told = next(&mut hears).await;
    assert_eq!(told, "ended: the server process was ended by signal 9");
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(
        attachment.request(ExchangeId(2), &request),
        Err(SendError::Gone)
    );
    until(|| children.count() == 0).await;
    assert!(children.join(&user("bob"), session(2).0).await.is_ok());
}

#[tokio::test]
async fn a137_a_child_that_keeps_crashing_is_started_ever_more_seldom() {
    let children = children(shell("exit 1", "loop"));
    let ada = user("ada");
    let mut starts = 0;
    // Pauses of 0.1, 0.2, 0.4 and 0.8 seconds are waited for.
    let refused = loop {
        match children.join(&ada, session(starts).0).await {
            Ok(_attachment) => until(|| children.count() == 0).await,
            Err(error) => break error,
        }
        starts += 1;
    };
    assert_eq!(starts, 5);
    assert!(matches!(refused, JoinError::BackingOff(pause) if pause > Duration::from_secs(1)));
    assert!(children.join(&user("bob"), session(99).0).await.is_ok());
}

#[tokio::test]
async fn c11_a_command_that_is_not_there_is_said_to_be() {
    let mut settings = shell("", "missing");
    settings.command = vec!["no-such-command-anywhere".into()];
    let children = children(settings);
    let (_attachment, mut hears) = joined(&children).await;
    assert_eq!(
        next(&mut hears).await,
        "ended: the server's command was not found"
    );
    until(|| children.count() == 0).await;
}

#[tokio::test]
async fn c11_a_supervisor_that_cannot_start_is_our_callers_502() {
    let settings = shell("", "none");
    let children: Arc<Children<Ear>> = Children::supervised_by("/no/such/binary".into(), settings);
    let refused = children.join(&user("ada"), session(1).0).await.err();
    assert!(matches!(refused, Some(JoinError::Spawn(_))), "{refused:?}");
    assert_eq!(children.count(), 0);
}

#[tokio::test]
async fn a130_a_child_that_prints_is_understood_all_the_same() {
    let script = format!(
        "echo 'Server ready on stdio'; echo; printf '\\377\\376\\r\\n'; {ANSWER_FIRST} cat >/dev/null"
    );
    let children = children(shell(&script, "printing"));
    let (attachment, mut hears) = joined(&children).await;
    attachment
        .request(ExchangeId(1), &message(INITIALIZE))
        .unwrap();
    assert_eq!(next(&mut hears).await, ANSWER);
}

#[tokio::test]
async fn a130_a_child_that_only_babbles_is_ended() {
    let children = children(shell("while echo la; do :; done", "babble"));
    let (_attachment, mut hears) = joined(&children).await;
    assert_eq!(
        next(&mut hears).await,
        "ended: the server process wrote too much that is no message"
    );
    until(|| children.count() == 0).await;
}

#[tokio::test]
async fn a133_a_child_that_does_not_read_holds_up_nobody() {
    let children = children(shell("sleep 1000", "deaf"));
    let (attachment, mut hears) = joined(&children).await;
    let padding = "x".repeat(1 << 20);
    let call = |id: u64| {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":{{"x":"{padding}"}}}}"#);
        attachment.request(ExchangeId(id), &message(&text))
    };
    let refused = soon(async { (0..40).find_map(|id| call(id).err()) }).await;
    assert_eq!(refused, Some(SendError::Congested));
    for id in 0..3 {
        attachment.cancel(ExchangeId(id), "timeout");
    }
    let told = next(&mut hears).await;
    assert!(told.starts_with("ended: the server process did not answer"));
    until(|| children.count() == 0).await;
}

#[tokio::test]
async fn a136_a_flood_on_stderr_does_not_block_the_child() {
    let script = format!("yes | head -c 3000000 >&2; {ANSWER_FIRST} cat >/dev/null");
    for stderr in [ChildStderr::Log, ChildStderr::Drop] {
        let mut settings = shell(&script, "flood");
        settings.stderr = stderr;
        let children = children(settings);
        let (attachment, mut hears) = joined(&children).await;
        attachment
            .request(ExchangeId(1), &message(INITIALIZE))
            .unwrap();
        assert_eq!(next(&mut hears).await, ANSWER);
    }
}

#[tokio::test]
async fn a128_one_user_gets_four_children_and_the_next_user_still_one() {
    let children = children(shell("cat >/dev/null", "bomb"));
    let mut attachments = Vec::new();
    for key in 0..20 {
        match children.join(&user("ada"), session(key).0).await {
            Ok(attachment) => attachments.push(attachment),
            Err(error) => assert_eq!(error, JoinError::Full),
        }
    }
    assert_eq!((attachments.len(), children.count()), (4, 4));
    let bobs = children.join(&user("bob"), session(99).0).await;
    assert!(bobs.is_ok());
    // The one that ends makes room for the one that waits.
    attachments.pop();
    assert!(children.join(&user("ada"), session(100).0).await.is_ok());
}

#[tokio::test]
async fn r09_fifty_who_wait_for_one_child_start_one() {
    for (isolation, expected) in [(Isolation::User, 2), (Isolation::Shared, 1)] {
        let mut settings = shell("cat >/dev/null", "crowd");
        settings.isolation = isolation;
        let children = children(settings);
        let joining = (0..50).map(|key| {
            let children = Arc::clone(&children);
            let caller = user(if key % 2 == 0 { "ada" } else { "bob" });
            tokio::spawn(async move { children.join(&caller, session(key).0).await })
        });
        let mut attachments = Vec::new();
        for task in joining.collect::<Vec<_>>() {
            attachments.push(soon(task).await.unwrap().unwrap());
        }
        assert_eq!(children.count(), expected);
        // Its last session may come back; the child stays.
        attachments.clear();
        assert!(children.join(&user("ada"), session(99).0).await.is_ok());
        assert_eq!(children.count(), expected);
        children.stop().await;
        assert_eq!(children.count(), 0);
    }
}

#[tokio::test]
async fn a_shared_child_that_nobody_uses_is_stopped() {
    let mut settings = shell("cat >/dev/null", "idle");
    settings.isolation = Isolation::User;
    settings.idle_timeout = Duration::from_millis(50);
    let children = children(settings);
    drop(joined(&children).await);
    until(|| children.count() == 0).await;
    let (_attachment, _hears) = joined(&children).await;
    assert_eq!(children.count(), 1, "and started again when it is needed");
}

#[tokio::test]
async fn stop_ends_all_at_once_and_starts_no_more() {
    let children = children(shell("trap '' TERM; while :; do sleep 1000; done", "stop"));
    let mut sessions = Vec::new();
    for key in 0..8 {
        let (ear, hears) = session(key);
        let caller = user(&(key % 2).to_string());
        sessions.push((children.join(&caller, ear).await.unwrap(), hears));
    }
    let asked = Instant::now();
    children.stop().await;
    assert!(asked.elapsed() < GRACE * 4, "{:?}", asked.elapsed());
    assert_eq!(children.count(), 0);
    assert_eq!(marked("stop"), [""; 0]);
    for (_attachment, hears) in &mut sessions {
        assert_eq!(next(hears).await, "ended: the guard is stopping");
    }
    let refused = children.join(&user("ada"), session(9).0).await.err();
    assert_eq!(refused, Some(JoinError::Stopping));
    children.stop().await;
}

#[tokio::test]
async fn a_caller_who_goes_away_while_joining_leaves_no_child() {
    let children = children(shell("cat >/dev/null", "hasty"));
    for key in 0..4 {
        let caller = user("ada");
        let joining = children.join(&caller, session(key).0);
        tokio::select! {
            biased;
            _ = joining => panic!("the task that starts a child has not run yet"),
            () = std::future::ready(()) => {}
        }
    }
    until(|| children.count() == 0).await;
    until(|| marked("hasty").is_empty()).await;
}

#[test]
fn the_end_of_a_runtime_ends_its_children() {
    let children = children(shell("trap '' HUP; sleep 1000", "runtime"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (attachment, mut hears) = runtime.block_on(joined(&children));
    drop(runtime);
    assert_eq!(hears.try_recv().unwrap(), "ended: the guard is stopping");
    assert_eq!(
        attachment.request(ExchangeId(1), &message(INITIALIZE)),
        Err(SendError::Gone)
    );
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    waiting.block_on(until(|| {
        children.count() == 0 && marked("runtime").is_empty()
    }));
}
