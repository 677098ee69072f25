//! A client at the token and revocation endpoints, for this room's tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::grant::{Approval, ClientId, CodeChallenge, ResourceUri, Scopes};
use crate::identity::Identity;

use super::Endpoint;
use super::fixture::{Answered, CHALLENGE, Running, VERIFIER, form, guard};

pub(super) const REDIRECT: &str = "http://localhost:3118/callback";
pub(super) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub(super) struct TokenClient {
    pub(super) running: Running,
    pub(super) id: String,
    /// Empty for a public client.
    pub(super) secret: String,
}

impl TokenClient {
    /// A client of a fresh guard, registered with this authentication method.
    pub(super) async fn new(method: &str) -> Self {
        let running = guard().start();
        let body = json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": method });
        let registered = running.register(&body).await.json();
        let text = |name: &str| registered[name].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("client_id"),
            secret: text("client_secret"),
            running,
        }
    }

    pub(super) fn basic(&self) -> String {
        basic(&self.id, &self.secret)
    }

    pub(super) async fn code(&self) -> String {
        self.code_of("owner").await
    }

    async fn code_of(&self, user: &str) -> String {
        let approval = Approval {
            identity: Identity::local(user),
            client: ClientId(self.id.clone()),
            redirect_uri: REDIRECT.into(),
            code_challenge: CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap(),
            scopes: Scopes("mcp".into()),
            resource: ResourceUri("https://guard.test/mcp".into()),
        };
        self.running.grants.issue_code(approval).await.unwrap()
    }

    /// Redeems a code in which nothing is wrong, as a public client, but for `changes` (an empty
    /// value removes).
    pub(super) async fn redeem(&self, code: &str, changes: &[(&str, &str)]) -> Answered {
        let good = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", &self.id),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
            ("resource", "https://guard.test/mcp"),
        ];
        self.token(&changed(&good, changes)).await
    }

    pub(super) async fn refresh(&self, token: &str, changes: &[(&str, &str)]) -> Answered {
        let good = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.id),
        ];
        self.token(&changed(&good, changes)).await
    }

    /// The answer to a code.
    pub(super) async fn pair(&self) -> Value {
        self.pair_of("owner").await
    }

    pub(super) async fn pair_of(&self, user: &str) -> Value {
        let answer = self.redeem(&self.code_of(user).await, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    pub(super) async fn revoke(&self, token: &str) -> Answered {
        let body = form(&[("token", token), ("client_id", &self.id)]);
        self.post(Endpoint::Revoke, &[FORM], body).await
    }

    pub(super) async fn token(&self, fields: &[(&str, &str)]) -> Answered {
        self.post(Endpoint::Token, &[FORM], form(fields)).await
    }

    pub(super) async fn post(
        &self,
        endpoint: Endpoint,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answered {
        let answer = self
            .running
            .send(endpoint, "/endpoint", headers, body)
            .await;
        assert_eq!(answer.header("cache-control"), "no-store");
        answer
    }
}

pub(super) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Status and code of a refusal.
pub(super) fn error(answer: &Answered) -> (u16, String) {
    let code = answer.json()["error"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), code)
}

fn changed<'a>(
    good: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let kept = good
        .iter()
        .filter(|(name, _)| !changes.iter().any(|(other, _)| other == name));
    let added = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(added).copied().collect()
}
