//! Sessions: who gets one, whose it is, and how it ends.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Event, Guard, OAuthClient, alive, eventually, two_users};

#[test]
fn a_tool_is_called_through_the_guard() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    assert_eq!(
        client.call("echo", &json!({"a": [1, "b"]})),
        r#"{"a":[1,"b"]}"#
    );
}

#[test]
fn what_the_guard_does_not_know_passes_as_it_came() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let arguments = r#"{"n":123456789012345678901234567890.10,"z":"\u00e9","a":null}"#;
    let text = format!(
        "{{\"method\":\"tools/call\",\n \"params\":{{\"name\":\"echo\",\"arguments\":{arguments}}},\n\"jsonrpc\":\"2.0\", \"id\":\"x\"}}"
    );
    let answer = client.post_text(&text);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["id"], "x");
}

#[test]
fn every_revision_of_the_legacy_era_is_negotiated_by_the_server_itself() {
    let guard = Guard::start();
    let tokens = OAuthClient::register(&guard).sign_in(&guard);
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let answer = Client::try_open(&guard, &tokens.access, version);
        assert_eq!(answer.json()["result"]["protocolVersion"], version);
        let session = answer.header("mcp-session-id").unwrap();
        assert!(session.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
        let client = Client {
            port: guard.port,
            token: tokens.access.clone(),
            session: session.into(),
        };
        assert_eq!(client.send("DELETE", "").answer().status, 204);
    }
}

#[test]
fn a_session_that_was_ended_is_gone_and_so_is_its_child() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let pid = client.call("pid", &json!({}));
    assert_eq!(client.send("DELETE", "").answer().status, 204);
    assert_eq!(client.post(&Client::tool("echo", &json!({}))).status, 404);
    assert_eq!(client.send("DELETE", "").answer().status, 404);
    assert!(
        eventually(Duration::from_secs(10), || !alive(&pid)),
        "the child lives on"
    );
}

#[test]
fn a_request_without_a_session_is_told_so() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let nobody = Client {
        session: String::new(),
        ..client
    };
    let mut connection = crate::support::Connection::open(guard.port);
    let authorization = format!("Bearer {}", nobody.token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let answer = connection.exchange(
        "POST",
        "/mcp",
        &headers,
        &Client::tool("echo", &json!({})).to_string(),
    );
    assert_eq!(answer.status, 400);
}

#[test]
fn initialize_with_a_stale_session_id_opens_a_new_session() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let stale = Client {
        session: "stale".into(),
        port: client.port,
        token: client.token.clone(),
    };
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let answer = stale.post(&initialize);
    assert_eq!(answer.status, 200);
    let session = answer.header("mcp-session-id").unwrap();
    assert_ne!(session, "stale");
    assert_ne!(session, client.session);
}

#[test]
fn a094_another_users_session_does_not_exist() {
    let (guard, alice, bob) = two_users(&[]);
    let alice = Client::open(&guard, &alice, "2025-11-25");
    let thief = Client {
        port: guard.port,
        token: bob.clone(),
        session: alice.session.clone(),
    };
    let invented = Client {
        port: guard.port,
        token: bob,
        session: "A".repeat(44),
    };
    for method in ["POST", "GET", "DELETE"] {
        let body = if method == "POST" {
            Client::tool("echo", &json!({})).to_string()
        } else {
            String::new()
        };
        let stolen = thief.send(method, &body).answer();
        let unknown = invented.send(method, &body).answer();
        assert_eq!(stolen.status, 404, "{method}");
        assert_eq!(stolen.body, unknown.body, "{method}");
    }
    assert_eq!(alice.call("echo", &json!(1)), "1");
}

#[test]
fn a098_two_users_of_a_shared_child_never_see_each_others_answers() {
    let (guard, alice, bob) = two_users(&["--isolation", "shared"]);
    let users = [alice, bob].map(|token| Client::open(&guard, &token, "2025-11-25"));
    let pids: Vec<String> = users
        .iter()
        .map(|user| user.call("pid", &json!({})))
        .collect();
    assert_eq!(pids[0], pids[1], "shared means one child");
    std::thread::scope(|scope| {
        for (number, user) in users.iter().enumerate() {
            for lane in 0..4 {
                scope.spawn(move || {
                    for round in 0..50 {
                        let secret = json!({"user": number, "lane": lane, "round": round});
                        let id = ["1", "\"1\"", "1.0", "9007199254740993"][round % 4];
                        // Lanes of one user need ids of their own: one id is in flight once.
                        let id = if lane == 0 { id.to_owned() } else { format!("\"{lane}-{round}\"") };
                        let text = format!(
                            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{secret}}}}}"#
                        );
                        let answer = user.post_text(&text);
                        assert!(answer.body.contains(&format!("\"id\":{id}")), "{answer:?}");
                        let text = answer.json()["result"]["content"][0]["text"].clone();
                        assert_eq!(serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap(), secret);
                    }
                });
            }
        }
    });
}

#[test]
fn user_isolation_shares_a_child_among_one_users_sessions_only() {
    let (guard, alice, bob) = two_users(&["--isolation", "user"]);
    let pid = |token: &str| Client::open(&guard, token, "2025-11-25").call("pid", &json!({}));
    let first = pid(&alice);
    assert_eq!(first, pid(&alice));
    assert_ne!(first, pid(&bob));
}

#[test]
fn sessions_have_children_of_their_own_by_default() {
    let guard = Guard::start();
    let tokens = OAuthClient::register(&guard).sign_in(&guard);
    let pid = || Client::open(&guard, &tokens.access, "2025-11-25").call("pid", &json!({}));
    assert_ne!(pid(), pid());
}

#[test]
fn a098_an_id_that_is_in_flight_is_refused() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let silence = Client::tool("silence", &json!({})).to_string();
    let mut waiting = client.send("POST", &silence);
    assert_eq!(waiting.head().status, 200, "it is in flight now");
    assert_eq!(client.post(&Client::tool("echo", &json!({}))).status, 400);
}

#[test]
fn a096_a_session_id_of_the_clients_choosing_never_becomes_one() {
    let guard = Guard::start();
    let tokens = OAuthClient::register(&guard).sign_in(&guard);
    let chosen = Client {
        port: guard.port,
        token: tokens.access,
        session: "my-own-session".into(),
    };
    assert_eq!(chosen.post(&Client::tool("echo", &json!({}))).status, 404);
}

#[test]
fn a101_look_alike_and_repeated_keys_never_reach_the_child() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"tools/call"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}",
    ] {
        assert_eq!(client.post_text(text).status, 400, "{text}");
    }
}

#[test]
fn a102_a_batch_is_accepted_in_2025_03_26_alone() {
    let guard = Guard::start();
    let tokens = OAuthClient::register(&guard).sign_in(&guard);
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":"2","method":"ping"}]"#;
    let newer = Client::open(&guard, &tokens.access, "2025-06-18");
    assert_eq!(newer.post_text(batch).status, 400);
    let older = Client::open(&guard, &tokens.access, "2025-03-26");
    let answer = older.post_text(batch);
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut ids: Vec<String> = Event::all(&answer.body)
        .iter()
        .map(|event| event.message()["id"].to_string())
        .collect();
    ids.sort();
    assert_eq!(ids, ["\"2\"", "1"]);
    let many = format!(
        "[{}]",
        vec![r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#; 51].join(",")
    );
    assert_eq!(older.post_text(&many).status, 400);
}

#[test]
fn a_message_of_the_modern_era_is_told_to_begin_with_initialize() {
    let guard = Guard::start();
    let tokens = OAuthClient::register(&guard).sign_in(&guard);
    let probe = json!({"jsonrpc": "2.0", "id": "p", "method": "server/discover", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}}}});
    let client = Client {
        port: guard.port,
        token: tokens.access,
        session: "none".into(),
    };
    let answer = client.post(&probe);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], -32600);
    assert_eq!(answer.json()["id"], "p");
}

#[test]
fn an_unknown_protocol_revision_in_the_header_is_refused() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let with = |version: &str| {
        client
            .send_with("POST", &ping, &[("MCP-Protocol-Version", version)])
            .answer()
            .status
    };
    assert_eq!(with("1900-01-01"), 400);
    assert_eq!(with("2025-06-18"), 200);
}

#[test]
fn a128_one_user_cannot_take_every_child() {
    let guard = Guard::plan()
        .with(&["--max-children-per-user", "2"])
        .start();
    let tokens = OAuthClient::register(&guard).sign_in(&guard);
    let statuses: Vec<u16> = (0..4)
        .map(|_| Client::try_open(&guard, &tokens.access, "2025-11-25").status)
        .collect();
    assert_eq!(statuses, [200, 200, 503, 503]);
}

#[test]
fn r07_a_crash_answers_what_was_in_flight_and_ends_the_session() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let waiting: Vec<_> = (0..5)
        .map(|number| {
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"silence"}}}}"#
            );
            client.send("POST", &call)
        })
        .collect();
    // The silent calls are on their way once the guard has turned them into streams.
    let mut waiting: Vec<_> = waiting
        .into_iter()
        .map(|mut connection| {
            connection.head();
            connection
        })
        .collect();
    let crash = client
        .post_text(r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"crash"}}"#);
    assert!(crash.body.contains("\"error\""), "{crash:?}");
    for connection in &mut waiting {
        let mut text = String::new();
        while let Some(chunk) = connection.chunk() {
            text.push_str(&chunk);
        }
        assert!(text.contains("\"error\""), "{text}");
    }
    assert_eq!(client.post(&Client::tool("echo", &json!({}))).status, 404);
}
