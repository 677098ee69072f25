//! The token endpoint, from outside: single use, idempotent refresh, honest errors.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::{Client, Guard, OAuthClient, Tokens, eventually};

#[test]
fn the_answer_has_all_that_clients_read_and_nothing_null() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let answer = client.redeem(&guard, &client.authorize(&guard));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "mcp");
    assert_eq!(body["expires_in"], 3600);
    assert!(!answer.body.contains("null"));
    for token in [&body["access_token"], &body["refresh_token"]] {
        let token = token.as_str().unwrap();
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
            "{token}"
        );
    }
}

#[test]
fn a072_failed_attempts_do_not_use_up_a_code() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let code = client.authorize(&guard);
    for fields in [
        [
            (
                "code_verifier",
                "wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong",
            ),
            ("redirect_uri", client.redirect_uri.as_str()),
        ],
        [
            (
                "code_verifier",
                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            ),
            ("redirect_uri", "http://127.0.0.1:1/callback"),
        ],
    ] {
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
        ];
        all.extend_from_slice(&fields);
        let answer = client.token(&guard, &all);
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (400, Some("invalid_grant"))
        );
    }
    let target = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &client.redirect_uri),
        (
            "code_verifier",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        ("resource", "https://other.test/mcp"),
    ];
    assert_eq!(
        client.token(&guard, &target).json()["error"],
        "invalid_target"
    );
    assert_eq!(client.redeem(&guard, &code).status, 200);
}

#[test]
fn a073_a_code_of_another_client_is_refused_and_not_used_up() {
    let guard = Guard::start();
    let (owner, thief) = (OAuthClient::register(&guard), OAuthClient::register(&guard));
    let code = owner.authorize(&guard);
    assert_eq!(thief.redeem(&guard, &code).json()["error"], "invalid_grant");
    assert_eq!(owner.redeem(&guard, &code).status, 200);
}

#[test]
fn a075_of_many_redemptions_one_succeeds_and_its_token_lives() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let code = client.authorize(&guard);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..32)
            .map(|_| scope.spawn(|| client.redeem(&guard, &code)))
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|answer| answer.status == 400 && answer.json()["error"] == "invalid_grant")
    );
    Client::open(&guard, &Tokens::of(won[0]).access, "2025-11-25");
}

#[test]
fn a070_a_later_replay_of_a_code_ends_the_grant() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let code = client.authorize(&guard);
    let tokens = Tokens::of(&client.redeem(&guard, &code));
    Client::open(&guard, &tokens.access, "2025-11-25");
    // A double send within a second is forgiven; this one is later.
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(client.redeem(&guard, &code).status, 400);
    assert_eq!(
        Client::try_open(&guard, &tokens.access, "2025-11-25").status,
        401
    );
    assert_eq!(
        client.refresh(&guard, &tokens.refresh).json()["error"],
        "invalid_grant"
    );
}

#[test]
fn a077_parallel_refreshes_all_get_the_same_pair() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let first = client.sign_in(&guard);
    let pairs: HashSet<_> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| Tokens::of(&client.refresh(&guard, &first.refresh))))
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap())
            .map(|pair| (pair.access, pair.refresh))
            .collect()
    });
    assert_eq!(pairs.len(), 1);
    let (access, refresh) = pairs.into_iter().next().unwrap();
    assert_eq!(Client::try_open(&guard, &access, "2025-11-25").status, 200);
    assert_eq!(
        Client::try_open(&guard, &first.access, "2025-11-25").status,
        200,
        "the older one lives on"
    );
    assert_eq!(client.refresh(&guard, &refresh).status, 200);
}

#[test]
fn a078_a_lost_answer_does_not_strand_the_client() {
    let guard = Guard::plan().with(&["--refresh-grace", "0s"]).start();
    let client = OAuthClient::register(&guard);
    let first = client.sign_in(&guard);
    let lost = Tokens::of(&client.refresh(&guard, &first.refresh));
    let again = Tokens::of(&client.refresh(&guard, &first.refresh));
    assert_ne!(lost, again);
    assert_eq!(
        Client::try_open(&guard, &lost.access, "2025-11-25").status,
        401
    );
    assert_eq!(
        Client::try_open(&guard, &again.access, "2025-11-25").status,
        200
    );
}

#[test]
fn a076_a_superseded_refresh_token_ends_the_grant() {
    let guard = Guard::plan().with(&["--refresh-grace", "0s"]).start();
    let client = OAuthClient::register(&guard);
    let first = client.sign_in(&guard);
    let second = Tokens::of(&client.refresh(&guard, &first.refresh));
    assert_eq!(
        Client::try_open(&guard, &second.access, "2025-11-25").status,
        200,
        "this confirms it"
    );
    assert_eq!(
        client.refresh(&guard, &first.refresh).json()["error"],
        "invalid_grant"
    );
    assert_eq!(
        client.refresh(&guard, &second.refresh).json()["error"],
        "invalid_grant"
    );
    assert_eq!(
        Client::try_open(&guard, &second.access, "2025-11-25").status,
        401
    );
}

#[test]
fn an_access_token_expires() {
    let guard = Guard::plan().with(&["--access-token-ttl", "1s"]).start();
    let client = OAuthClient::register(&guard);
    let tokens = client.sign_in(&guard);
    let expired = || Client::try_open(&guard, &tokens.access, "2025-11-25").status == 401;
    assert!(eventually(Duration::from_secs(10), expired));
    assert_eq!(client.refresh(&guard, &tokens.refresh).status, 200);
}

#[test]
fn an_unknown_client_is_told_so_and_may_register_again() {
    let guard = Guard::start();
    let nobody = OAuthClient {
        id: "mcp_nobody".into(),
        redirect_uri: "http://127.0.0.1/".into(),
    };
    let answer = nobody.refresh(&guard, "mgr_x.y");
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (401, Some("invalid_client"))
    );
}

#[test]
fn a085_other_grants_are_not_supported() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    for grant in [
        "password",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "implicit",
    ] {
        let answer = client.token(&guard, &[("grant_type", grant)]);
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (400, Some("unsupported_grant_type"))
        );
    }
}

#[test]
fn a_grant_survives_a_crash_in_the_middle_of_refreshing() {
    let mut guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut last_received = client.sign_in(&guard);
    for round in 0..6_u64 {
        let refresh = last_received.refresh.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut connection = crate::support::Connection::open(guard.port);
                let body = format!(
                    "grant_type=refresh_token&client_id={}&refresh_token={refresh}",
                    client.id
                );
                let headers = [("Content-Type", "application/x-www-form-urlencoded")];
                connection.send_request("POST", "/token", &headers, &body);
            });
        });
        std::thread::sleep(Duration::from_micros(300 * round));
        guard = guard.killed_and_restarted();
        last_received = Tokens::of(&client.refresh(&guard, &last_received.refresh));
        assert_eq!(
            Client::try_open(&guard, &last_received.access, "2025-11-25").status,
            200
        );
    }
}
