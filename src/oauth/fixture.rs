//! An authorization server in memory, and a browser that talks to it, for this room's tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::grant::{Grants, Lifetimes, ResourceUri};
use crate::http::form::encode;
use crate::http::{Body, ExternalUrl, Inbound, Origins, Reply, RequestBody};
use crate::identity::local::{LocalUser, PasswordSecret};
use crate::identity::{self, IdentityProviders, github, oidc};
use crate::store::Store;

use super::{AuthorizationServer, Endpoint, RedirectPattern, RegistrationPolicy, Settings};

pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636 Appendix B.
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(super) const DAY: Duration = Duration::from_hours(24);

/// What a test varies.
pub(super) struct Guard {
    pub(super) external_url: &'static str,
    pub(super) registration: RegistrationPolicy,
    pub(super) allowed_redirect_uris: Vec<RedirectPattern>,
    pub(super) users: Vec<&'static str>,
    pub(super) github: Option<github::Settings>,
    pub(super) oidc: Option<oidc::Settings>,
}

pub(super) fn guard() -> Guard {
    Guard {
        external_url: "https://guard.test",
        registration: RegistrationPolicy::Open,
        allowed_redirect_uris: Vec::new(),
        users: vec!["owner"],
        github: None,
        oidc: None,
    }
}

/// A running one.
pub(super) struct Running {
    pub(super) server: Arc<AuthorizationServer>,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) grants: Grants,
    pub(super) identity: Arc<IdentityProviders>,
}

impl Guard {
    /// Who may sign in, and how.
    pub(super) fn identity(&self) -> identity::Settings {
        let user = |name: &&str| LocalUser {
            name: (*name).to_owned(),
            secret: PasswordSecret::Plain(PASSWORD.into()),
        };
        identity::Settings {
            local: self.users.iter().map(user).collect(),
            github: self.github.clone(),
            google: None,
            oidc: self.oidc.clone(),
        }
    }

    pub(super) fn start(self) -> Running {
        let clock = Clock::system();
        let store = Store::memory(clock.clone());
        let keyring = Keyring::ephemeral();
        let external_url = ExternalUrl::parse(self.external_url).unwrap();
        let lifetimes = Lifetimes {
            code: Duration::from_mins(1),
            access_token: Duration::from_hours(1),
            refresh_token: DAY * 30,
            grant: DAY * 90,
            refresh_grace: Duration::from_mins(2),
        };
        let identity = identity::testing::providers(self.identity());
        let grants = Grants::new(store.clone(), keyring.clone(), clock.clone(), lifetimes);
        let settings = Settings {
            resource: ResourceUri(external_url.join("/mcp")),
            external_url: external_url.clone(),
            server_name: "Files".to_owned(),
            registration: self.registration,
            allowed_redirect_uris: self.allowed_redirect_uris,
        };
        let server = AuthorizationServer::new(
            settings,
            store.clone(),
            keyring,
            grants.clone(),
            clock.clone(),
            Arc::clone(&identity),
            Origins::new(external_url, Vec::new()),
        );
        Running {
            server,
            clock,
            store,
            grants,
            identity,
        }
    }
}

impl Running {
    pub(super) async fn send(
        &self,
        endpoint: Endpoint,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answered {
        let from = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        self.send_from(from, endpoint, target, headers, body).await
    }

    pub(super) async fn send_from(
        &self,
        from: IpAddr,
        endpoint: Endpoint,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answered {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::try_from(*value).unwrap());
        }
        let body = RequestBody::Whole(body.into());
        let request = Inbound::new(Method::POST, target.parse().unwrap(), map, body, from);
        Answered::of(self.server.handle(endpoint, request).await)
    }

    pub(super) async fn register(&self, body: &Value) -> Answered {
        let headers = [("content-type", "application/json")];
        self.send(Endpoint::Register, "/register", &headers, body.to_string())
            .await
    }

    /// A public client with these redirect URIs.
    pub(super) async fn client(&self, redirect_uris: &[&str]) -> String {
        let body = json!({
            "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": "none",
            "client_name": "Some app",
        });
        let answer = self.register(&body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// GET `/authorize` with a good request, changed by `changes` (an empty value removes).
    pub(super) async fn authorize(&self, client: &str, changes: &[(&str, &str)]) -> Answered {
        let query = query(client, changes);
        self.send(Endpoint::Authorize, &format!("/authorize?{query}"), &[], "")
            .await
    }
}

pub(super) fn query(client: &str, changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("client_id", client),
        ("redirect_uri", "http://localhost:3118/callback"),
        ("response_type", "code"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "a b&c"),
        ("resource", "https://guard.test/mcp"),
        ("scope", "mcp"),
    ];
    for (name, value) in changes {
        parameters.retain(|(known, _)| known != name);
        parameters.push((name, value));
    }
    parameters.retain(|(_, value)| !value.is_empty());
    form(&parameters)
}

pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", encode(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A reply, read.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answered {
    fn of(reply: Reply) -> Self {
        let (head, body) = reply.into_parts();
        let bytes = match body {
            Body::Full(bytes) => bytes.unwrap_or_default(),
            Body::Stream(_) => panic!("nothing here streams"),
        };
        Self {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default()
    }

    /// The cookies that are set, as in the jar.
    pub(super) fn cookies(&self) -> Vec<&str> {
        let all = self.headers.get_all(SET_COOKIE).iter();
        all.map(|value| value.to_str().unwrap().split(';').next().unwrap())
            .collect()
    }

    /// A parameter of the URL that the browser is sent to.
    pub(super) fn sent(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(self.header("location")).unwrap();
        let found = url.query_pairs().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// The consent page's cookie and sealed request.
    pub(super) fn page(&self) -> Page {
        let cookie = self.header(SET_COOKIE.as_str());
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let (_, rest) = self.body.split_once("name=\"request\" value=\"").unwrap();
        let sealed = rest.split('"').next().unwrap().to_owned();
        Page { cookie, sealed }
    }
}

/// A consent page in a browser.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) cookie: String,
    pub(super) sealed: String,
}

impl Page {
    pub(super) async fn submit(
        &self,
        running: &Running,
        decision: &str,
        password: &str,
        headers: &[(&str, &str)],
    ) -> Answered {
        let body = form(&[
            ("request", &self.sealed),
            ("decision", decision),
            ("name", "owner"),
            ("password", password),
        ]);
        let mut all = vec![(COOKIE.as_str(), self.cookie.as_str())];
        all.extend_from_slice(headers);
        all.retain(|(_, value)| !value.is_empty());
        running
            .send(Endpoint::Password, "/.auth/password", &all, body)
            .await
    }

    pub(super) async fn allow(&self, running: &Running) -> Answered {
        let headers = [
            ("origin", "https://guard.test"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.submit(running, "allow", PASSWORD, &headers).await
    }
}
