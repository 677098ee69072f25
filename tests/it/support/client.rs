//! An OAuth client and an MCP client, as plain as the RFCs have them.

use serde_json::{Value, json};

use super::browser::Form;
use super::{Answer, Browser, Connection, Guard, PASSWORD};
use mcp_guard::http::form::{Form as Query, encode};

/// RFC 7636 Appendix B.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A registered public client with a loopback redirect URI.
#[derive(Clone, Debug)]
pub(crate) struct OAuthClient {
    pub id: String,
    pub redirect_uri: String,
}

/// What the token endpoint gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl OAuthClient {
    pub(crate) fn register(guard: &Guard) -> Self {
        Self::register_with(guard, "http://127.0.0.1:33418/callback")
    }

    pub(crate) fn register_with(guard: &Guard, redirect_uri: &str) -> Self {
        let body = json!({
            "client_name": "Test client",
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
        });
        let headers = [("Content-Type", "application/json")];
        let answer = guard.request("POST", &guard.at("/register"), &headers, &body.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        Self {
            id,
            redirect_uri: redirect_uri.to_owned(),
        }
    }

    /// The target of an authorization request.
    pub(crate) fn authorize_target(&self, guard: &Guard, state: &str) -> String {
        format!(
            "{}?response_type=code&client_id={}&redirect_uri={}&code_challenge={CHALLENGE}\
             &code_challenge_method=S256&state={}&resource={}",
            guard.at("/authorize"),
            encode(&self.id),
            encode(&self.redirect_uri),
            encode(state),
            encode(&guard.resource()),
        )
    }

    /// The consent page, as `browser` gets it.
    pub(crate) fn consent_form(&self, guard: &Guard, browser: &mut Browser) -> Form {
        let page = browser.get(guard.port, &self.authorize_target(guard, "xyz"));
        assert_eq!(page.status, 200, "{page:?}");
        Form::of(&page)
    }

    /// Signs in on the consent page and returns the code.
    pub(crate) fn authorize(&self, guard: &Guard) -> String {
        self.authorize_as(guard, &[("password", PASSWORD)])
    }

    pub(crate) fn authorize_as(&self, guard: &Guard, fields: &[(&str, &str)]) -> String {
        let mut browser = Browser::default();
        let form = self.consent_form(guard, &mut browser);
        let answer = browser.submit(guard.port, &form, fields);
        assert_eq!(answer.status, 303, "{answer:?}");
        let location = answer.header("location").unwrap();
        assert!(location.starts_with(&self.redirect_uri), "{location}");
        query_of(location).get("code").unwrap().unwrap().to_owned()
    }

    pub(crate) fn redeem(&self, guard: &Guard, code: &str) -> Answer {
        self.token(
            guard,
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &self.redirect_uri),
                ("code_verifier", VERIFIER),
            ],
        )
    }

    pub(crate) fn refresh(&self, guard: &Guard, refresh_token: &str) -> Answer {
        self.token(
            guard,
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh_token),
            ],
        )
    }

    pub(crate) fn token(&self, guard: &Guard, fields: &[(&str, &str)]) -> Answer {
        let mut body = format!("client_id={}", encode(&self.id));
        for (name, value) in fields {
            body.push_str(&format!("&{name}={}", encode(value)));
        }
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        guard.request("POST", &guard.at("/token"), &headers, &body)
    }

    pub(crate) fn revoke(&self, guard: &Guard, token: &str) {
        let body = format!("client_id={}&token={}", encode(&self.id), encode(token));
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = guard.request("POST", &guard.at("/revoke"), &headers, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The whole dance.
    pub(crate) fn sign_in(&self, guard: &Guard) -> Tokens {
        Tokens::of(&self.redeem(guard, &self.authorize(guard)))
    }

    pub(crate) fn sign_in_as(&self, guard: &Guard, name: &str, password: &str) -> Tokens {
        let code = self.authorize_as(guard, &[("name", name), ("password", password)]);
        Tokens::of(&self.redeem(guard, &code))
    }
}

impl Tokens {
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        Self {
            access: body["access_token"].as_str().unwrap().to_owned(),
            refresh: body["refresh_token"].as_str().unwrap().to_owned(),
        }
    }
}

/// The query of a URL.
pub(crate) fn query_of(url: &str) -> Query {
    Query::parse(url.split_once('?').expect("a query").1.as_bytes()).unwrap()
}

/// An MCP client with an open session.
pub(crate) struct Client {
    pub port: u16,
    pub token: String,
    pub session: String,
}

impl Client {
    /// Signs in and opens a session in the newest legacy revision.
    pub(crate) fn connect(guard: &Guard) -> Self {
        let tokens = OAuthClient::register(guard).sign_in(guard);
        Self::open(guard, &tokens.access, "2025-11-25")
    }

    pub(crate) fn open(guard: &Guard, token: &str, version: &str) -> Self {
        let answer = Self::try_open(guard, token, version);
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer
            .header("mcp-session-id")
            .expect("a session")
            .to_owned();
        let client = Self {
            port: guard.port,
            token: token.to_owned(),
            session,
        };
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.post(&initialized).status, 202);
        client
    }

    pub(crate) fn try_open(guard: &Guard, token: &str, version: &str) -> Answer {
        let initialize = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": version,
                "capabilities": {"sampling": {}},
                "clientInfo": {"name": "test", "version": "1"},
            },
        });
        let authorization = format!("Bearer {token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ];
        guard.request("POST", "/mcp", &headers, &initialize.to_string())
    }

    pub(crate) fn post(&self, message: &Value) -> Answer {
        self.post_text(&message.to_string())
    }

    pub(crate) fn post_text(&self, text: &str) -> Answer {
        self.send("POST", text).answer()
    }

    /// Sends a request and leaves its answer on the connection, for streams.
    pub(crate) fn send(&self, method: &str, text: &str) -> Connection {
        self.send_with(method, text, &[])
    }

    pub(crate) fn send_with(
        &self,
        method: &str,
        text: &str,
        further: &[(&str, &str)],
    ) -> Connection {
        let mut connection = Connection::open(self.port);
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![
            ("Authorization", authorization.as_str()),
            ("Accept", "application/json, text/event-stream"),
            ("Mcp-Session-Id", &self.session),
        ];
        if method == "POST" {
            headers.push(("Content-Type", "application/json"));
        }
        headers.extend_from_slice(further);
        connection.send_request(method, "/mcp", &headers, text);
        connection
    }

    pub(crate) fn tool(name: &str, arguments: &Value) -> Value {
        json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": name, "arguments": arguments},
        })
    }

    /// Calls a tool and returns the text of its answer, whether it came as JSON or as an event.
    pub(crate) fn call(&self, name: &str, arguments: &Value) -> String {
        let answer = self.post(&Self::tool(name, arguments));
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = match answer.header("content-type") {
            Some("text/event-stream") => Event::all(&answer.body).pop().unwrap().message(),
            _ => answer.json(),
        };
        let text = message["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no text: {message}"))
            .to_owned()
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    pub id: String,
    pub data: String,
}

impl Event {
    /// All events of a text; comments are left out.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        let blocks = text.split("\n\n").map(|block| {
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.strip_prefix(name));
                lines
                    .map(|value| value.trim_start().to_owned())
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            Self {
                id: field("id:"),
                data: field("data:"),
            }
        });
        blocks
            .filter(|event| !event.id.is_empty() || !event.data.is_empty())
            .collect()
    }

    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("no message: {self:?}"))
    }
}
