//! ID tokens (OpenID Connect Core §2, §3.1.3.7): who signed in, in the issuer's own words. Pure.
//!
//! `jsonwebtoken` checks the signature; the claims are checked here, to the letter of the standard
//! and by the guard's clock (threat case A-056).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use super::json;
use crate::clock::Timestamp;
use crate::identity::SignInError;

const MAX_SIZE: usize = 64 * 1024;

/// Between the issuer's clock and ours, in seconds.
const LEEWAY: f64 = 60.0;

/// OpenID Connect Core §2: `sub` is no longer than this.
const MAX_SUBJECT_LENGTH: usize = 255;

/// A token of which nothing is known to be true yet.
pub(super) struct Unverified<'a> {
    pub(super) header: Header,
    signed: &'a str,
    claims: Map<String, Value>,
    signature: &'a str,
}

/// As far as it matters (RFC 7515 §4.1).
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

/// What a token must say.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: Timestamp,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is larger than 64 KiB")]
    Size,
    #[error("it is no signed JWT, or ambiguous")]
    Shape,
    #[error("its algorithm is not among those allowed")]
    Algorithm,
    #[error("it has critical header parameters")]
    Critical,
    #[error("its signature is wrong")]
    Signature,
    #[error("iss is another issuer")]
    Issuer,
    #[error("aud does not name this client")]
    Audience,
    #[error("azp is not this client")]
    AuthorizedParty,
    #[error("exp is missing, or no number")]
    ExpiryFormat,
    #[error("it has expired")]
    Expired,
    #[error("iat is missing, or no number, or in the future")]
    IssuedAt,
    #[error("nbf is no number, or in the future")]
    NotBefore,
    #[error("nonce is not the one of this sign-in")]
    Nonce,
    #[error("sub is missing or cannot be used")]
    Subject,
}

impl From<Fault> for SignInError {
    fn from(fault: Fault) -> Self {
        Self::Untrusted(format!("ID token: {fault}"))
    }
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_SIZE {
            return Err(Fault::Size);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(Fault::Shape)?;
        Ok(Self {
            header: Header::read(&part(header)?)?,
            signed,
            // A further dot is not in the alphabet: encrypted tokens end here.
            claims: part(claims)?,
            signature,
        })
    }

    /// What the token says, if it is true.
    pub(super) fn verify(
        self,
        key: &DecodingKey,
        expected: &Expected<'_>,
    ) -> Result<Map<String, Value>, Fault> {
        let algorithm = self.header.algorithm;
        match crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(Fault::Signature),
        }
        expected.check(&self.claims)?;
        Ok(self.claims)
    }
}

fn part(text: &str) -> Result<Map<String, Value>, Fault> {
    let decoded = URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Shape)?;
    json::object(&decoded).ok_or(Fault::Shape)
}

impl Header {
    fn read(members: &Map<String, Value>) -> Result<Self, Fault> {
        // RFC 7515 §4.1.11: what is critical must be understood, and nothing of it is.
        if members.contains_key("crit") {
            return Err(Fault::Critical);
        }
        let name = members.get("alg").and_then(Value::as_str);
        let key_id = match members.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Fault::Shape),
        };
        Ok(Self {
            algorithm: name.and_then(algorithm).ok_or(Fault::Algorithm)?,
            key_id,
        })
    }
}

/// Those with a public key, and of them those that are not broken (RFC 8725 §3.1).
fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

impl Expected<'_> {
    /// In the order of OpenID Connect Core §3.1.3.7.
    fn check(&self, claims: &Map<String, Value>) -> Result<(), Fault> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(self.issuer) {
            return Err(Fault::Issuer);
        }
        self.check_audience(claims)?;
        self.check_times(claims)?;
        if text("nonce") != Some(self.nonce) {
            return Err(Fault::Nonce);
        }
        let is_subject = |sub: &str| {
            (1..=MAX_SUBJECT_LENGTH).contains(&sub.len()) && !sub.contains(char::is_control)
        };
        if !text("sub").is_some_and(is_subject) {
            return Err(Fault::Subject);
        }
        Ok(())
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Fault> {
        let is_us = |value: &Value| value.as_str() == Some(self.client_id);
        let is_shared = match claims.get("aud") {
            Some(audience @ Value::String(_)) if is_us(audience) => false,
            Some(Value::Array(all))
                if all.iter().all(Value::is_string) && all.iter().any(is_us) =>
            {
                all.len() > 1
            }
            _ => return Err(Fault::Audience),
        };
        match claims.get("azp") {
            None if is_shared => Err(Fault::AuthorizedParty),
            Some(party) if !is_us(party) => Err(Fault::AuthorizedParty),
            _ => Ok(()),
        }
    }

    /// `NumericDate`s may have a fraction (RFC 7519 §2), but are never strings (CVE-2026-25537).
    fn check_times(&self, claims: &Map<String, Value>) -> Result<(), Fault> {
        let date = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now = std::time::Duration::from_millis(self.now.0).as_secs_f64();
        if date("exp").ok_or(Fault::ExpiryFormat)? <= now - LEEWAY {
            return Err(Fault::Expired);
        }
        if date("iat").is_none_or(|issued| issued > now + LEEWAY) {
            return Err(Fault::IssuedAt);
        }
        let is_due = |begins: f64| begins <= now + LEEWAY;
        if claims.contains_key("nbf") && !date("nbf").is_some_and(is_due) {
            return Err(Fault::NotBefore);
        }
        Ok(())
    }
}
