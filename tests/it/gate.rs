//! The gate: who is let in, what a refusal says, and that nothing happens before it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Connection, Guard, OAuthClient, Tokens, count_children};

#[test]
fn a087_without_a_token_every_method_is_challenged() {
    let guard = Guard::start();
    for method in ["GET", "POST", "DELETE", "PUT", "PATCH"] {
        for path in ["/mcp", "/mcp/"] {
            let answer = guard.request(method, path, &[], "");
            assert_eq!(answer.status, 401, "{method} {path}");
            let challenge = answer.header("www-authenticate").unwrap();
            let metadata = format!(
                "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"",
                guard.url()
            );
            assert!(challenge.starts_with(&metadata), "{challenge}");
            assert!(challenge.contains("scope=\"mcp\""), "{challenge}");
            assert!(!challenge.contains("error="), "{challenge}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
}

#[test]
fn a087_malformed_credentials_are_refused() {
    let guard = Guard::start();
    let token = Client::connect(&guard).token;
    let initialize = |value: &str| {
        guard
            .request(
                "POST",
                "/mcp",
                &[
                    ("Authorization", value),
                    ("Content-Type", "application/json"),
                ],
                "{}",
            )
            .status
    };
    assert_eq!(
        initialize(&format!("bearer {token}")),
        400,
        "the scheme's case does not matter: only the body is bad"
    );
    for value in [
        format!("Bearer {token},"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Basic {token}"),
        "Bearer".to_owned(),
        format!("Bearer {}", "x".repeat(8000)),
    ] {
        let status = initialize(&value);
        assert!(status == 401 || status == 400, "{status} for {value}");
    }
    let authorization = format!("Bearer {token}");
    let twice = [
        ("Authorization", authorization.as_str()),
        ("Authorization", &authorization),
    ];
    assert_eq!(guard.request("POST", "/mcp", &twice, "").status, 400);
}

#[test]
fn a088_a_revoked_token_is_refused_at_once() {
    let guard = Guard::start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let client = Client::open(&guard, &tokens.access, "2025-11-25");
    assert_eq!(client.call("echo", &json!(1)), "1");
    revoke(&guard, &oauth, &tokens.refresh);
    let answer = client.post(&Client::tool("echo", &json!(1)));
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .contains("error=\"invalid_token\"")
    );
}

#[test]
fn a090_tokens_of_other_makes_are_refused() {
    let guard = Guard::start();
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.";
    for token in [
        none,
        "mga_short",
        &format!("mga_{}", "A".repeat(43)),
        &format!("mgr_{}", "A".repeat(43)),
    ] {
        let authorization = format!("Bearer {token}");
        let answer = guard.request("POST", "/mcp", &[("Authorization", &authorization)], "");
        assert_eq!(answer.status, 401, "{token}");
    }
}

#[test]
fn a089_a_token_of_another_guard_is_refused() {
    let (one, other) = (Guard::start(), Guard::start());
    let token = Client::connect(&one).token;
    assert_eq!(Client::try_open(&other, &token, "2025-11-25").status, 401);
}

#[test]
fn a092_a_token_in_the_query_is_refused_and_not_logged() {
    let guard = Guard::plan().with(&["--log-level", "trace"]).start();
    let client = Client::connect(&guard);
    let target = format!("/mcp?access_token={}", client.token);
    let alone = guard.request("POST", &target, &[], "");
    assert!(alone.status == 401 || alone.status == 400);
    let authorization = format!("Bearer {}", client.token);
    let both = guard.request("POST", &target, &[("Authorization", &authorization)], "");
    assert_eq!(both.status, 400);
    assert!(!guard.log().contains(&client.token));
}

#[test]
fn a103_a_revoked_grant_ends_its_listening_stream() {
    let guard = Guard::start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let client = Client::open(&guard, &tokens.access, "2025-11-25");
    let mut listening = client.send("GET", "");
    listening.head();
    revoke(&guard, &oauth, &tokens.refresh);
    let started = Instant::now();
    while listening.chunk().is_some() {}
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a105_a_foreign_host_or_origin_gets_nothing() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let own = guard.url();
    for path in [
        "/mcp",
        "/",
        "/authorize",
        "/.well-known/oauth-authorization-server",
        "/nowhere",
    ] {
        for host in ["evil.test", "127.0.0.1", "localhost.evil.test:80"] {
            assert_eq!(
                guard.request("GET", path, &[("Host", host)], "").status,
                421,
                "{path} {host}"
            );
        }
    }
    for origin in [
        "https://evil.test",
        "null",
        "http://127.0.0.1.evil.test",
        "",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let answer = client_with_origin(&guard, &client, method, origin);
            assert_eq!(answer, 403, "{method} {origin}");
        }
    }
    assert_eq!(client_with_origin(&guard, &client, "POST", &own), 200);
    assert_eq!(
        client_with_origin(&guard, &client, "POST", "http://localhost:6274"),
        200
    );
}

#[test]
fn a109_paths_are_taken_as_they_are_or_not_at_all() {
    let guard = Guard::start();
    for path in [
        "//mcp",
        "/./mcp",
        "/a/../mcp",
        "/%2e%2e/mcp",
        "/mcp%2f",
        "/mcp%5c",
        "/mcp;x",
        "/mcp\\",
        "/%6dcp",
        "/MCP",
        "/mcp/x",
        "/.well-known/../mcp",
        "/healthz/..%2fmcp",
        "/mcp%00",
        "/mcp%",
        "*",
        "mcp",
    ] {
        let answer = guard.request("GET", path, &[], "");
        assert!(
            matches!(answer.status, 400 | 401 | 404 | 405),
            "{path}: {}",
            answer.status
        );
        assert!(
            answer.status != 401 || path == "/mcp",
            "{path} is not the endpoint"
        );
    }
}

#[test]
fn a111_no_header_of_the_clients_opens_the_gate() {
    let guard = Guard::start();
    for header in [
        ("User-Agent", "GoogleHC/1.0"),
        ("User-Agent", "kube-probe/1.30"),
        ("X-Forwarded-User", "admin"),
        ("X-Original-URL", "/healthz"),
        ("X-Rewrite-URL", "/healthz"),
        ("X-Forwarded-Uri", "/healthz"),
        ("X-HTTP-Method-Override", "OPTIONS"),
        ("X-Forwarded-Host", "evil.test"),
    ] {
        let answer = guard.request("GET", "/mcp", &[header], "");
        assert_eq!(answer.status, 401, "{header:?}");
        assert!(!answer.header("www-authenticate").unwrap().contains("evil"));
    }
}

#[test]
fn a118_a_body_is_not_read_before_the_token_is_accepted() {
    let guard = Guard::start();
    let mut connection = Connection::open(guard.port);
    let headers = [("Expect", "100-continue"), ("Content-Length", "1000000000")];
    connection.send_request("POST", "/mcp", &headers, "");
    assert_eq!(connection.head().status, 401, "and not 100");
}

#[test]
fn a118_a_body_over_the_limit_is_413() {
    let guard = Guard::plan().with(&["--max-body-size", "64KiB"]).start();
    let client = Client::connect(&guard);
    let call = Client::tool("echo", &json!("x".repeat(70_000))).to_string();
    assert_eq!(client.post_text(&call).status, 413);
    let call = Client::tool("echo", &json!("x".repeat(60_000)));
    assert_eq!(client.post(&call).status, 200);
}

#[test]
fn a128_unauthenticated_requests_start_no_child() {
    let guard = Guard::start();
    for _ in 0..50 {
        assert_eq!(
            Client::try_open(&guard, "mga_nothing", "2025-11-25").status,
            401
        );
    }
    assert_eq!(count_children(guard.pid()), 0);
}

#[test]
fn other_content_types_are_415() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let authorization = format!("Bearer {}", client.token);
    for (content_type, status) in [
        ("text/plain", 415),
        ("application/json-rpc", 415),
        ("application/json; charset=utf-8", 200),
    ] {
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Mcp-Session-Id", &client.session),
            ("Content-Type", content_type),
        ];
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(
            guard.request("POST", "/mcp", &headers, ping).status,
            status,
            "{content_type}"
        );
    }
}

#[test]
fn the_mcp_url_in_a_browser_explains_itself_and_stays_a_challenge() {
    let guard = Guard::start();
    let answer = guard.request("GET", "/mcp", &[("Accept", "text/html,*/*;q=0.8")], "");
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").is_some());
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(answer.body.contains(&guard.resource()));
    let home = guard.request("GET", "/", &[("Accept", "text/html")], "");
    assert_eq!(home.status, 200);
    assert!(home.body.contains(&guard.resource()));
}

#[test]
fn r28_after_a_crash_of_the_guard_tokens_live_and_sessions_are_404() {
    let guard = Guard::start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let before = Client::open(&guard, &tokens.access, "2025-11-25");
    let guard = guard.killed_and_restarted();
    assert_eq!(before.post(&Client::tool("echo", &json!(1))).status, 404);
    let after = Client::open(&guard, &tokens.access, "2025-11-25");
    assert_eq!(after.call("echo", &json!(1)), "1");
    let refreshed = Tokens::of(&oauth.refresh(&guard, &tokens.refresh));
    assert_ne!(refreshed, tokens);
}

#[test]
fn the_canary_is_nowhere_to_be_found() {
    let guard = Guard::plan().with(&["--log-level", "trace"]).start();
    let oauth = OAuthClient::register(&guard);
    let code = oauth.authorize(&guard);
    let tokens = Tokens::of(&oauth.redeem(&guard, &code));
    let client = Client::open(&guard, &tokens.access, "2025-11-25");
    let environment = client.call("environment", &json!({}));
    assert!(environment.contains("PATH="), "{environment}");
    let stored: Vec<Vec<u8>> = walk(guard.data.path())
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for secret in [
        crate::support::PASSWORD,
        &code,
        &tokens.access,
        &tokens.refresh,
    ] {
        assert!(!guard.log().contains(secret));
        assert!(!environment.contains(secret));
        let bytes = secret.as_bytes();
        assert!(
            !stored
                .iter()
                .any(|file| file.windows(bytes.len()).any(|window| window == bytes))
        );
    }
    assert!(!environment.contains("MCP_GUARD_PASSWORD"));
}

fn client_with_origin(guard: &Guard, client: &Client, method: &str, origin: &str) -> u16 {
    let authorization = format!("Bearer {}", client.token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Mcp-Session-Id", &client.session),
        ("Content-Type", "application/json"),
        ("Origin", origin),
    ];
    let body = if method == "POST" {
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#
    } else {
        ""
    };
    guard.request(method, "/mcp", &headers, body).status
}

fn revoke(guard: &Guard, oauth: &OAuthClient, token: &str) {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let body = format!("client_id={}&token={token}", oauth.id);
    assert_eq!(
        guard.request("POST", "/revoke", &headers, &body).status,
        200
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
