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
