//! SIGHUP: who may sign in is read anew.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Guard, OAuthClient, Tokens, alive, eventually};

/// The time from a reload to the end of what a removed user could do (A-065).
const AT_THE_LATEST: Duration = Duration::from_secs(5);

/// A guard whose configuration and users are files, which a test may write anew.
struct Household {
    guard: Guard,
    folder: tempfile::TempDir,
    oauth: OAuthClient,
}

impl Household {
    /// Anna and Ben live here.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        let config = folder.path().join("guard.toml");
        write_users(&users, &["anna", "ben"]);
        fs::write(&config, format!("users-file = {users:?}")).unwrap();
        let guard = Guard::without_password()
            .with(&["--config", config.to_str().unwrap()])
            .start();
        let oauth = OAuthClient::register(&guard);
        Self {
            guard,
            folder,
            oauth,
        }
    }

    fn sign_in(&self, name: &str) -> Tokens {
        self.oauth.sign_in_as(&self.guard, name, &password_of(name))
    }

    fn users(&self, names: &[&str]) {
        write_users(&self.folder.path().join("users"), names);
    }

    /// Adds a line to the configuration file.
    fn add(&self, line: &str) {
        let path = self.folder.path().join("guard.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}\n{line}\n")).unwrap();
    }

    /// Reloads, and waits until the log has this event.
    fn reload_until(&self, event: &str) {
        let line = format!(r#""event":"{event}""#);
        self.guard.signal("HUP");
        let said = eventually(Duration::from_secs(20), || self.guard.log().contains(&line));
        assert!(said, "{}", self.guard.log());
    }
}

fn password_of(name: &str) -> String {
    format!("{name}'s long password")
}

fn write_users(path: &PathBuf, names: &[&str]) {
    let lines = names.iter().map(|name| {
        let hash = mcp_guard::identity::local::hash_password(&password_of(name)).unwrap();
        format!("{name}:{hash}\n")
    });
    fs::write(path, lines.collect::<String>()).unwrap();
}

#[test]
fn a065_a_user_who_is_removed_is_out_within_five_seconds() {
    let house = Household::new();
    let [anna, ben] = ["anna", "ben"].map(|name| house.sign_in(name));
    let at = |tokens: &Tokens| Client::open(&house.guard, &tokens.access, "2025-11-25");
    let (client, other) = (at(&anna), at(&ben));
    let pid = client.call("pid", &json!({}));
    let mut listening = client.send("GET", "");
    assert_eq!(listening.head().status, 200);

    house.users(&["ben"]);
    let begin = Instant::now();
    house.reload_until("reloaded");
    assert_eq!(client.post(&Client::tool("pid", &json!({}))).status, 401);
    let refreshed = house.oauth.refresh(&house.guard, &anna.refresh);
    assert_eq!(refreshed.status, 400);
    assert_eq!(refreshed.json()["error"], "invalid_grant");
    while listening.chunk().is_some() {}
    assert!(begin.elapsed() < AT_THE_LATEST, "{:?}", begin.elapsed());
    assert!(eventually(Duration::from_secs(15), || !alive(&pid)));

    assert_eq!(other.call("echo", &json!(1)), "1");
    let refreshed = house.oauth.refresh(&house.guard, &ben.refresh);
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
}

#[test]
fn a_user_who_is_added_may_sign_in_after_a_reload() {
    let house = Household::new();
    house.users(&["anna", "ben", "clara"]);
    house.reload_until("reloaded");
    let clara = house.sign_in("clara");
    let client = Client::open(&house.guard, &clara.access, "2025-11-25");
    assert_eq!(client.call("echo", &json!(1)), "1");
}

#[test]
fn a_configuration_that_is_refused_changes_nothing() {
    let house = Household::new();
    let anna = house.sign_in("anna");
    let client = Client::open(&house.guard, &anna.access, "2025-11-25");
    house.users(&["ben"]);
    house.add("pasword = 'canary'");
    house.reload_until("reload_refused");
    assert_eq!(client.call("echo", &json!(1)), "1");
    let log = house.guard.log();
    assert!(log.contains("unknown key `pasword`"), "{log}");
    assert!(log.contains("did you mean `password`?"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn what_a_reload_cannot_take_over_is_named() {
    let house = Household::new();
    house.add("max-children = 7\nregistration-token = 'canary'\nregistration = 'token'");
    house.reload_until("reloaded");
    let log = house.guard.log();
    let named = "needs a restart: --registration, --registration-token, --max-children";
    assert!(log.contains(named), "{log}");
    assert!(!log.contains("canary"), "{log}");
}
