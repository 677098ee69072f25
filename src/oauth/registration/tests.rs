use serde_json::json;

use super::super::fixture::{Answered, Running, guard};
use super::super::{Endpoint, RedirectPattern};
use super::*;

async fn post(running: &Running, content_type: &str, body: &str) -> Answered {
    let headers = [("content-type", content_type)];
    running
        .send(Endpoint::Register, "/register", &headers, body.to_owned())
        .await
}

#[tokio::test]
async fn cursor_vs_code_and_librechat_register() {
    let running = guard().start();
    let cursor = json!({
        "client_name": "Cursor",
        "redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "application_type": "web",
        "scope": "",
    });
    let answer = running.register(&cursor).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.json()["redirect_uris"], cursor["redirect_uris"]);
    assert_eq!(answer.json()["application_type"], "web");

    let vs_code = json!({
        "client_name": "Visual Studio Code",
        "client_uri": "https://code.visualstudio.com",
        "grant_types": [
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "response_types": ["code"],
        "redirect_uris": [
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
        ],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    let answer = running.register(&vs_code).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let granted = json!(["authorization_code", "refresh_token"]);
    assert_eq!(answer.json()["grant_types"], granted);

    let librechat = json!({
        "client_name": "LibreChat MCP Client",
        "redirect_uris": ["http://localhost:3080/api/mcp/files/oauth/callback"],
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "openid mcp",
    });
    let answer = running.register(&librechat).await.json();
    assert!(
        answer["client_secret"]
            .as_str()
            .unwrap()
            .starts_with("mgs_")
    );
    assert_eq!(answer["client_secret_expires_at"], 0);
    assert_eq!(answer["scope"], "mcp");
}

#[tokio::test]
async fn the_answer_has_no_null_and_no_secret_for_public_clients() {
    let running = guard().start();
    let body = json!({"redirect_uris": ["https://a/cb"], "token_endpoint_auth_method": "none"});
    let answer = running.register(&body).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.body.contains("null") && !answer.body.contains("secret"));
    let members = answer.json();
    assert!(members["client_id_issued_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(members["response_types"], json!(["code"]));
}

#[tokio::test]
async fn a_secret_is_stored_as_its_hash() {
    let running = guard().start();
    let answer = running
        .register(&json!({"redirect_uris": ["https://a/cb"]}))
        .await;
    let members = answer.json();
    assert_eq!(members["token_endpoint_auth_method"], "client_secret_basic");
    let secret = members["client_secret"].as_str().unwrap();
    let id = members["client_id"].as_str().unwrap();
    let record = running
        .store
        .get(&format!("client/{id}"))
        .await
        .unwrap()
        .unwrap();
    assert!(!String::from_utf8_lossy(&record.value).contains(secret));
    let client = running.server.clients.find(id).await.unwrap().unwrap();
    assert_eq!(client.secret, Some(TokenHash::of(secret)));
}

#[tokio::test]
async fn a008_the_body_is_bounded() {
    let running = guard().start();
    let long = format!("{{\"x\":\"{}\"}}", "a".repeat(MAX_BODY));
    assert_eq!(post(&running, "application/json", &long).await.status, 413);
    let uris = vec!["https://a/cb"; 11];
    let answer = running.register(&json!({"redirect_uris": uris})).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"], "invalid_redirect_uri");
}

#[tokio::test]
async fn a009_odd_bodies_are_refused_as_the_clients_fault() {
    let running = guard().start();
    let good = r#""redirect_uris":["https://a/cb"]"#;
    for body in [
        String::new(),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        format!("\u{feff}{{{good}}}"),
        format!("{{{good}}}x"),
        format!("{{{good},{good}}}"),
        format!("{{{good},\"client_name\":1}}"),
        format!("{{{good},\"client_name\":null}}"),
        format!("{{{good},\"grant_types\":\"authorization_code\"}}"),
        format!("{{{good},\"contacts\":[1]}}"),
        format!("{{{good},\"scope\":[\"mcp\"]}}"),
        format!("{{{good},\"x\":{}}}", "[".repeat(10_000)),
        r#"{"redirect_uris":"https://a/cb"}"#.to_owned(),
        r#"{"redirect_uris":[null]}"#.to_owned(),
        r#"{"redirect_uris":[]}"#.to_owned(),
        r#"{"redirect_uris":["javascript:alert(1)"]}"#.to_owned(),
    ] {
        let answer = post(&running, "application/json", &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        let error = answer.json()["error"].clone();
        let known = [
            json!("invalid_client_metadata"),
            json!("invalid_redirect_uri"),
        ];
        assert!(known.contains(&error), "{body}: {error}");
    }
    let form = post(&running, "application/x-www-form-urlencoded", "a=b").await;
    assert_eq!(form.status, 415);
}

#[tokio::test]
async fn a_content_type_may_have_parameters() {
    let running = guard().start();
    let body = r#"{"redirect_uris":["https://a/cb"]}"#;
    let answer = post(&running, "Application/JSON; charset=utf-8", body).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn a014_a017_links_are_web_links_and_nothing_more() {
    let running = guard().start();
    for name in [
        "client_uri",
        "logo_uri",
        "tos_uri",
        "policy_uri",
        "jwks_uri",
        "x_uri",
    ] {
        for value in [
            json!("javascript:alert(1)"),
            json!("data:,x"),
            json!(7),
            json!(""),
        ] {
            let body = json!({"redirect_uris": ["https://a/cb"], name: value});
            let answer = running.register(&body).await;
            assert_eq!(answer.status, 400, "{name}={value}");
            assert_eq!(answer.json()["error"], "invalid_client_metadata");
        }
    }
}

#[tokio::test]
async fn a015_methods_that_the_token_endpoint_does_not_know_are_refused() {
    let running = guard().start();
    for method in [
        "private_key_jwt",
        "client_secret_jwt",
        "tls_client_auth",
        "",
        "NONE",
    ] {
        let body = json!({"redirect_uris": ["https://a/cb"], "token_endpoint_auth_method": method});
        assert_eq!(running.register(&body).await.status, 400, "{method}");
    }
}

#[tokio::test]
async fn a016_ids_and_secrets_are_ours() {
    let running = guard().start();
    let body = json!({
        "redirect_uris": ["https://a/cb"],
        "client_id": "admin",
        "client_secret": "hunter2",
        "client_id_issued_at": 1,
    });
    let answer = running.register(&body).await.json();
    let id = answer["client_id"].as_str().unwrap();
    assert!(id.starts_with("mcp_") && id.len() == 26);
    assert_ne!(answer["client_secret"], "hunter2");
    assert_ne!(answer["client_id_issued_at"], 1);
}

#[tokio::test]
async fn a018_registration_knows_no_cookies() {
    let running = guard().start();
    let headers = [
        ("content-type", "application/json"),
        (
            "cookie",
            "__Host-mg-b=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        ("origin", "https://evil.test"),
    ];
    let body = r#"{"redirect_uris":["https://a/cb"]}"#;
    let answer = running
        .send(Endpoint::Register, "/register", &headers, body)
        .await;
    assert_eq!(answer.status, 201);
    assert!(!answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn registration_may_need_a_token_or_be_off() {
    let mut token = guard();
    token.registration = RegistrationPolicy::Token("sesame".into());
    let token = token.start();
    let body = r#"{"redirect_uris":["https://a/cb"]}"#;
    for (authorization, status) in [
        ("Bearer sesame", 201),
        ("bearer sesame", 201),
        ("Bearer wrong", 401),
        ("Basic sesame", 401),
        ("sesame", 401),
    ] {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", authorization),
        ];
        let answer = token
            .send(Endpoint::Register, "/register", &headers, body)
            .await;
        assert_eq!(answer.status, status, "{authorization}");
        let challenged = answer.header("www-authenticate").starts_with("Bearer");
        assert_eq!(challenged, status == 401);
    }

    let mut off = guard();
    off.registration = RegistrationPolicy::Off;
    let answer = post(&off.start(), "application/json", body).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"], "access_denied");
}

#[tokio::test]
async fn the_operators_list_of_redirect_uris_narrows_the_rules() {
    let mut narrow = guard();
    narrow.allowed_redirect_uris = vec![RedirectPattern("https://claude.ai/api/mcp/*".into())];
    let narrow = narrow.start();
    narrow
        .client(&["https://claude.ai/api/mcp/auth_callback"])
        .await;
    let answer = narrow
        .register(&json!({"redirect_uris": ["https://evil.test/cb"]}))
        .await;
    assert_eq!(answer.json()["error"], "invalid_redirect_uri");
}

#[tokio::test]
async fn a008_one_network_is_braked_and_others_are_not() {
    let running = guard().start();
    let headers = [("content-type", "application/json")];
    let body = r#"{"redirect_uris":["https://a/cb"]}"#;
    let mut last = post(&running, "application/json", body).await;
    for _ in 0..2 * BURST {
        if last.status != 201 {
            break;
        }
        last = post(&running, "application/json", body).await;
    }
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
    let other = "198.51.100.7".parse().unwrap();
    let answer = running
        .send_from(other, Endpoint::Register, "/register", &headers, body)
        .await;
    assert_eq!(answer.status, 201);
}
