//! A guard as a client finds it that was told the MCP URL and nothing else: every further address is
//! taken from what is published, and never leads out of the external URL.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::browser::Form;
use super::client::{CHALLENGE, VERIFIER};
use super::{Answer, Browser, Connection, Event, PASSWORD, Tokens, query_of};
use mcp_guard::http::form::encode;

const CALLBACK: &str = "http://127.0.0.1:33418/callback";
const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// What was found.
pub(crate) struct Site {
    /// As clients know it, e.g. `http://127.0.0.1:4711/team`.
    pub external: String,
    /// The address that all connections come from.
    pub from: Ipv4Addr,
    /// The authorization server's metadata.
    pub metadata: Value,
    client_id: String,
}

/// An open session.
pub(crate) struct SiteSession<'s> {
    site: &'s Site,
    token: String,
    id: String,
}

impl Site {
    /// From the challenge of a request without a token (RFC 9728 §5.1) to a registered client.
    pub(crate) fn discover(external: &str, from: Ipv4Addr) -> Self {
        let mut site = Self {
            external: external.to_owned(),
            from,
            metadata: Value::Null,
            client_id: String::new(),
        };
        let refused = site.request("POST", &site.mcp(), &[ACCEPT, JSON], "{}");
        assert_eq!(refused.status, 401, "{refused:?}");
        let challenge = refused.header("www-authenticate").unwrap();
        let document = challenge.split("resource_metadata=\"").nth(1).unwrap();
        let resource = site.get(document.split('"').next().unwrap()).json();
        assert_eq!(resource["resource"], site.mcp());

        let issuer = resource["authorization_servers"][0].as_str().unwrap();
        assert_eq!(issuer, external);
        site.metadata = site.get(&inserted(issuer)).json();
        assert_eq!(site.metadata["issuer"], issuer);
        site.client_id = site.register();
        site
    }

    pub(crate) fn mcp(&self) -> String {
        format!("{}/mcp", self.external)
    }

    pub(crate) fn get(&self, url: &str) -> Answer {
        self.request("GET", url, &[], "")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.send(method, url, headers, body).answer()
    }

    fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Connection {
        let (port, target) = self.place(url);
        let mut connection = Connection::open_from(self.from, port);
        connection.send_request(method, target, headers, body);
        connection
    }

    /// The port and the target of a URL of this guard's.
    pub(crate) fn place<'u>(&self, url: &'u str) -> (u16, &'u str) {
        let scheme = self.external.find("://").unwrap() + 3;
        let origin = self.external[scheme..].find('/').map(|at| scheme + at);
        let origin = &self.external[..origin.unwrap_or(self.external.len())];
        let target = url.strip_prefix(origin);
        let target = target.unwrap_or_else(|| panic!("{url} is not at {origin}"));
        let port = origin.rsplit(':').next().unwrap();
        (port.parse().unwrap(), target)
    }

    /// An endpoint that the metadata names; all are below the external URL.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        let url = self.metadata[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}"));
        assert!(url.starts_with(&format!("{}/", self.external)), "{url}");
        url.to_owned()
    }

    fn register(&self) -> String {
        let body = json!({
            "client_name": "Test client",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
        });
        let endpoint = self.endpoint("registration_endpoint");
        let answer = self.request("POST", &endpoint, &[JSON], &body.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// The consent page, as `browser` gets it.
    pub(crate) fn consent_page(&self, browser: &mut Browser) -> Answer {
        let url = format!(
            "{}?response_type=code&client_id={}&redirect_uri={}&code_challenge={CHALLENGE}\
             &code_challenge_method=S256&state=s&resource={}",
            self.endpoint("authorization_endpoint"),
            encode(&self.client_id),
            encode(CALLBACK),
            encode(&self.mcp()),
        );
        let (port, target) = self.place(&url);
        let page = browser.get(port, target);
        assert_eq!(page.status, 200, "{page:?}");
        page
    }

    /// Allows what the page asks, with the right password, and redeems the code.
    pub(crate) fn allow(&self, browser: &mut Browser, page: &Answer) -> Tokens {
        let (port, _) = self.place(&self.external);
        let answer = browser.submit(port, &Form::of(page), &[("password", PASSWORD)]);
        assert_eq!(answer.status, 303, "{answer:?}");
        let location = answer.header("location").unwrap();
        assert!(location.starts_with(CALLBACK), "{location}");
        let query = query_of(location);
        assert_eq!(query.get("iss").unwrap(), Some(self.external.as_str()));
        let code = query.get("code").unwrap().unwrap();
        Tokens::of(&self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ]))
    }

    pub(crate) fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let mut body = format!("client_id={}", encode(&self.client_id));
        for (name, value) in fields {
            body.push_str(&format!("&{name}={}", encode(value)));
        }
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        self.request("POST", &self.endpoint("token_endpoint"), &[form], &body)
    }

    pub(crate) fn sign_in(&self) -> Tokens {
        let mut browser = Browser::from(self.from);
        let page = self.consent_page(&mut browser);
        self.allow(&mut browser, &page)
    }

    /// Opens a session in the newest legacy revision.
    pub(crate) fn session(&self, tokens: &Tokens) -> SiteSession<'_> {
        let mut session = SiteSession {
            site: self,
            token: format!("Bearer {}", tokens.access),
            id: String::new(),
        };
        let initialize = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"sampling": {}},
                "clientInfo": {"name": "test", "version": "1"},
            },
        });
        let answer = session.post(&initialize);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
            .header("mcp-session-id")
            .unwrap()
            .clone_into(&mut session.id);
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(session.post(&initialized).status, 202);
        session
    }
}

impl SiteSession<'_> {
    pub(crate) fn post(&self, message: &Value) -> Answer {
        self.send("POST", &message.to_string()).answer()
    }

    /// Sends a request and leaves its answer on the connection, for streams.
    pub(crate) fn send(&self, method: &str, body: &str) -> Connection {
        let mut headers = vec![("Authorization", self.token.as_str()), ACCEPT];
        if !self.id.is_empty() {
            headers.push(("Mcp-Session-Id", &self.id));
        }
        if method == "POST" {
            headers.push(JSON);
        }
        self.site.send(method, &self.site.mcp(), &headers, body)
    }
}

/// The next message of a stream, as soon as it is there.
pub(crate) fn next_message(stream: &mut Connection) -> Value {
    let mut text = String::new();
    loop {
        text.push_str(&stream.chunk().expect("a further event"));
        let mut events = Event::all(&text).into_iter();
        if text.ends_with("\n\n")
            && let Some(event) = events.rfind(|event| !event.data.is_empty())
        {
            return event.message();
        }
    }
}

/// Where RFC 8414 §3.1 has an issuer's metadata.
fn inserted(issuer: &str) -> String {
    let host = issuer.find("://").unwrap() + 3;
    let end = issuer[host..]
        .find('/')
        .map_or(issuer.len(), |at| host + at);
    let (origin, path) = issuer.split_at(end);
    format!("{origin}/.well-known/oauth-authorization-server{path}")
}
