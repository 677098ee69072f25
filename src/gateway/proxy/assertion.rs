//! The signed word on who is calling (`--identity-jwt`), for a wrapped server that does not want to
//! trust whoever reaches its port: a JWT of a minute, for that server alone (design rule D-01).

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde::Serialize;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::crypto::random;
use crate::grant::GrantId;
use crate::http::ExternalUrl;
use crate::resource::Principal;
use crate::signing::SigningKeys;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-mcp-guard-assertion");

const LIFE: Duration = Duration::from_mins(1);
/// A signature costs more than all else that the guard does for a call, so an assertion goes with
/// every call of its grant for half its life.
const SHOWN_FOR: Duration = Duration::from_secs(30);
/// How many grants' assertions are kept.
const CAPACITY: usize = 10_000;

/// Makes assertions, from this guard for one server.
pub(in crate::gateway) struct Assertions {
    keys: Arc<SigningKeys>,
    issuer: String,
    audience: String,
    clock: Clock,
    made: Cache<GrantId, Assertion>,
}

#[derive(Clone)]
struct Assertion {
    value: HeaderValue,
    made_at: Timestamp,
}

/// RFC 7519 §4.1; `client_id` as in RFC 8693 §4.3.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    groups: &'a [String],
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
}

impl Assertions {
    pub(in crate::gateway) fn new(
        keys: Arc<SigningKeys>,
        issuer: &ExternalUrl,
        audience: &Url,
        clock: Clock,
    ) -> Self {
        Self {
            keys,
            issuer: issuer.as_str().to_owned(),
            audience: audience.as_str().to_owned(),
            clock,
            made: Cache::new(CAPACITY),
        }
    }

    /// The value of the header. `None` only for an identity that JSON cannot hold.
    pub(super) fn of(&self, principal: &Principal) -> Option<HeaderValue> {
        let now = self.clock.now();
        if let Some(assertion) = self.made.get(&principal.grant)
            && assertion.made_at <= now
            && now < assertion.made_at.after(SHOWN_FOR)
        {
            return Some(assertion.value);
        }
        let value = self.make(principal, now)?;
        let assertion = Assertion {
            value: value.clone(),
            made_at: now,
        };
        self.made.insert(principal.grant.clone(), assertion);
        Some(value)
    }

    fn make(&self, principal: &Principal, now: Timestamp) -> Option<HeaderValue> {
        let identity = &principal.identity;
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: identity.subject.as_str(),
            email: identity.email.as_deref(),
            groups: &identity.groups,
            client_id: &principal.client.0,
            iat: now.seconds(),
            exp: now.after(LIFE).seconds(),
            jti: random::id(),
        };
        let token = self.keys.sign(&claims).ok()?;
        let mut value = HeaderValue::try_from(token).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    use serde_json::{Value, json};

    use super::super::identity_headers::tests::principal;
    use super::*;
    use crate::crypto::Keyring;
    use crate::http::Body;
    use crate::store::Store;

    struct Room {
        clock: Clock,
        keys: Arc<SigningKeys>,
        assertions: Assertions,
    }

    async fn room() -> Room {
        let clock = Clock::system();
        let store = Store::memory(clock.clone());
        let keys = SigningKeys::load(store, Keyring::ephemeral(), clock.clone()).await;
        let keys = keys.unwrap();
        let issuer = ExternalUrl::parse("https://guard.test/team").unwrap();
        let audience = Url::parse("http://127.0.0.1:9000/mcp").unwrap();
        Room {
            assertions: Assertions::new(Arc::clone(&keys), &issuer, &audience, clock.clone()),
            clock,
            keys,
        }
    }

    impl Room {
        /// What a wrapped server that does as documented learns.
        fn verified(&self, assertion: &HeaderValue) -> Value {
            let Body::Full(Some(document)) = self.keys.jwks().into_body() else {
                panic!("a whole body");
            };
            let known: JwkSet = serde_json::from_slice(&document).unwrap();
            let mut validation = Validation::new(Algorithm::ES256);
            validation.set_audience(&["http://127.0.0.1:9000/mcp"]);
            validation.set_issuer(&["https://guard.test/team"]);
            // The clock of the test may be ahead of the system's, by which this judges.
            validation.leeway = 60 * 60;
            let key = DecodingKey::from_jwk(&known.keys[0]).unwrap();
            let token = assertion.to_str().unwrap();
            decode::<Value>(token, &key, &validation).unwrap().claims
        }
    }

    #[tokio::test]
    async fn an_assertion_says_who_calls_for_a_minute() {
        let room = room().await;
        let assertion = room.assertions.of(&principal()).unwrap();
        let claims = room.verified(&assertion);
        let made = claims["iat"].as_u64().unwrap();
        assert!(room.clock.now().seconds() - made <= 1);
        let expected = json!({
            "iss": "https://guard.test/team",
            "aud": "http://127.0.0.1:9000/mcp",
            "sub": "oidc:https://idp.test#7",
            "email": "anna@example.com",
            "groups": ["admins", "a,b"],
            "client_id": "mcp_1",
            "iat": made,
            "exp": made + 60,
            "jti": claims["jti"],
        });
        assert_eq!(claims, expected);
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
        assert!(assertion.is_sensitive());
    }

    #[tokio::test]
    async fn the_calls_of_a_grant_share_an_assertion_for_half_its_life() {
        let room = room().await;
        let first = room.assertions.of(&principal()).unwrap();
        room.clock.advance(Duration::from_secs(20));
        assert_eq!(room.assertions.of(&principal()).unwrap(), first);
        room.clock.advance(Duration::from_secs(11));
        let second = room.assertions.of(&principal()).unwrap();
        assert_ne!(second, first);
        assert_ne!(room.verified(&second)["jti"], room.verified(&first)["jti"]);
    }

    #[tokio::test]
    async fn no_grant_is_given_anothers_assertion() {
        let room = room().await;
        let anna = room.assertions.of(&principal()).unwrap();
        let mut bob = principal();
        bob.grant = GrantId("another".into());
        bob.identity = Arc::new(crate::identity::Identity::local("bob"));
        let bobs = room.verified(&room.assertions.of(&bob).unwrap());
        assert_eq!(bobs["sub"], "local:bob");
        assert_eq!(bobs.get("email"), None);
        assert_eq!(room.assertions.of(&principal()).unwrap(), anna);
    }
}
