//! What a client finds out before it knows anything (RFC 8414, RFC 9728) and how it registers
//! (RFC 7591).

use serde_json::{Value, json};

use crate::support::{Guard, OAuthClient};

#[test]
fn the_protected_resource_names_itself_and_its_authorization_server() {
    let guard = Guard::start();
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
    ] {
        let document = guard.get(path);
        assert_eq!(document.status, 200, "{path}");
        let document = document.json();
        assert_eq!(document["resource"], guard.resource());
        assert_eq!(document["authorization_servers"], json!([guard.url()]));
        assert_eq!(document["scopes_supported"], json!(["mcp"]));
    }
}

#[test]
fn a002_the_metadata_promises_what_is_there() {
    let guard = Guard::start();
    let metadata = guard.get("/.well-known/oauth-authorization-server").json();
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );
    assert_eq!(metadata["response_types_supported"], json!(["code"]));
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    assert!(!has_null(&metadata), "{metadata}");
    for (endpoint, method, expected) in [
        ("authorization_endpoint", "GET", 400),
        ("token_endpoint", "POST", 415),
        ("registration_endpoint", "POST", 415),
        ("revocation_endpoint", "POST", 415),
    ] {
        let url = metadata[endpoint].as_str().unwrap();
        let target = url.strip_prefix(&guard.url()).unwrap();
        let status = guard.request(method, target, &[], "").status;
        assert!(
            status == expected || status == 400 || status == 401,
            "{endpoint}: {status}"
        );
    }
    assert!(metadata.get("jwks_uri").is_none());
}

#[test]
fn a003_the_issuer_is_the_same_string_everywhere() {
    let guard = Guard::start();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp",
    ] {
        assert_eq!(guard.get(path).json()["issuer"], guard.url(), "{path}");
    }
}

#[test]
fn a001_no_header_of_a_request_gets_into_a_document() {
    let guard = Guard::start();
    let headers = [
        ("X-Forwarded-Host", "evil.test"),
        ("Forwarded", "host=evil.test;proto=https"),
    ];
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        let document = guard.request("GET", path, &headers, "");
        assert!(!document.body.contains("evil"), "{document:?}");
    }
    let absolute = guard.request(
        "GET",
        "http://evil.test/.well-known/oauth-authorization-server",
        &[],
        "",
    );
    assert!(matches!(absolute.status, 400 | 421), "{absolute:?}");
}

#[test]
fn a005_pages_of_other_origins_may_read_documents_but_no_page_for_people() {
    let guard = Guard::start();
    let origin = ("Origin", "https://evil.test");
    for (method, path) in [
        ("GET", "/.well-known/oauth-protected-resource/mcp"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/register"),
        ("POST", "/token"),
        ("POST", "/revoke"),
    ] {
        let answer = guard.request(method, path, &[origin], "");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let preflight = guard.request(
            "OPTIONS",
            path,
            &[origin, ("Access-Control-Request-Method", method)],
            "",
        );
        assert_eq!(preflight.status, 204, "{path}");
        let allowed = preflight
            .header("access-control-allow-headers")
            .unwrap()
            .to_lowercase();
        assert!(allowed.contains("mcp-protocol-version") && allowed.contains("authorization"));
    }
    for (method, path) in [
        ("GET", "/authorize"),
        ("POST", "/.auth/password"),
        ("POST", "/.auth/continue"),
        ("GET", "/"),
    ] {
        let answer = guard.request(method, path, &[origin], "");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn a005_a_listed_origin_may_call_the_endpoint_and_read_the_challenge() {
    let guard = Guard::start();
    let origin = ("Origin", "http://localhost:6274");
    let preflight = guard.request("OPTIONS", "/mcp", &[origin], "");
    assert_eq!(preflight.status, 204);
    for name in [
        "authorization",
        "content-type",
        "mcp-protocol-version",
        "mcp-session-id",
        "last-event-id",
    ] {
        assert!(
            preflight
                .header("access-control-allow-headers")
                .unwrap()
                .to_lowercase()
                .contains(name)
        );
    }
    let answer = guard.request("POST", "/mcp", &[origin], "");
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("http://localhost:6274")
    );
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap()
        .to_lowercase();
    assert!(exposed.contains("www-authenticate") && exposed.contains("mcp-session-id"));
    assert!(
        answer
            .headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("vary")
                && value.eq_ignore_ascii_case("origin"))
    );
}

#[test]
fn the_bodies_that_real_clients_send_all_register() {
    let guard = Guard::start();
    let cursor = json!({
        "client_name": "Cursor",
        "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none", "application_type": "web",
    });
    let vscode = json!({
        "client_name": "Visual Studio Code",
        "client_uri": "https://code.visualstudio.com",
        "redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect",
            "http://127.0.0.1/", "http://127.0.0.1:33418/"],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "none", "application_type": "native",
    });
    let libre_chat = json!({
        "client_name": "LibreChat", "client_uri": "https://librechat.example",
        "redirect_uris": ["https://librechat.example/api/mcp/files/oauth/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic", "scope": "",
    });
    for body in [&cursor, &vscode, &libre_chat] {
        let answer = register(&guard, body);
        assert_eq!(answer.status, 201, "{answer:?}");
        let client = answer.json();
        assert!(!has_null(&client), "{client}");
        assert_eq!(client["redirect_uris"], body["redirect_uris"]);
        assert_eq!(
            client["token_endpoint_auth_method"],
            body["token_endpoint_auth_method"]
        );
        let has_secret = client.get("client_secret").is_some();
        assert_eq!(has_secret, body["token_endpoint_auth_method"] != "none");
        assert!(!client["grant_types"].to_string().contains("device_code"));
    }
}

#[test]
fn a017_nothing_that_a_registration_names_is_fetched() {
    let guard = Guard::start();
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://127.0.0.1:{}/x", trap.local_addr().unwrap().port());
    let answer = register(
        &guard,
        &json!({
            "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none",
            "client_uri": url, "logo_uri": url, "tos_uri": url, "policy_uri": url, "jwks_uri": url,
            "sector_identifier_uri": url, "software_statement": "e30.e30.",
        }),
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.json()["client_id"].as_str().unwrap().to_owned();
    let client = OAuthClient {
        id,
        redirect_uri: "http://127.0.0.1/cb".to_owned(),
    };
    client.sign_in(&guard);
    assert!(trap.accept().is_err(), "somebody came");
}

#[test]
fn a018_registration_neither_reads_nor_sets_cookies() {
    let guard = Guard::start();
    let body =
        json!({"redirect_uris": ["http://localhost/cb"], "token_endpoint_auth_method": "none"})
            .to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Cookie", "mg-b=x"),
        ("Origin", "https://evil.test"),
    ];
    let answer = guard.request("POST", "/register", &headers, &body);
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn a_client_survives_a_crash_of_the_guard() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let guard = guard.killed_and_restarted();
    client.sign_in(&guard);
}

#[test]
fn registration_can_be_closed_or_need_a_token() {
    let closed = Guard::plan().with(&["--registration", "off"]).start();
    let body =
        json!({"redirect_uris": ["http://localhost/cb"], "token_endpoint_auth_method": "none"});
    assert!(matches!(register(&closed, &body).status, 403 | 404));
    let metadata = closed.get("/.well-known/oauth-authorization-server").json();
    assert!(metadata.get("registration_endpoint").is_none());

    let secret = "a registration token of some length";
    let guarded = Guard::plan()
        .with(&["--registration", "token"])
        .variable("MCP_GUARD_REGISTRATION_TOKEN", secret)
        .start();
    assert_eq!(register(&guarded, &body).status, 401);
    let authorization = format!("Bearer {secret}");
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", authorization.as_str()),
    ];
    assert_eq!(
        guarded
            .request("POST", "/register", &headers, &body.to_string())
            .status,
        201
    );
}

#[test]
fn a_path_prefix_moves_everything_with_it() {
    let guard = Guard::plan().below("/team").start();
    let base = format!("{}/team", guard.url());
    let challenge = guard.request("POST", "/team/mcp", &[], "");
    assert_eq!(challenge.status, 401);
    let inserted = format!(
        "{}/.well-known/oauth-protected-resource/team/mcp",
        guard.url()
    );
    assert!(
        challenge
            .header("www-authenticate")
            .unwrap()
            .contains(&inserted)
    );
    let resource = guard
        .get("/.well-known/oauth-protected-resource/team/mcp")
        .json();
    assert_eq!(resource["resource"], format!("{base}/mcp"));
    for path in [
        "/.well-known/oauth-authorization-server/team",
        "/team/.well-known/openid-configuration",
    ] {
        assert_eq!(guard.get(path).json()["issuer"], base, "{path}");
    }
    assert_eq!(guard.request("POST", "/mcp", &[], "").status, 404);
}

fn register(guard: &Guard, body: &Value) -> crate::support::Answer {
    guard.request(
        "POST",
        "/register",
        &[("Content-Type", "application/json")],
        &body.to_string(),
    )
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}
