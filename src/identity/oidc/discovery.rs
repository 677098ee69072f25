//! What an issuer says of itself (OpenID Connect Discovery 1.0 §4, threat case A-067).
//!
//! It is asked at the first sign-in, so an issuer that is down delays sign-ins and never a start.
//! The answer, and the keys with it, hold for an hour; a failure for a few seconds, however many
//! people want to sign in meanwhile.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::document::fetch;
use super::keys::Keys;
use crate::http::client::{HttpClient, is_confidential};
use crate::identity::SignInError;
use crate::identity::code_flow::SecretGoes;

const HOLDS_FOR: Duration = Duration::from_hours(1);

/// How long a failure stands before the issuer is asked again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(3);

/// OpenID Connect Discovery §4.1
pub(in crate::identity) const WELL_KNOWN: &str = "/.well-known/openid-configuration";

pub(super) struct Discovery {
    configuration_url: Url,
    http: HttpClient,
    /// Locked while the issuer is asked: everybody else waits for the same answer.
    latest: Mutex<Option<Latest>>,
}

struct Latest {
    at: Instant,
    outcome: Result<Arc<Issuer>, SignInError>,
}

/// An issuer as it says it is.
pub(super) struct Issuer {
    /// To the letter: this is what `iss` must be.
    pub(super) name: String,
    pub(super) authorize_url: Url,
    pub(super) token_url: Url,
    pub(super) userinfo_url: Option<Url>,
    pub(super) secret_goes: SecretGoes,
    /// RFC 9207 §3: its answers in the browser always say whose they are.
    pub(super) signs_answers: bool,
    pub(super) keys: Keys,
}

impl Discovery {
    pub(super) fn new(configuration_url: Url, http: HttpClient) -> Self {
        Self {
            configuration_url,
            http,
            latest: Mutex::default(),
        }
    }

    pub(super) async fn issuer(&self) -> Result<Arc<Issuer>, SignInError> {
        let mut latest = self.latest.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.holds()) {
            return latest.outcome.clone();
        }
        let outcome = self.ask().await.map(Arc::new);
        *latest = Some(Latest {
            at: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    async fn ask(&self) -> Result<Issuer, SignInError> {
        let body = fetch(&self.http, &self.configuration_url, None, "discovery").await?;
        let document: Document = serde_json::from_slice(&body).map_err(|_| {
            SignInError::Broken("discovery: this is no provider metadata".to_owned())
        })?;
        self.verify_name(&document.issuer)?;
        document.issuer(self.http.clone())
    }

    /// The document must be that of the issuer whose address is configured (§4.3). An issuer's
    /// terminating slash is not part of the document's address (§4.1), so this address stands for
    /// both; Auth0's and authentik's issuers end in one.
    fn verify_name(&self, name: &str) -> Result<(), SignInError> {
        let url = self.configuration_url.as_str();
        let configured = url.strip_suffix(WELL_KNOWN).ok_or_else(|| {
            SignInError::Broken(format!("discovery: {url} does not end in {WELL_KNOWN}"))
        })?;
        if name.strip_suffix('/').unwrap_or(name) == configured {
            return Ok(());
        }
        // Parsed, it is fit for the log.
        let other = Url::parse(name).map_or("another issuer".to_owned(), String::from);
        Err(SignInError::Broken(format!(
            "discovery: the document at {url} is that of {other}"
        )))
    }
}

impl Latest {
    fn holds(&self) -> bool {
        let span = match self.outcome {
            Ok(_) => HOLDS_FOR,
            Err(_) => RETRY_AFTER,
        };
        self.at.elapsed() < span
    }
}

/// Provider metadata, as far as it matters (OpenID Connect Discovery §3, RFC 8414 §2).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Document {
    fn issuer(self, http: HttpClient) -> Result<Issuer, SignInError> {
        let jwks_url = endpoint(&self.jwks_uri, "jwks_uri")?;
        let userinfo_url = self.userinfo_endpoint.as_deref();
        Ok(Issuer {
            authorize_url: endpoint(&self.authorization_endpoint, "authorization_endpoint")?,
            token_url: endpoint(&self.token_endpoint, "token_endpoint")?,
            userinfo_url: userinfo_url
                .map(|url| endpoint(url, "userinfo_endpoint"))
                .transpose()?,
            secret_goes: self.secret_goes(),
            signs_answers: self.authorization_response_iss_parameter_supported,
            keys: Keys::new(jwks_url, http),
            name: self.issuer,
        })
    }

    fn secret_goes(&self) -> SecretGoes {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        let has = |name: &str| methods.is_some_and(|names| names.iter().any(|is| is == name));
        if has("client_secret_post") && !has("client_secret_basic") {
            SecretGoes::IntoTheBody
        } else {
            SecretGoes::IntoTheHeader
        }
    }
}

/// An address that secrets, or people, may be sent to: no script, no file, no plain http.
fn endpoint(url: &str, member: &str) -> Result<Url, SignInError> {
    Url::parse(url)
        .ok()
        .filter(is_confidential)
        .ok_or_else(|| SignInError::Broken(format!("discovery: {member} is no https URL")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fake_issuer::{Answer, DISCOVERY, FakeIssuer, let_pass};
    use super::*;

    fn discovery(issuer: &FakeIssuer) -> Discovery {
        let url = format!("{}{DISCOVERY}", issuer.url);
        Discovery::new(Url::parse(&url).unwrap(), HttpClient::default())
    }

    async fn broken(issuer: &FakeIssuer) -> String {
        match discovery(issuer).issuer().await.err() {
            Some(SignInError::Broken(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_issuer_is_asked_once_an_hour_however_many_sign_in() {
        let issuer = FakeIssuer::start().await;
        let discovery = Arc::new(discovery(&issuer));
        let ask = || {
            let discovery = Arc::clone(&discovery);
            tokio::spawn(async move { discovery.issuer().await.is_ok() })
        };
        for task in (0..50).map(|_| ask()).collect::<Vec<_>>() {
            assert!(task.await.unwrap());
        }
        assert_eq!(issuer.asked(DISCOVERY).len(), 1);
        let_pass(HOLDS_FOR - Duration::from_secs(1)).await;
        discovery.issuer().await.unwrap();
        assert_eq!(issuer.asked(DISCOVERY).len(), 1);
        let_pass(Duration::from_secs(1)).await;
        discovery.issuer().await.unwrap();
        assert_eq!(issuer.asked(DISCOVERY).len(), 2);
    }

    #[tokio::test]
    async fn an_issuer_that_was_down_is_asked_again_but_not_by_everybody() {
        let issuer = FakeIssuer::start().await;
        let discovery = discovery(&issuer);
        for (count, answer) in [
            (1, Answer::HangsUp),
            (2, Answer::json(503, &json!({}))),
            (3, Answer::json(429, &json!({}))),
        ] {
            issuer.answer(DISCOVERY, answer);
            for _ in 0..20 {
                let outcome = discovery.issuer().await.err();
                assert!(
                    matches!(outcome, Some(SignInError::Unavailable(_))),
                    "{outcome:?}"
                );
            }
            assert_eq!(issuer.asked(DISCOVERY).len(), count);
            let_pass(RETRY_AFTER).await;
        }
        issuer.describe(&json!({}));
        assert_eq!(discovery.issuer().await.unwrap().name, issuer.url);
    }

    #[tokio::test]
    async fn a067_the_document_of_another_issuer_is_refused() {
        let issuer = FakeIssuer::start().await;
        let url = &issuer.url;
        for name in [
            "https://evil.test".to_owned(),
            format!("{url}/realm"),
            format!("{url}//"),
            format!("{url}?"),
            format!("{url}#"),
            format!(" {url}"),
            url.replace("http://", "HTTP://"),
            url.replace("127.0.0.1", "localhost"),
            String::new(),
        ] {
            issuer.describe(&json!({ "issuer": name }));
            let text = broken(&issuer).await;
            assert!(text.contains(" is that of "), "{name}: {text}");
        }
    }

    #[tokio::test]
    async fn an_issuer_s_terminating_slash_is_part_of_its_name_but_not_of_its_address() {
        let issuer = FakeIssuer::start().await;
        let name = format!("{}/", issuer.url);
        issuer.describe(&json!({ "issuer": name }));
        assert_eq!(discovery(&issuer).issuer().await.unwrap().name, name);
    }

    #[tokio::test]
    async fn a067_addresses_that_are_neither_https_nor_on_this_machine_are_refused() {
        let issuer = FakeIssuer::start().await;
        for member in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        ] {
            for address in [
                "http://id.test/x",
                "file:///etc/passwd",
                "javascript:alert(1)",
                "data:application/json,{}",
                "$(calc.exe)",
                "",
            ] {
                issuer.describe(&json!({ member: address }));
                let text = broken(&issuer).await;
                assert!(text.contains(member), "{address}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn a066_what_is_no_metadata_is_refused_and_not_quoted() {
        let issuer = FakeIssuer::start().await;
        for answer in [
            Answer::text(200, "text/html", "<html>canary</html>"),
            Answer::text(200, "application/json", "{\"issuer\":\"canary\"}"),
            Answer::text(200, "application/json", "canary".repeat(50_000)),
            Answer::text(302, "text/plain", "canary"),
            Answer::text(404, "text/plain", "canary"),
            Answer::json(200, &Value::Null),
        ] {
            issuer.answer(DISCOVERY, answer);
            let text = broken(&issuer).await;
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[tokio::test]
    async fn the_secret_goes_into_the_header_unless_only_the_body_is_read() {
        let issuer = FakeIssuer::start().await;
        let (basic, post, other) = (
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        );
        for (methods, expected) in [
            (Value::Null, SecretGoes::IntoTheHeader),
            (json!([basic]), SecretGoes::IntoTheHeader),
            (json!([post, basic]), SecretGoes::IntoTheHeader),
            (json!([post]), SecretGoes::IntoTheBody),
            (json!([other, post]), SecretGoes::IntoTheBody),
            (json!([other]), SecretGoes::IntoTheHeader),
        ] {
            issuer.describe(&json!({ "token_endpoint_auth_methods_supported": methods }));
            let issuer = discovery(&issuer).issuer().await.unwrap();
            assert_eq!(issuer.secret_goes, expected, "{methods}");
        }
    }
}
