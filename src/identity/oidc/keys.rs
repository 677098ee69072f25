//! The keys with which an issuer signs (RFC 7517), from its `jwks_uri` and from nowhere else: what
//! a token says of where its key is (`jku`, `x5u`, `jwk`) is not even read.
//!
//! An unknown key makes us look again, for issuers change their keys; but not more often than once a
//! minute, or tokens with made-up names would have us hammer the issuer.

use std::time::Duration;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use url::Url;

use super::discovery::RETRY_AFTER;
use super::document::fetch;
use super::id_token::Header;
use crate::http::client::HttpClient;
use crate::identity::SignInError;

/// Unknown keys are looked for this often.
const RENEW_AFTER: Duration = Duration::from_mins(1);

pub(super) struct Keys {
    url: Url,
    http: HttpClient,
    /// Locked while the issuer is asked: everybody else waits for the same answer.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Option<Vec<Key>>,
    failed: Option<(Instant, SignInError)>,
    /// When an unknown key was looked for.
    renewed: Option<Instant>,
}

struct Key {
    id: Option<String>,
    kind: KeyKind,
    algorithm: Option<KeyAlgorithm>,
    key: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoKey {
    /// Perhaps it is new.
    Unknown,
    /// There is one of this name, for another algorithm.
    Unfit,
}

impl Keys {
    pub(super) fn new(url: Url, http: HttpClient) -> Self {
        Self {
            url,
            http,
            state: Mutex::default(),
        }
    }

    /// Makes sure that there are keys: before a code is redeemed, for that can be done only once.
    pub(super) async fn prepare(&self) -> Result<(), SignInError> {
        self.loaded().await.map(drop)
    }

    /// The key that a token says it is signed with.
    pub(super) async fn find(&self, header: &Header) -> Result<DecodingKey, SignInError> {
        let mut state = self.loaded().await?;
        match (state.find(header), state.may_renew()) {
            (Ok(key), _) => return Ok(key),
            (Err(NoKey::Unknown), true) => {}
            (Err(reason), _) => return Err(reason.into()),
        }
        state.renewed = Some(Instant::now());
        state.keys = Some(self.fetch().await?);
        state.find(header).map_err(SignInError::from)
    }

    async fn loaded(&self) -> Result<MutexGuard<'_, State>, SignInError> {
        let mut state = self.state.lock().await;
        if state.keys.is_some() {
            return Ok(state);
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < RETRY_AFTER
        {
            return Err(error.clone());
        }
        match self.fetch().await {
            Ok(keys) => {
                state.keys = Some(keys);
                Ok(state)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, SignInError> {
        let body = fetch(&self.http, &self.url, None, "key set").await?;
        let set: KeySet = serde_json::from_slice(&body)
            .map_err(|_| SignInError::Broken("key set: this is none".to_owned()))?;
        Ok(set.keys.into_iter().filter_map(Key::read).collect())
    }
}

impl State {
    fn may_renew(&self) -> bool {
        self.renewed.is_none_or(|at| at.elapsed() >= RENEW_AFTER)
    }

    /// Without a name the key must be the only one that fits (OpenID Connect Core §10.1).
    fn find(&self, header: &Header) -> Result<DecodingKey, NoKey> {
        let mut named = self.keys.iter().flatten().filter(|key| key.answers(header));
        let mut fitting = named.clone().filter(|key| key.fits(header.algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key.key.clone()),
            (None, _) if named.next().is_none() => Err(NoKey::Unknown),
            _ => Err(NoKey::Unfit),
        }
    }
}

impl From<NoKey> for SignInError {
    fn from(reason: NoKey) -> Self {
        let text = match reason {
            NoKey::Unknown => "the ID token is signed with a key that the issuer does not have",
            NoKey::Unfit => "the ID token's key is not clear, or not for its algorithm",
        };
        Self::Untrusted(text.to_owned())
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Key {
    /// `None` if it is not for verifying signatures, or of a kind that nobody here can use.
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let is_for_signatures = match &common.public_key_use {
            None => true,
            Some(purpose) => *purpose == PublicKeyUse::Signature,
        };
        let operations = common.key_operations.as_deref();
        let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return None;
        }
        Some(Self {
            kind: KeyKind::of_key(&jwk.algorithm)?,
            key: DecodingKey::from_jwk(&jwk).ok()?,
            algorithm: common.key_algorithm,
            id: jwk.common.key_id,
        })
    }

    fn answers(&self, header: &Header) -> bool {
        header.key_id.is_none() || header.key_id == self.id
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        KeyKind::of_algorithm(algorithm) == Some(self.kind)
            && self.algorithm.is_none_or(|own| own == algorithm.into())
    }
}

impl KeyKind {
    fn of_key(parameters: &AlgorithmParameters) -> Option<Self> {
        match parameters {
            AlgorithmParameters::RSA(_) => Some(Self::Rsa),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => Some(Self::P256),
                EllipticCurve::P384 => Some(Self::P384),
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(key) => {
                (key.curve == EllipticCurve::Ed25519).then_some(Self::Ed25519)
            }
            _ => None,
        }
    }

    fn of_algorithm(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => Some(Self::Rsa),
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::P256),
            Algorithm::ES384 => Some(Self::P384),
            Algorithm::EdDSA => Some(Self::Ed25519),
            // With HS256 whoever knows the public key could sign.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake_issuer::{
        Answer, ED25519, FakeIssuer, JWKS, OTHER_RSA, P256, P384, RSA, let_pass,
    };
    use super::*;

    fn keys(issuer: &FakeIssuer) -> Keys {
        let url = format!("{}{JWKS}", issuer.url);
        Keys::new(Url::parse(&url).unwrap(), HttpClient::default())
    }

    fn header(algorithm: Algorithm, key_id: Option<&str>) -> Header {
        Header {
            algorithm,
            key_id: key_id.map(str::to_owned),
        }
    }

    async fn finds(keys: &Keys, algorithm: Algorithm, key_id: Option<&str>) -> bool {
        match keys.find(&header(algorithm, key_id)).await {
            Ok(_) => true,
            Err(SignInError::Untrusted(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a067_a_thousand_tokens_with_made_up_keys_cost_two_fetches_a_minute() {
        let issuer = FakeIssuer::start().await;
        let keys = keys(&issuer);
        let flood = async |batch: u32| {
            for n in 0..1000 {
                let name = format!("{batch}-{n}");
                assert!(!finds(&keys, Algorithm::RS256, Some(&name)).await);
            }
        };
        flood(1).await;
        assert_eq!(issuer.asked(JWKS).len(), 2);
        let_pass(RENEW_AFTER - Duration::from_secs(1)).await;
        flood(2).await;
        assert_eq!(issuer.asked(JWKS).len(), 2);
        let_pass(Duration::from_secs(1)).await;
        flood(3).await;
        assert_eq!(issuer.asked(JWKS).len(), 3);
        assert!(finds(&keys, Algorithm::RS256, Some(RSA.id)).await);
        assert_eq!(issuer.asked(JWKS).len(), 3);
    }

    #[tokio::test]
    async fn a_new_key_is_found_at_once_and_a_withdrawn_one_is_forgotten() {
        let issuer = FakeIssuer::start().await;
        let keys = keys(&issuer);
        assert!(finds(&keys, Algorithm::RS256, Some(RSA.id)).await);
        issuer.publish(&[&OTHER_RSA]);
        assert!(finds(&keys, Algorithm::RS256, Some(OTHER_RSA.id)).await);
        assert!(!finds(&keys, Algorithm::RS256, Some(RSA.id)).await);
        assert_eq!(issuer.asked(JWKS).len(), 2);
    }

    #[tokio::test]
    async fn a056_a_key_verifies_what_its_type_curve_and_purpose_say() {
        let issuer = FakeIssuer::start().await;
        let mut bound = OTHER_RSA.jwk();
        bound["alg"] = "PS384".into();
        let mut encrypts = OTHER_RSA.jwk();
        encrypts["use"] = "enc".into();
        encrypts["kid"] = "encrypts".into();
        let mut signs = OTHER_RSA.jwk();
        signs["key_ops"] = json!(["sign"]);
        signs["kid"] = "signs".into();
        let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"});
        let strange = json!({"kty": "EC", "crv": "secp256k1", "x": "", "y": "", "kid": "strange"});
        let mut set = vec![
            bound,
            encrypts,
            signs,
            secret,
            strange,
            json!(null),
            json!("x"),
        ];
        set.extend([&RSA, &P256, &P384, &ED25519].map(|key| key.jwk()));
        issuer.answer(JWKS, Answer::json(200, &json!({"keys": set})));
        let keys = keys(&issuer);
        for (name, algorithms) in [
            ("rsa", "RS256 RS384 RS512 PS256 PS384 PS512"),
            ("p256", "ES256"),
            ("p384", "ES384"),
            ("ed", "EdDSA"),
            ("other", "PS384"),
            ("encrypts", ""),
            ("signs", ""),
            ("secret", ""),
            ("strange", ""),
        ] {
            for algorithm in [
                "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
                "HS256", "HS384", "HS512",
            ] {
                let fits = algorithms.split(' ').any(|one| one == algorithm);
                let found = finds(&keys, algorithm.parse().unwrap(), Some(name)).await;
                assert_eq!(found, fits, "{name} for {algorithm}");
            }
        }
    }

    #[tokio::test]
    async fn a_token_without_a_key_s_name_needs_the_only_key_that_fits() {
        let issuer = FakeIssuer::start().await;
        issuer.publish(&[&RSA, &OTHER_RSA, &P256]);
        let keys = keys(&issuer);
        assert!(finds(&keys, Algorithm::ES256, None).await);
        assert!(!finds(&keys, Algorithm::RS256, None).await);
        assert!(!finds(&keys, Algorithm::EdDSA, None).await);
    }

    #[tokio::test]
    async fn a066_a_key_set_that_makes_no_sense_is_the_issuer_s_fault_and_asked_for_again() {
        let issuer = FakeIssuer::start().await;
        let keys = keys(&issuer);
        for answer in [
            Answer::text(200, "text/html", "<html>"),
            Answer::json(200, &json!({})),
            Answer::json(404, &json!({})),
            Answer::text(
                200,
                "application/json",
                format!("{{\"keys\":[]{}}}", " ".repeat(262_144)),
            ),
        ] {
            issuer.answer(JWKS, answer);
            let outcome = keys.prepare().await;
            assert!(
                matches!(outcome, Err(SignInError::Broken(_))),
                "{outcome:?}"
            );
            let_pass(RETRY_AFTER).await;
        }
        for answer in [Answer::HangsUp, Answer::json(500, &json!({}))] {
            issuer.answer(JWKS, answer);
            let outcome = keys.prepare().await;
            assert!(
                matches!(outcome, Err(SignInError::Unavailable(_))),
                "{outcome:?}"
            );
            let asked = issuer.asked(JWKS).len();
            assert!(keys.prepare().await.is_err());
            assert_eq!(issuer.asked(JWKS).len(), asked);
            let_pass(RETRY_AFTER).await;
        }
        issuer.publish(&[&RSA]);
        keys.prepare().await.unwrap();
    }
}
