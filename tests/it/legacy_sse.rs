//! HTTP+SSE of 2024-11-05: one stream that is the session, and a path beside it to post to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Answer, Browser, Client, Connection, Event, Guard, OAuthClient, Tokens, alive, count_children,
    eventually, query_of, two_users,
};
use mcp_guard::http::form::encode;

const PATIENCE: Duration = Duration::from_secs(15);

/// A client of the old transport, as its SDKs are.
struct Old {
    port: u16,
    token: String,
    stream: Connection,
    /// What the `endpoint` event said.
    endpoint: String,
}

impl Old {
    fn open(guard: &Guard, token: &str) -> Self {
        Self::open_at(guard, "/sse", token)
    }

    /// The first event says where to post to, before anything was asked.
    fn open_at(guard: &Guard, path: &str, token: &str) -> Self {
        let mut stream = get(guard, path, token, "text/event-stream");
        let head = stream.head();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        let first = stream.chunk().expect("an event");
        let endpoint = first.strip_prefix("event: endpoint\ndata: ");
        let endpoint = endpoint.and_then(|rest| rest.strip_suffix("\n\n"));
        Self {
            port: guard.port,
            token: token.to_owned(),
            stream,
            endpoint: endpoint.expect("the endpoint event").to_owned(),
        }
    }

    /// Opens a session and initializes it.
    fn connect(guard: &Guard, token: &str) -> Self {
        let mut old = Self::open(guard, token);
        old.initialize();
        old
    }

    fn initialize(&mut self) {
        assert_eq!(self.post(&initialize()).status, 202);
        let answer = self.next();
        assert_eq!(answer["id"], 0);
        assert_eq!(answer["result"]["protocolVersion"], "2024-11-05");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.post(&initialized).status, 202);
    }

    fn post(&self, message: &Value) -> Answer {
        self.post_as(&self.token, &message.to_string())
    }

    fn post_as(&self, token: &str, text: &str) -> Answer {
        post(self.port, &self.endpoint, token, text)
    }

    /// The next message on the stream.
    fn next(&mut self) -> Value {
        loop {
            let chunk = self.stream.chunk().expect("the stream goes on");
            assert!(!chunk.contains("id:"), "it cannot be resumed: {chunk}");
            if let Some(event) = Event::all(&chunk).pop() {
                assert!(chunk.starts_with("event: message\n"), "{chunk}");
                return event.message();
            }
        }
    }

    /// Calls a tool, whose answer must be the next message.
    fn call(&mut self, name: &str, arguments: &Value) -> String {
        let answer = self.post(&Client::tool(name, arguments));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (202, ""),
            "{answer:?}"
        );
        text(&self.next())
    }

    fn ends(&mut self) {
        while self.stream.chunk().is_some() {}
    }
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {"sampling": {}},
        "clientInfo": {"name": "old", "version": "1"}}})
}

fn get(guard: &Guard, path: &str, token: &str, accept: &str) -> Connection {
    let mut connection = Connection::open(guard.port);
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Accept", accept),
    ];
    connection.send_request("GET", path, &headers, "");
    connection
}

fn post(port: u16, path: &str, token: &str, text: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    Connection::open(port).exchange("POST", path, &headers, text)
}

fn text(message: &Value) -> String {
    let text = message["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text: {message}"))
        .to_owned()
}

fn signed_in(guard: &Guard) -> String {
    OAuthClient::register(guard).sign_in(guard).access
}

#[test]
fn a_whole_session_over_one_stream() {
    let guard = Guard::start();
    let mut old = Old::connect(&guard, &signed_in(&guard));
    assert!(old.endpoint.starts_with("/messages?sessionId="));
    let list = json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"});
    assert_eq!(old.post(&list).status, 202);
    let listed = old.next();
    assert_eq!(listed["id"], "l");
    assert_eq!(listed["result"]["tools"][0]["name"], "echo");
    assert_eq!(old.call("echo", &json!({"a": 1})), r#"{"a":1}"#);
}

#[test]
fn what_the_server_says_by_itself_comes_on_the_stream() {
    let guard = Guard::start();
    let mut old = Old::connect(&guard, &signed_in(&guard));
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "mine"}}});
    assert_eq!(old.post(&call).status, 202);
    for step in 1..=2 {
        let progress = old.next();
        assert_eq!(progress["params"]["progressToken"], "mine");
        assert_eq!(progress["params"]["progress"], step);
    }
    assert_eq!(old.next()["id"], 7);
    assert_eq!(old.post(&Client::tool("notify", &json!({}))).status, 202);
    assert_eq!(old.next()["method"], "notifications/tools/list_changed");
    assert_eq!(text(&old.next()), "done");
}

#[test]
fn a_question_of_the_servers_is_asked_on_the_stream_and_answered() {
    let guard = Guard::start();
    let mut old = Old::connect(&guard, &signed_in(&guard));
    let ask = Client::tool("ask", &json!({"number": 1}));
    assert_eq!(old.post(&ask).status, 202);
    let question = old.next();
    assert_eq!(question["method"], "sampling/createMessage");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}});
    assert_eq!(old.post(&answer).status, 202);
    assert!(text(&old.next()).contains("assistant"));
}

#[test]
fn sessions_of_one_user_share_a_child_if_they_are_to() {
    let guard = Guard::plan().with(&["--isolation", "user"]).start();
    let token = signed_in(&guard);
    let mut one = Old::connect(&guard, &token);
    let mut other = Old::connect(&guard, &token);
    let streamable = Client::open(&guard, &token, "2025-11-25");
    let pid = one.call("pid", &json!({}));
    assert_eq!(other.call("pid", &json!({})), pid);
    assert_eq!(streamable.call("pid", &json!({})), pid);
    drop(one);
    assert_eq!(other.call("echo", &json!(1)), "1");
}

#[test]
fn the_external_urls_path_stands_before_the_endpoint() {
    let guard = Guard::plan().below("/team").start();
    let challenge = guard.get("/team/sse");
    let metadata = format!(
        "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/team/sse\"",
        guard.url()
    );
    let challenge = challenge.header("www-authenticate").unwrap();
    assert!(challenge.starts_with(&metadata), "{challenge}");
    let token = signed_in(&guard);
    let mut old = Old::open_at(&guard, "/team/sse", &token);
    assert!(old.endpoint.starts_with("/team/messages?sessionId="));
    old.initialize();
    assert_eq!(old.call("echo", &json!(1)), "1");
}

#[test]
fn a087_both_paths_are_challenged_before_anything_else() {
    let guard = Guard::start();
    for path in ["/sse", "/messages", "/messages?sessionId=x"] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = guard.request(method, path, &[], "");
            assert_eq!(answer.status, 401, "{method} {path}");
            let challenge = answer.header("www-authenticate").unwrap();
            let metadata = "/.well-known/oauth-protected-resource/sse\"";
            assert!(challenge.contains(metadata), "{challenge}");
        }
    }
}

#[test]
fn the_old_url_has_a_document_of_its_own_and_means_the_same_server() {
    let guard = Guard::start();
    let document = guard.get("/.well-known/oauth-protected-resource/sse");
    let resource = format!("{}/sse", guard.url());
    assert_eq!(document.json()["resource"], resource);
    assert_eq!(document.json()["authorization_servers"][0], guard.url());
    for document in ["oauth-authorization-server", "openid-configuration"] {
        let metadata = guard.get(&format!("/.well-known/{document}/sse"));
        assert_eq!(metadata.json()["issuer"], guard.url());
    }
    let oauth = OAuthClient::register(&guard);
    let named = |resource: &str| {
        let target = oauth.authorize_target(&guard, "xyz");
        let target = target.replace(&encode(&guard.resource()), &encode(resource));
        Browser::default().get(guard.port, &target)
    };
    assert_eq!(named(&resource).status, 200);
    assert_eq!(
        named("http://evil.test/sse").status,
        303,
        "sent back with an error"
    );
    let refresh = |token: &str, resource: &str| {
        let grant = ("grant_type", "refresh_token");
        let fields = [grant, ("refresh_token", token), ("resource", resource)];
        oauth.token(&guard, &fields)
    };
    let tokens = oauth.sign_in(&guard);
    let refused = refresh(&tokens.refresh, "http://evil.test/sse");
    assert_eq!(refused.json()["error"], "invalid_target");
    let token = Tokens::of(&refresh(&tokens.refresh, &resource)).access;
    Old::connect(&guard, &token);
    Client::open(&guard, &token, "2025-11-25");
}

#[test]
fn a105_the_old_paths_are_closed_to_foreign_hosts_and_origins() {
    let guard = Guard::start();
    let token = signed_in(&guard);
    let authorization = format!("Bearer {token}");
    for (method, path) in [("GET", "/sse"), ("POST", "/messages?sessionId=x")] {
        let foreign = [
            ("Authorization", authorization.as_str()),
            ("Origin", "https://evil.test"),
        ];
        assert_eq!(guard.request(method, path, &foreign, "").status, 403);
        let rebound = [
            ("Authorization", authorization.as_str()),
            ("Host", "evil.test"),
        ];
        assert_eq!(guard.request(method, path, &rebound, "").status, 421);
    }
}

#[test]
fn a_client_that_posts_first_is_sent_to_the_stream() {
    let guard = Guard::start();
    let token = signed_in(&guard);
    let answer = post(guard.port, "/sse", &token, &initialize().to_string());
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET"));
    let mut stream = get(&guard, "/messages", &token, "text/event-stream");
    assert_eq!(stream.head().header("allow"), Some("POST"));
}

#[test]
fn an_old_client_that_was_given_the_new_url_finds_its_stream_there() {
    let guard = Guard::start();
    let token = signed_in(&guard);
    let mut old = Old::open_at(&guard, "/mcp", &token);
    // It posts there, too: what a 401 points to must be the document of the URL that it knows.
    assert!(old.endpoint.starts_with("/mcp?sessionId="));
    let challenge = guard.request("POST", &old.endpoint, &[], "");
    let challenge = challenge.header("www-authenticate").unwrap();
    assert!(challenge.contains("oauth-protected-resource/mcp\""));
    old.initialize();
    assert_eq!(old.call("echo", &json!(1)), "1");
}

#[test]
fn a_get_that_is_not_an_old_clients_opens_no_session() {
    let guard = Guard::start();
    let token = signed_in(&guard);
    for accept in [
        "*/*",
        "application/json",
        "application/json, text/event-stream",
    ] {
        let status = get(&guard, "/mcp", &token, accept).head().status;
        assert!(status == 400 || status == 406, "{status} for {accept}");
    }
    let status = get(&guard, "/sse", &token, "application/json")
        .head()
        .status;
    assert_eq!(status, 406);
    let authorization = format!("Bearer {token}");
    let resuming = [
        ("Authorization", authorization.as_str()),
        ("Accept", "text/event-stream"),
        ("Last-Event-ID", "0-0"),
    ];
    assert_eq!(guard.request("GET", "/mcp", &resuming, "").status, 400);
}

#[test]
fn a095_only_the_sessions_own_client_may_post_to_it() {
    let (guard, alice, bob) = two_users(&[]);
    let mut old = Old::connect(&guard, &alice);
    let call = Client::tool("echo", &json!(1)).to_string();
    let stolen = old.post_as(&bob, &call);
    assert_eq!(stolen.status, 404);
    let invented = format!("/messages?sessionId={}", "A".repeat(64));
    let unknown = post(guard.port, &invented, &bob, &call);
    assert_eq!((unknown.status, unknown.body), (404, stolen.body));
    let headers = [("Content-Type", "application/json")];
    let anonymous = guard.request("POST", &old.endpoint, &headers, &call);
    assert_eq!(anonymous.status, 401);
    let query = old.endpoint.split_once('?').unwrap().1;
    for target in [
        "/messages".to_owned(),
        "/messages?sessionId=".to_owned(),
        format!("/messages?{query}&{query}"),
    ] {
        assert_eq!(
            post(guard.port, &target, &alice, &call).status,
            400,
            "{target}"
        );
    }
    assert_eq!(old.call("echo", &json!(1)), "1");
}

#[test]
fn a_session_of_one_transport_is_none_of_the_others() {
    let guard = Guard::start();
    let token = signed_in(&guard);
    let mut old = Old::connect(&guard, &token);
    let new = Client::open(&guard, &token, "2025-11-25");
    let id = query_of(&old.endpoint)
        .get("sessionId")
        .unwrap()
        .unwrap()
        .to_owned();
    let crossed = Client {
        port: guard.port,
        token: token.clone(),
        session: id,
    };
    for method in ["GET", "POST", "DELETE"] {
        let body = Client::tool("echo", &json!(1)).to_string();
        let body = if method == "POST" { body.as_str() } else { "" };
        assert_eq!(crossed.send(method, body).answer().status, 404, "{method}");
    }
    let target = format!("/messages?sessionId={}", new.session);
    let call = Client::tool("echo", &json!(1)).to_string();
    assert_eq!(post(guard.port, &target, &token, &call).status, 404);
    assert_eq!(old.call("echo", &json!(1)), "1");
}

#[test]
fn what_is_no_message_is_refused() {
    let guard = Guard::plan().with(&["--max-body-size", "64kB"]).start();
    let mut old = Old::connect(&guard, &signed_in(&guard));
    let large = Client::tool("echo", &json!("x".repeat(70_000))).to_string();
    for (text, status) in [
        ("{", 400),
        ("[]", 400),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"}"#,
            400,
        ),
        (&large, 413),
    ] {
        assert_eq!(old.post_as(&old.token, text).status, status);
    }
    assert_eq!(old.post(&initialize()).status, 400, "once is enough");
    assert_eq!(old.call("echo", &json!(1)), "1");
}

#[test]
fn a_stream_costs_no_child_until_it_is_initialized() {
    let guard = Guard::start();
    let old = Old::open(&guard, &signed_in(&guard));
    assert_eq!(old.post(&Client::tool("echo", &json!(1))).status, 404);
    assert_eq!(count_children(guard.pid()), 0);
}

#[test]
fn a_server_that_does_not_start_is_told_by_the_status() {
    let guard = Guard::plan().wrapping(&["false"]).start();
    let mut old = Old::open(&guard, &signed_in(&guard));
    assert_eq!(old.post(&initialize()).status, 502);
    old.ends();
}

#[test]
fn a129_the_end_of_the_stream_ends_the_child_and_all_it_left_behind() {
    let guard = Guard::start();
    let mut old = Old::connect(&guard, &signed_in(&guard));
    let pids = [old.call("pid", &json!({})), old.call("daemon", &json!({}))];
    assert!(pids.iter().all(|pid| alive(pid)), "{pids:?}");
    let Old {
        stream,
        endpoint,
        token,
        ..
    } = old;
    drop(stream);
    let gone = || pids.iter().all(|pid| !alive(pid));
    assert!(eventually(PATIENCE, gone), "{pids:?}");
    let call = Client::tool("echo", &json!(1)).to_string();
    assert_eq!(post(guard.port, &endpoint, &token, &call).status, 404);
}

#[test]
fn the_end_of_the_child_ends_the_stream() {
    let guard = Guard::start();
    let mut old = Old::connect(&guard, &signed_in(&guard));
    assert_eq!(old.post(&Client::tool("crash", &json!({}))).status, 202);
    let error = old.next();
    assert_eq!(
        (&error["id"], &error["error"]["code"]),
        (&json!(1), &json!(-32603))
    );
    old.ends();
    assert_eq!(old.post(&Client::tool("echo", &json!(1))).status, 404);
}

#[test]
fn a103_a_revoked_grant_ends_its_session() {
    let guard = Guard::start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let mut old = Old::connect(&guard, &tokens.access);
    let pid = old.call("pid", &json!({}));
    let body = format!("client_id={}&token={}", oauth.id, tokens.refresh);
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(
        guard.request("POST", "/revoke", &headers, &body).status,
        200
    );
    old.ends();
    assert!(eventually(PATIENCE, || !alive(&pid)), "the child lives on");
}

#[test]
fn a103_the_session_outlasts_its_token_for_a_client_that_gets_a_fresh_one() {
    let guard = Guard::plan().with(&["--access-token-ttl", "3s"]).start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let mut old = Old::connect(&guard, &tokens.access);
    assert_eq!(
        old.post(&Client::tool("sleep", &json!({"millis": 5000})))
            .status,
        202
    );
    let echo = Client::tool("echo", &json!(1));
    let expired = || old.post(&json!({"jsonrpc": "2.0", "method": "x"})).status == 401;
    assert!(eventually(PATIENCE, expired));
    assert_eq!(text(&old.next()), "done", "what was accepted is answered");
    assert_eq!(old.post(&echo).status, 401);
    let fresh = oauth.refresh(&guard, &tokens.refresh).json();
    old.token = fresh["access_token"].as_str().unwrap().to_owned();
    assert_eq!(old.call("echo", &json!(2)), "2");
}

#[test]
fn a120_old_streams_count_among_the_others() {
    let guard = Guard::plan().with(&["--max-streams-per-user", "1"]).start();
    let token = signed_in(&guard);
    let first = Old::open(&guard, &token);
    let mut refused = get(&guard, "/sse", &token, "text/event-stream");
    assert_eq!(refused.head().status, 429);
    let client = Client::open(&guard, &token, "2025-11-25");
    assert_eq!(client.send("GET", "").head().status, 429);
    drop(first);
    let again = || client.send("GET", "").head().status == 200;
    assert!(eventually(PATIENCE, again));
}

#[test]
fn r26_a_stop_waits_for_what_is_under_way_and_then_ends_the_stream() {
    let mut guard = Guard::start();
    let mut busy = Old::connect(&guard, &signed_in(&guard));
    let mut idle = Old::connect(&guard, &signed_in(&guard));
    let pid = busy.call("pid", &json!({}));
    assert_eq!(
        busy.post(&Client::tool("sleep", &json!({"millis": 1500})))
            .status,
        202
    );
    guard.signal("TERM");
    idle.ends();
    assert_eq!(text(&busy.next()), "done");
    busy.ends();
    assert_eq!(guard.exit_within(PATIENCE), Some(0));
    assert!(!alive(&pid), "its child lives on");
}

#[test]
fn with_http_streaming_only_there_is_nothing_of_it() {
    let guard = Guard::plan().with(&["--http-streaming-only"]).start();
    let token = signed_in(&guard);
    for path in [
        "/sse",
        "/messages",
        "/.well-known/oauth-protected-resource/sse",
    ] {
        assert_eq!(guard.get(path).status, 404, "{path}");
    }
    let mut stream = get(&guard, "/mcp", &token, "text/event-stream");
    assert_eq!(stream.head().status, 405);
}

/// Asks seventy questions by itself, and says on stderr when six were refused.
const ASKS_SEVENTY: &str = r#"
read -r line
echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}'
read -r line
n=0
while [ $n -lt 70 ]; do
  echo "{\"jsonrpc\":\"2.0\",\"id\":\"q$n\",\"method\":\"roots/list\"}"
  n=$((n + 1))
done
n=0
while read -r line; do
  case $line in *'"error"'*) n=$((n + 1)) ;; esac
  if [ $n -eq 6 ]; then echo 'six were refused' >&2; fi
done
"#;

#[test]
fn a133_questions_that_nobody_hears_are_held_up_to_a_bound() {
    let guard = Guard::plan().wrapping(&["sh", "-c", ASKS_SEVENTY]).start();
    let client = Client::connect(&guard);
    let refused = || guard.log().contains("six were refused");
    assert!(
        eventually(Duration::from_secs(10), refused),
        "{}",
        guard.log()
    );
    let mut listening = client.send("GET", "");
    listening.head();
    let mut heard = 0;
    while heard < 64 {
        let chunk = listening.chunk().expect("the stream goes on");
        for event in Event::all(&chunk)
            .iter()
            .filter(|event| !event.data.is_empty())
        {
            assert_eq!(event.message()["id"], format!("q{heard}"));
            heard += 1;
        }
    }
}
