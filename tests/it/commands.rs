//! The command line: what starts, what refuses to, and how it stops.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Guard, alive, eventually};

fn mcp_guard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", std::env::temp_dir())
        .output()
        .unwrap()
}

/// Exit code and standard error.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = mcp_guard(arguments);
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a159_without_a_way_to_sign_in_it_does_not_start() {
    let (code, error) = refused(&["--external-url", "http://localhost:1", "--", "cat"]);
    assert_eq!(code, 78);
    assert!(
        error.starts_with("error: ") && error.contains("hint: ") && error.contains("--password"),
        "{error}"
    );
}

#[test]
fn a160_a_weak_password_in_the_open_is_refused() {
    let (code, error) = refused(&[
        "--external-url",
        "https://mcp.example.com",
        "--no-auto-tls",
        "--password",
        "changeme1",
        "--",
        "cat",
    ]);
    assert_eq!(code, 78);
    assert!(error.contains("--password"), "{error}");
    assert!(!error.contains("changeme1"), "{error}");
}

#[test]
fn a161_plain_http_in_the_open_is_refused() {
    let (code, error) = refused(&[
        "--external-url",
        "http://mcp.example.com",
        "--password",
        "correct horse battery",
        "--",
        "cat",
    ]);
    assert_eq!(code, 78);
    assert!(error.contains("https"), "{error}");
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let (code, error) = refused(&[
        "--external-url",
        "http://localhost:1",
        "--password",
        "correct horse battery",
        "--",
        "no-such-program-anywhere",
    ]);
    assert_eq!(code, 78);
    assert!(error.contains("no-such-program-anywhere"), "{error}");
}

#[test]
fn a163_a_misspelt_option_gets_a_suggestion() {
    let (code, error) = refused(&["--externl-url", "http://localhost:1", "--", "cat"]);
    assert_eq!(code, 64);
    assert!(error.contains("--external-url"), "{error}");
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .args(["--external-url", "http://localhost:1", "--", "cat"])
        .env_clear()
        .env("MCP_GUARD_PASWORD", "correct horse battery")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("MCP_GUARD_PASSWORD"), "{error}");
    assert!(!error.contains("correct horse"), "{error}");
}

#[test]
fn a142_a_second_guard_on_the_same_data_is_refused() {
    let guard = Guard::start();
    let state = guard.data.path().join("state");
    let (code, error) = refused(&[
        "--external-url",
        "http://127.0.0.1:1",
        "--password",
        "correct horse battery",
        "--data-path",
        state.to_str().unwrap(),
        "--",
        "cat",
    ]);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("another mcp-guard"), "{error}");
}

#[test]
fn a141_a_data_directory_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = in_data_path(folder.path());
    for arguments in [arguments.clone(), [vec!["check"], arguments].concat()] {
        let (code, error) = refused(&arguments);
        assert_eq!(code, 78, "{error}");
        assert!(error.contains("hint: chmod"), "{error}");
    }
}

#[test]
fn a141_a_keyring_that_others_can_read_or_that_is_damaged_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o700);
    let keyring = folder.path().join("keyring.json");
    std::fs::write(&keyring, "{}").unwrap();
    for (bits, hint) in [(0o644, "chmod 600"), (0o600, "from a backup")] {
        mode(&keyring, bits);
        let (code, error) = refused(&in_data_path(folder.path()));
        assert_eq!(code, 78, "{error}");
        assert!(error.contains("hint: ") && error.contains(hint), "{error}");
    }
}

/// Arguments that lack nothing, for a guard on this data.
fn in_data_path(folder: &std::path::Path) -> Vec<&str> {
    let folder = folder.to_str().unwrap();
    let url = "http://127.0.0.1:1";
    let password = "correct horse battery";
    vec![
        "--external-url",
        url,
        "--password",
        password,
        "--data-path",
        folder,
        "--",
        "cat",
    ]
}

#[test]
fn a162_check_shows_the_configuration_and_no_secret() {
    let output = mcp_guard(&[
        "check",
        "--external-url",
        "http://localhost:1",
        "--password",
        "correct horse battery",
        "--",
        "cat",
    ]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        shown.contains("http://localhost:1") && !shown.contains("correct horse"),
        "{shown}"
    );
    assert_eq!(
        mcp_guard(&["check", "--external-url", "http://localhost:1", "--", "cat"])
            .status
            .code(),
        Some(78)
    );
}

#[test]
fn a158_a_provider_without_an_allow_list_does_not_start() {
    let provider = [
        "--external-url",
        "http://localhost:1",
        "--github-client-id",
        "id",
        "--github-client-secret",
        "canary",
    ];
    let with = |more: &[&'static str]| [&["check"], &provider[..], more].concat();
    let (code, error) = refused(&with(&["--", "cat"]));
    assert_eq!(code, 78);
    assert!(
        error.contains("--github-allowed-orgs") && error.contains("--allow-any-user"),
        "{error}"
    );
    let (code, error) = refused(&with(&["--allow-any-user", "--", "cat"]));
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("warning: --allow-any-user: anybody with an account at GitHub"),
        "{error}"
    );
    let (code, error) = refused(&with(&["--github-allowed-users", "octocat", "--", "cat"]));
    assert_eq!((code, error.contains("anybody")), (0, false), "{error}");
}

#[test]
fn a162_check_shows_a_server_behind_a_url_and_none_of_its_secrets() {
    let base = [
        "check",
        "--external-url",
        "http://localhost:1",
        "--password",
        "canary-1",
        "--proxy-bearer-token",
        "canary-2",
        "--proxy-headers",
        "X-Key:canary-3",
    ];
    let output = mcp_guard(&[&base[..], &["http://127.0.0.1:3000"]].concat());
    let shown = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(shown.contains("http://127.0.0.1:3000/mcp"), "{shown}");
    assert!(
        !format!("{shown}{said}").contains("canary"),
        "{shown}{said}"
    );
    for (server, hint) in [
        (&["http://127.0.0.1:3000", "--", "cat"][..], "keep one"),
        (&["--", "cat"], "remove it"),
        (&["https://u:canary@a.test"], "--proxy-bearer-token"),
        (&["http://a.test/token"], "/mcp"),
        (&[], "UPSTREAM_URL"),
    ] {
        let (code, error) = refused(&[&base[..], server].concat());
        assert_eq!(code, 78, "{error}");
        let hinted = error.rsplit("hint: ").next().unwrap();
        assert!(hinted.contains(hint), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn help_and_version_are_there() {
    let help = String::from_utf8(mcp_guard(&["--help"]).stdout).unwrap();
    for word in [
        "--external-url",
        "--password",
        "--isolation",
        "MCP_GUARD_",
        "check",
        "hash-password",
        "healthcheck",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let version = String::from_utf8(mcp_guard(&["--version"]).stdout).unwrap();
    assert!(version.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_health_check_tells_whether_a_guard_answers() {
    let guard = Guard::start();
    assert_eq!(guard.get("/healthz").status, 200);
    assert_eq!(guard.get("/readyz").status, 200);
    let url = guard.url();
    let check = || {
        mcp_guard(&[
            "healthcheck",
            "--external-url",
            &url,
            "--password",
            "correct horse battery",
            "--",
            "cat",
        ])
        .status
        .code()
    };
    assert_eq!(check(), Some(0));
    drop(guard);
    assert_eq!(check(), Some(1));
}

#[test]
fn r26_a_stop_finishes_what_is_in_flight_and_leaves_no_child() {
    let mut guard = Guard::start();
    let client = Client::connect(&guard);
    let pid = client.call("pid", &json!({}));
    let mut listening = client.send("GET", "");
    listening.head();
    let mut slow = client.send(
        "POST",
        &Client::tool("sleep", &json!({"millis": 1500})).to_string(),
    );
    slow.head();
    guard.signal("TERM");
    let mut text = String::new();
    while let Some(chunk) = slow.chunk() {
        text.push_str(&chunk);
    }
    assert!(text.contains("done"), "{text}");
    while listening.chunk().is_some() {}
    assert_eq!(guard.exit_within(Duration::from_secs(20)), Some(0));
    assert!(!alive(&pid), "its child lives on");
}

#[test]
fn r26_a_second_signal_stops_at_once() {
    let mut guard = Guard::start();
    let client = Client::connect(&guard);
    let mut slow = client.send("POST", &Client::tool("silence", &json!({})).to_string());
    slow.head();
    guard.signal("TERM");
    assert_eq!(
        guard.exit_within(Duration::from_millis(500)),
        None,
        "the first one waits"
    );
    guard.signal("INT");
    assert!(guard.exit_within(Duration::from_secs(3)).is_some());
}

#[test]
fn a129_after_kill_9_nothing_of_a_child_remains() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let pids = [
        client.call("pid", &json!({})),
        client.call("daemon", &json!({})),
    ];
    assert!(pids.iter().all(|pid| alive(pid)), "{pids:?}");
    guard.signal("KILL");
    let gone = || pids.iter().all(|pid| !alive(pid));
    assert!(eventually(Duration::from_secs(15), gone), "{pids:?}");
}

#[test]
fn a129_after_a_child_exits_nothing_that_it_left_behind_remains() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let daemon = client.call("daemon", &json!({}));
    assert!(alive(&daemon));
    assert_eq!(client.send("DELETE", "").answer().status, 204);
    assert!(eventually(Duration::from_secs(15), || !alive(&daemon)));
}

#[test]
fn a134_what_is_ours_does_not_reach_the_child() {
    let guard = Guard::plan()
        .variable("NOTIFY_SOCKET", "/run/nothing")
        .variable("SERVERS_OWN_KEY", "theirs")
        .with(&["--env", "WHO={user.subject}"])
        .start();
    let environment = Client::connect(&guard).call("environment", &json!({}));
    let ours = environment
        .lines()
        .filter(|line| line.starts_with("MCP_GUARD"));
    assert_eq!(ours.collect::<Vec<_>>(), ["MCP_GUARD_USER=local:owner"]);
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    assert!(
        environment.contains("SERVERS_OWN_KEY=theirs"),
        "{environment}"
    );
    assert!(environment.contains("WHO=local:owner"), "{environment}");
    let clean = Guard::plan()
        .variable("SERVERS_OWN_KEY", "theirs")
        .with(&["--clean-env"])
        .start();
    let environment = Client::connect(&clean).call("environment", &json!({}));
    assert!(
        !environment.contains("SERVERS_OWN_KEY") && environment.contains("PATH="),
        "{environment}"
    );
}

#[test]
fn r09_a_slow_start_is_waited_for_within_bounds() {
    let slow = Guard::plan().server_with(&["--slow-start", "1500"]).start();
    assert_eq!(Client::connect(&slow).call("echo", &json!(1)), "1");
    let slower = Guard::plan()
        .server_with(&["--slow-start", "60000"])
        .with(&["--start-timeout", "1s"])
        .start();
    let tokens = crate::support::OAuthClient::register(&slower).sign_in(&slower);
    let answer = Client::try_open(&slower, &tokens.access, "2025-11-25");
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn r10_a_child_that_does_not_listen_is_killed() {
    let guard = Guard::plan().server_with(&["--deaf"]).start();
    let client = Client::connect(&guard);
    let pid = client.call("pid", &json!({}));
    assert_eq!(client.send("DELETE", "").answer().status, 204);
    assert!(eventually(Duration::from_secs(25), || !alive(&pid)));
}

#[test]
fn a130_noise_on_stdout_is_passed_over() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    assert_eq!(client.call("noise", &json!({})), "done");
    assert_eq!(client.call("echo", &json!(1)), "1");
}

#[test]
fn c11_a_server_that_exits_before_it_answers_is_a_bad_gateway() {
    let guard = Guard::plan().wrapping(&["true"]).start();
    let tokens = crate::support::OAuthClient::register(&guard).sign_in(&guard);
    let answer = Client::try_open(&guard, &tokens.access, "2025-11-25");
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    assert_eq!(answer.json()["id"], 0);
    assert!(answer.json()["error"]["message"].is_string());
}

#[test]
fn a136_what_a_server_says_on_stderr_is_in_the_log_and_forges_no_line_of_it() {
    let script = r#"printf 'it said\r{"level":"ERROR"}\033[2J\n' >&2; sleep 1"#;
    let guard = Guard::plan().wrapping(&["sh", "-c", script]).start();
    let tokens = crate::support::OAuthClient::register(&guard).sign_in(&guard);
    Client::try_open(&guard, &tokens.access, "2025-11-25");
    let line = || {
        guard
            .log()
            .lines()
            .find(|line| line.contains("it said"))
            .map(str::to_owned)
    };
    assert!(
        eventually(Duration::from_secs(10), || line().is_some()),
        "{}",
        guard.log()
    );
    let event: serde_json::Value = serde_json::from_str(&line().unwrap()).unwrap();
    assert_eq!(event["level"], "INFO");
    assert_eq!(event["stderr"], "it said\r{\"level\":\"ERROR\"}\u{1b}[2J");
}
