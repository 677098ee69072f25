//! The keys that the guard signs assertions about its callers with: kept in the store, sealed by the
//! keyring, so that guards that share both share the keys; changed every thirty days; published for
//! whoever checks the signatures.
//!
//! Every guard knows from the keys themselves when each one's turn is. A change needs no agreement:
//! a new key lies in the store, and is published, a day before it signs.

mod ring;

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::http::{Reply, full};
use crate::store::{Store, StoreError, Version};
use ring::{Entry, Ring};

/// Where the keys lie in the store; they do not expire.
const KEY: &str = "signing-keys";

/// How often a guard tries again that another one was quicker than.
const ATTEMPTS: usize = 8;

/// The published keys are good for an hour; see `ring::OVERLAP`.
const MAX_AGE: &str = "public, max-age=3600";

/// Why the keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Guards that share a store must share the keyring too.
    #[error("the signing keys in the store were sealed by another keyring")]
    Foreign,
    #[error("the signing keys in the store change all the time")]
    Contended,
}

/// The keys. Looking one up asks nobody.
pub struct SigningKeys {
    vault: Vault,
    known: ArcSwap<Known>,
}

/// Where keys come from.
struct Vault {
    store: Store,
    keyring: Keyring,
    clock: Clock,
}

struct Known {
    ring: Ring,
    /// The keys as published (RFC 7517 §5).
    document: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Record {
    keys: Vec<Entry>,
}

impl SigningKeys {
    /// Reads the keys, or makes the first one. Keys that this keyring cannot open are given up, as
    /// all that its predecessor sealed is: their signatures expire within a minute.
    pub async fn load(
        store: Store,
        keyring: Keyring,
        clock: Clock,
    ) -> Result<Arc<Self>, SigningError> {
        let vault = Vault {
            store,
            keyring,
            clock,
        };
        let ring = match vault.ring(Unopenable::Keep).await {
            Err(SigningError::Foreign) => {
                tracing::warn!(
                    "the signing keys in the store were sealed by another keyring; they are replaced"
                );
                vault.ring(Unopenable::Replace).await?
            }
            ring => ring?,
        };
        Ok(Arc::new(Self {
            known: ArcSwap::from_pointee(Known::of(ring)),
            vault,
        }))
    }

    /// Learns what other guards did and does what is due. The app calls it every few minutes. If it
    /// fails, the known keys go on.
    pub async fn refresh(&self) -> Result<(), SigningError> {
        let ring = self.vault.ring(Unopenable::Keep).await?;
        self.known.store(Arc::new(Known::of(ring)));
        Ok(())
    }

    /// `payload` as a JWT (RFC 7519) in compact form, by the key whose turn it is.
    pub fn sign(&self, payload: &impl Serialize) -> Result<String, serde_json::Error> {
        let known = self.known.load();
        let key = known.ring.current(self.vault.clock.now());
        let header = json!({"alg": "ES256", "kid": key.public().kid, "typ": "JWT"});
        let mut token = format!("{}.{}", part(&header)?, part(payload)?);
        let signature = key.sign(token.as_bytes());
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// The answer to who asks for the public keys.
    pub fn jwks(&self) -> Reply {
        let mut reply = Reply::new(full(self.known.load().document.clone()));
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(MAX_AGE));
        reply
    }
}

/// What to do about stored keys none of which opens.
#[derive(Clone, Copy)]
enum Unopenable {
    Keep,
    Replace,
}

impl Vault {
    /// The keys of now. What changes is written before it is used.
    async fn ring(&self, unopenable: Unopenable) -> Result<Ring, SigningError> {
        for _ in 0..ATTEMPTS {
            let (found, version) = self.read().await?;
            let now = self.clock.now();
            let unsealed = found.and_then(|entries| Ring::unseal(&self.keyring, entries));
            let (ring, changed) = match (unsealed, version, unopenable) {
                (Some(mut ring), ..) => {
                    let changed = ring.turn(&self.keyring, now);
                    (ring, changed)
                }
                (None, Some(_), Unopenable::Keep) => return Err(SigningError::Foreign),
                (None, ..) => (Ring::begin(&self.keyring, now), true),
            };
            if !changed || self.write(&ring, version).await? {
                return Ok(ring);
            }
        }
        Err(SigningError::Contended)
    }

    async fn read(&self) -> Result<(Option<Vec<Entry>>, Option<Version>), StoreError> {
        let Some(found) = self.store.get(KEY).await? else {
            return Ok((None, None));
        };
        let record: Record =
            serde_json::from_slice(&found.value).map_err(|error| damaged(&error))?;
        Ok((Some(record.keys), Some(found.version)))
    }

    /// Whether nobody else wrote meanwhile.
    async fn write(&self, ring: &Ring, expected: Option<Version>) -> Result<bool, StoreError> {
        let keys = ring.entries().cloned().collect();
        let value = serde_json::to_vec(&Record { keys }).map_err(|error| damaged(&error))?;
        let written = match expected {
            Some(version) => self.store.swap(KEY, version, value, None).await?,
            None => self.store.create(KEY, value, None).await?,
        };
        Ok(written.is_some())
    }
}

impl Known {
    fn of(ring: Ring) -> Self {
        let keys: Vec<_> = ring.public().collect();
        Self {
            document: json!({ "keys": keys }).to_string().into(),
            ring,
        }
    }
}

/// One of the three parts of a JWS (RFC 7515 §3.1).
fn part(content: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(content)?))
}

fn damaged(error: &serde_json::Error) -> StoreError {
    StoreError::Damaged {
        key: KEY.to_owned(),
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;

    use super::*;
    use crate::http::Body;

    const A_DAY: Duration = Duration::from_hours(24);

    struct Room {
        store: Store,
        keyring: Keyring,
        clock: Clock,
    }

    impl Room {
        fn new() -> Self {
            let clock = Clock::system();
            Self {
                store: Store::memory(clock.clone()),
                keyring: Keyring::ephemeral(),
                clock,
            }
        }

        async fn guard(&self) -> Arc<SigningKeys> {
            let Self {
                store,
                keyring,
                clock,
            } = self;
            let loaded = SigningKeys::load(store.clone(), keyring.clone(), clock.clone()).await;
            loaded.unwrap()
        }
    }

    fn token(keys: &SigningKeys) -> String {
        keys.sign(&json!({"sub": "local:anna"})).unwrap()
    }

    fn published(keys: &SigningKeys) -> JwkSet {
        let Body::Full(Some(document)) = keys.jwks().into_body() else {
            panic!("a whole body");
        };
        serde_json::from_slice(&document).unwrap()
    }

    /// Whether somebody who knows just these keys believes the token.
    fn is_believed(token: &str, known: &JwkSet) -> bool {
        let kid = decode_header(token).unwrap().kid.unwrap();
        let Some(key) = known.find(&kid) else {
            return false;
        };
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).is_ok()
    }

    #[tokio::test]
    async fn another_library_verifies_what_is_signed_with_what_is_published() {
        let keys = Room::new().guard().await;
        let token = token(&keys);
        let header = decode_header(&token).unwrap();
        assert_eq!(header.alg, Algorithm::ES256);
        assert_eq!(header.typ.as_deref(), Some("JWT"));
        assert!(is_believed(&token, &published(&keys)));

        let other = Room::new().guard().await;
        assert!(!is_believed(&token, &published(&other)));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let forged = format!("{head}.{}.{signature}", part(&json!({"sub": "x"})).unwrap());
        assert!(!is_believed(&forged, &published(&keys)));
    }

    #[tokio::test]
    async fn the_published_keys_are_public_only_and_good_for_an_hour() {
        let keys = Room::new().guard().await;
        let reply = keys.jwks();
        assert_eq!(reply.headers()["cache-control"], "public, max-age=3600");
        assert_eq!(reply.headers()["content-type"], "application/json");
        let Body::Full(Some(document)) = reply.into_body() else {
            panic!("a whole body");
        };
        let document: Value = serde_json::from_slice(&document).unwrap();
        let members: Vec<&str> = document["keys"][0]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }

    #[tokio::test]
    async fn a_restart_keeps_the_keys_and_guards_that_share_a_store_agree() {
        let room = Room::new();
        let (one, two) = tokio::join!(room.guard(), room.guard());
        assert_eq!(published(&one), published(&two));
        let restarted = room.guard().await;
        assert_eq!(published(&restarted), published(&one));
        assert!(is_believed(&token(&one), &published(&restarted)));
    }

    #[tokio::test]
    async fn guards_that_share_a_store_change_keys_together() {
        let room = Room::new();
        let (one, two) = (room.guard().await, room.guard().await);
        room.clock.advance(29 * A_DAY);
        one.refresh().await.unwrap();
        two.refresh().await.unwrap();
        let known = published(&two);
        assert_eq!(known.keys.len(), 2);
        assert_eq!(known, published(&one));

        let before = decode_header(token(&one)).unwrap().kid;
        room.clock.advance(A_DAY);
        let after = decode_header(token(&one)).unwrap().kid;
        assert_ne!(before, after);
        assert_eq!(decode_header(token(&two)).unwrap().kid, after);
        assert!(is_believed(&token(&two), &known));

        room.clock.advance(A_DAY);
        one.refresh().await.unwrap();
        assert_eq!(published(&one).keys.len(), 1);
    }

    #[tokio::test]
    async fn no_private_key_lies_in_the_store() {
        let room = Room::new();
        room.guard().await;
        let record = room.store.get(KEY).await.unwrap().unwrap();
        let record: Record = serde_json::from_slice(&record.value).unwrap();
        let entry = serde_json::to_value(&record.keys[0]).unwrap();
        let names: Vec<&String> = entry.as_object().unwrap().keys().collect();
        assert_eq!(names, ["kid", "sealed", "signs_from"]);
        assert!(Ring::unseal(&Keyring::ephemeral(), record.keys).is_none());
    }

    #[tokio::test]
    async fn a_lost_keyring_costs_the_keys_but_a_strange_one_takes_no_running_guards() {
        let mut room = Room::new();
        let before = room.guard().await;
        room.keyring = Keyring::ephemeral();
        let after = room.guard().await;
        assert!(!is_believed(&token(&before), &published(&after)));
        assert!(matches!(before.refresh().await, Err(SigningError::Foreign)));
        assert!(is_believed(&token(&before), &published(&before)));
        after.refresh().await.unwrap();
        assert!(is_believed(&token(&after), &published(&after)));
    }

    #[tokio::test]
    async fn trouble_with_the_store_leaves_the_known_keys_in_use() {
        let room = Room::new();
        let keys = room.guard().await;
        let known = published(&keys);
        let rubbish = b"{".to_vec();
        room.store.put(KEY, rubbish, None).await.unwrap();
        assert!(matches!(keys.refresh().await, Err(SigningError::Store(_))));
        assert_eq!(published(&keys), known);
        let (store, keyring) = (room.store.clone(), room.keyring.clone());
        let loaded = SigningKeys::load(store, keyring, room.clock.clone()).await;
        assert!(matches!(loaded, Err(SigningError::Store(_))));
    }
}
