//! What is remembered while a person is away at an identity provider: `transaction/<hash of state>`,
//! for ten minutes, single use.
//!
//! `state` is 256 random bits of ours, and all that the provider hears of the request. The record is
//! sealed under it, so the database alone shows neither the handshake's secrets nor who wanted what
//! . A cookie that is made after the approval ties it to the browser that approved (A-032,
//! A-048); each transaction has its own, so that several tabs can be under way.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::crypto::{TokenHash, open_under, random, seal_under};
use crate::http::{ExternalUrl, cookie};
use crate::identity::{Handshake, ProviderKind};
use crate::store::{Store, StoreError};

use super::authorize::AuthorizationRequest;

/// How long a person may take at the provider.
const LIFETIME: Duration = Duration::from_mins(10);

/// One sign-in under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Transaction {
    /// Who was asked; an answer by way of another is none.
    pub(super) provider: ProviderKind,
    pub(super) handshake: Handshake,
    pub(super) request: AuthorizationRequest,
    cookie: TokenHash,
    expires_at: Timestamp,
}

/// All sign-ins under way.
pub(super) struct Transactions {
    store: Store,
    clock: Clock,
    external_url: ExternalUrl,
}

impl Transactions {
    pub(super) const fn new(store: Store, clock: Clock, external_url: ExternalUrl) -> Self {
        Self {
            store,
            clock,
            external_url,
        }
    }

    /// Remembers an approved request; the cookie for the browser that approved it.
    pub(super) async fn open(
        &self,
        state: &str,
        provider: ProviderKind,
        handshake: Handshake,
        request: AuthorizationRequest,
    ) -> Result<Option<HeaderValue>, StoreError> {
        let secret = random::secret();
        let transaction = Transaction {
            provider,
            handshake,
            request,
            cookie: TokenHash::of(&secret),
            expires_at: self.clock.now().after(LIFETIME),
        };
        self.write(state, &transaction).await?;
        Ok(self.set_cookie(state, &secret, LIFETIME))
    }

    /// The transaction of that state. It stays.
    pub(super) async fn find(&self, state: &str) -> Result<Option<Transaction>, StoreError> {
        let key = key(state);
        let found = self.store.get(&key).await?;
        found
            .map(|found| decode(&key, state, &found.value))
            .transpose()
    }

    /// Takes the transaction away: of any number of callers exactly one gets it.
    pub(super) async fn take(&self, state: &str) -> Result<Option<Transaction>, StoreError> {
        let key = key(state);
        let found = self.store.take(&key).await?;
        found
            .map(|found| decode(&key, state, &found.value))
            .transpose()
    }

    /// Puts back what was taken, for what remains of its life.
    pub(super) async fn put_back(
        &self,
        state: &str,
        transaction: &Transaction,
    ) -> Result<(), StoreError> {
        self.write(state, transaction).await
    }

    /// Whether these headers come from the browser that approved.
    pub(super) fn is_browser_of(
        &self,
        headers: &HeaderMap,
        state: &str,
        transaction: &Transaction,
    ) -> bool {
        cookie::get(headers, &self.cookie_name(state))
            .is_some_and(|value| TokenHash::of(value) == transaction.cookie)
    }

    /// Makes the browser forget a transaction that is over.
    pub(super) fn clear_cookie(&self, state: &str) -> Option<HeaderValue> {
        self.set_cookie(state, "", Duration::ZERO)
    }

    async fn write(&self, state: &str, transaction: &Transaction) -> Result<(), StoreError> {
        let key = key(state);
        let plain = serde_json::to_vec(transaction).map_err(|error| damaged(&key, &error))?;
        let sealed = seal_under(state.as_bytes(), &plain);
        let until = Some(transaction.expires_at);
        self.store.put(&key, sealed, until).await.map(drop)
    }

    fn set_cookie(&self, state: &str, value: &str, age: Duration) -> Option<HeaderValue> {
        let name = self.cookie_name(state);
        let secure = if self.external_url.is_https() {
            "; Secure"
        } else {
            ""
        };
        let age = age.as_secs();
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// Named after the state's hash: the state itself is no name for what any page of ours is sent.
    fn cookie_name(&self, state: &str) -> String {
        let hash = TokenHash::of(state).to_text();
        let short: String = hash.chars().take(8).collect();
        let prefix = if self.external_url.is_https() {
            "__Host-"
        } else {
            ""
        };
        format!("{prefix}mg-txn-{short}")
    }
}

fn key(state: &str) -> String {
    format!("transaction/{}", TokenHash::of(state).to_text())
}

fn decode(key: &str, state: &str, sealed: &[u8]) -> Result<Transaction, StoreError> {
    let plain = open_under(state.as_bytes(), sealed).ok_or_else(|| StoreError::Damaged {
        key: key.to_owned(),
        what: "the seal does not fit".to_owned(),
    })?;
    serde_json::from_slice(&plain).map_err(|error| damaged(key, &error))
}

/// Says where and why, but not what.
fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged {
        key: key.to_owned(),
        what: format!("{:?} error at column {}", error.classify(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::grant::{ClientId, CodeChallenge, ResourceUri, Scopes};
    use crate::oauth::fixture::CHALLENGE;

    fn transactions(external: &str) -> Transactions {
        let clock = Clock::system();
        let store = Store::memory(clock.clone());
        Transactions::new(store, clock, ExternalUrl::parse(external).unwrap())
    }

    /// Opens one; its cookie as the browser stores it.
    async fn open(transactions: &Transactions, state: &str) -> String {
        let request = AuthorizationRequest {
            client: ClientId("mcp_AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
            redirect_uri: "http://localhost:1/cb".to_owned(),
            state: Some("the client's".to_owned()),
            code_challenge: CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap(),
            scopes: Scopes("mcp".to_owned()),
            resource: ResourceUri("https://guard.test/mcp".to_owned()),
            expires_at: transactions.clock.now(),
        };
        let handshake = json!({
            "issuer": "https://idp.test", "nonce": "the-nonce", "code_verifier": "the-verifier",
        });
        let handshake = serde_json::from_value(handshake).unwrap();
        let cookie = transactions
            .open(state, ProviderKind::Oidc, handshake, request)
            .await;
        let cookie = cookie.unwrap().unwrap();
        cookie.to_str().unwrap().to_owned()
    }

    fn jar(set_cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let pair = set_cookie.split(';').next().unwrap();
        headers.insert("cookie", pair.parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn a032_a_transaction_knows_its_browser_and_no_other() {
        let transactions = transactions("https://guard.test");
        let (one, other) = (random::secret(), random::secret());
        let cookie = open(&transactions, &one).await;
        let others = open(&transactions, &other).await;
        let found = transactions.find(&one).await.unwrap().unwrap();
        let knows = |cookie: &str| transactions.is_browser_of(&jar(cookie), &one, &found);
        assert!(knows(&cookie));
        assert!(!knows(&others) && !knows("x=y"));
        let renamed = cookie.replacen("__Host-", "", 1);
        assert!(!knows(&renamed));
        let (name, _) = cookie.split_once('=').unwrap();
        let (_, value) = others.split_once('=').unwrap();
        assert!(!knows(&format!("{name}={value}")));
        assert!(!knows(&format!("{name}=")));
    }

    #[tokio::test]
    async fn a046_the_cookie_is_for_this_host_hidden_and_gone_in_ten_minutes() {
        let state = random::secret();
        let https = transactions("https://guard.test");
        let cookie = open(&https, &state).await;
        assert!(cookie.starts_with("__Host-mg-txn-"), "{cookie}");
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure"));
        assert!(!cookie.contains(&state));
        let cleared = https.clear_cookie(&state).unwrap();
        let cleared = cleared.to_str().unwrap();
        let name = cookie.split('=').next().unwrap();
        assert!(cleared.starts_with(&format!("{name}=; ")) && cleared.contains("Max-Age=0"));

        let cookie = open(&transactions("http://localhost:8080"), &state).await;
        assert!(cookie.starts_with("mg-txn-") && !cookie.contains("Secure"));
    }

    #[tokio::test]
    async fn a053_it_is_there_until_it_is_taken_and_is_taken_once() {
        let transactions = transactions("https://guard.test");
        let state = random::secret();
        open(&transactions, &state).await;
        for _ in 0..2 {
            assert!(transactions.find(&state).await.unwrap().is_some());
        }
        assert!(transactions.take(&state).await.unwrap().is_some());
        assert!(transactions.take(&state).await.unwrap().is_none());
        assert!(transactions.find(&state).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_put_back_lives_no_longer_than_before() {
        let transactions = transactions("https://guard.test");
        let state = random::secret();
        open(&transactions, &state).await;
        transactions.clock.advance(Duration::from_secs(595));
        let taken = transactions.take(&state).await.unwrap().unwrap();
        transactions.put_back(&state, &taken).await.unwrap();
        assert!(transactions.find(&state).await.unwrap().is_some());
        transactions.clock.advance(Duration::from_secs(6));
        assert!(transactions.find(&state).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a140_the_database_shows_nothing_of_it() {
        let transactions = transactions("https://guard.test");
        let state = random::secret();
        let cookie = open(&transactions, &state).await;
        let records = transactions.store.scan("", None, 10).await.unwrap();
        let [(key, record)] = records.as_slice() else {
            panic!("one record");
        };
        let shown = format!("{key} {}", String::from_utf8_lossy(&record.value));
        let (_, secret) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        for hidden in [&state, secret, "the-verifier", "the-nonce", "the client's"] {
            assert!(!shown.contains(hidden), "{hidden}");
        }
    }
}
