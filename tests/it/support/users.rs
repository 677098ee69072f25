//! Two people with accounts at one guard.

use super::guard::Plan;
use super::{Guard, OAuthClient};

/// A guard, and the access tokens of `alice` and `bob` there.
pub(crate) fn two_users(arguments: &[&str]) -> (Guard, String, String) {
    two_users_of(Guard::without_password().with(arguments))
}

/// As [`two_users`], of a guard that has no other way to sign in.
pub(crate) fn two_users_of(plan: Plan) -> (Guard, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    let hashes = ["alice", "bob"].map(|name| {
        let hash =
            mcp_guard::identity::local::hash_password(&format!("{name}'s long password")).unwrap();
        format!("{name}:{hash}\n")
    });
    std::fs::write(&users, hashes.concat()).unwrap();
    let guard = plan
        .with(&["--users-file", users.to_str().unwrap()])
        .start();
    let oauth = OAuthClient::register(&guard);
    let [alice, bob] = ["alice", "bob"].map(|name| {
        oauth
            .sign_in_as(&guard, name, &format!("{name}'s long password"))
            .access
    });
    (guard, alice, bob)
}
