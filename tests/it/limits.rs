//! How often somebody may ask, and who is told to wait for it: a user, or a network, and never a user
//! for what a network did.

use serde_json::json;

use crate::support::{Answer, Client, Connection, Guard, OAuthClient, two_users};

/// Asks until the answer is 429, which it is in the end.
fn until_limited(mut ask: impl FnMut() -> Answer) -> Answer {
    (0..20_000)
        .map(|_| ask())
        .find(|answer| answer.status == 429)
        .expect("a limit")
}

fn wait_of(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[test]
fn a_user_who_asks_too_often_waits_and_others_do_not() {
    let (guard, alice, bob) = two_users(&["--max-requests-per-user", "1"]);
    let alice = Client::open(&guard, &alice, "2025-11-25");
    let bob = Client::open(&guard, &bob, "2025-11-25");
    let refused = until_limited(|| alice.post(&Client::tool("echo", &json!({"text": "x"}))));
    assert!(wait_of(&refused) >= 1);
    let body = refused.json();
    assert_eq!(body["jsonrpc"], "2.0");
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--max-requests-per-user")
    );
    assert!(bob.call("echo", &json!({"text": "x"})).contains('x'));
}

#[test]
fn a_good_token_and_a_good_code_are_never_limited_by_address() {
    let guard = Guard::start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let client = Client::open(&guard, &tokens.access, "2025-11-25");
    let code = oauth.authorize(&guard);

    let mut connection = Connection::open(guard.port);
    let documents = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
    ];
    let mut turn = documents.iter().cycle();
    let limited = until_limited(|| connection.exchange("GET", turn.next().unwrap(), &[], ""));
    assert!(wait_of(&limited) >= 1);
    let limited = until_limited(|| connection.exchange("GET", "/authorize", &[], ""));
    assert!(
        limited
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(wait_of(&limited) >= 1);
    let json = [("Content-Type", "application/json")];
    let limited = until_limited(|| connection.exchange("POST", "/register", &json, "{}"));
    assert_eq!(limited.json()["error"], "temporarily_unavailable");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let limited = until_limited(|| {
        connection.exchange("POST", "/token", &form, "grant_type=authorization_code")
    });
    assert_eq!(limited.json()["error"], "temporarily_unavailable");
    assert!(wait_of(&limited) >= 1);

    assert!(client.call("echo", &json!({"text": "x"})).contains('x'));
    assert_eq!(oauth.redeem(&guard, &code).status, 200);
    assert_eq!(oauth.refresh(&guard, &tokens.refresh).status, 200);
}
