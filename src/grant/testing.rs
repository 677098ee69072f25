//! A grant room over a memory store whose clock the test moves.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::{
    AccessToken, Approval, ClientId, CodeChallenge, GrantError, Grants, Lifetimes, Redemption,
    ResourceUri, Scopes, TokenPair,
};
use crate::clock::Clock;
use crate::crypto::{Keyring, TokenHash};
use crate::identity::Identity;
use crate::store::Store;

pub(crate) const RESOURCE: &str = "https://guard.test/mcp";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:1234/cb";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) const LIFETIMES: Lifetimes = Lifetimes {
    code: Duration::from_mins(1),
    access_token: Duration::from_hours(1),
    refresh_token: Duration::from_hours(30 * 24),
    grant: Duration::from_hours(90 * 24),
    refresh_grace: Duration::from_mins(2),
};

pub(crate) const PAST_GRACE: Duration = Duration::from_secs(121);

#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) grants: Grants,
    pub(crate) keyring: Keyring,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) client: ClientId,
    pub(crate) resource: ResourceUri,
}

pub(crate) fn room() -> Room {
    room_with(LIFETIMES)
}

pub(crate) fn room_with(lifetimes: Lifetimes) -> Room {
    let clock = Clock::standing();
    let store = Store::memory(clock.clone());
    let keyring = Keyring::ephemeral();
    Room {
        grants: Grants::new(store.clone(), keyring.clone(), clock.clone(), lifetimes),
        keyring,
        store,
        clock,
        client: ClientId("mcp_0123456789abcdefghijkl".into()),
        resource: ResourceUri(RESOURCE.into()),
    }
}

impl Room {
    pub(crate) fn approval(&self) -> Approval {
        Approval {
            identity: Identity::local("owner"),
            client: self.client.clone(),
            redirect_uri: REDIRECT.into(),
            code_challenge: CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap(),
            scopes: Scopes("mcp offline_access".into()),
            resource: self.resource.clone(),
        }
    }

    pub(crate) async fn code(&self) -> String {
        self.grants.issue_code(self.approval()).await.unwrap()
    }

    /// A redemption in which nothing is wrong.
    pub(crate) fn redemption<'a>(&'a self, code: &'a str) -> Redemption<'a> {
        Redemption {
            code,
            client: &self.client,
            redirect_uri: Some(REDIRECT),
            code_verifier: Some(VERIFIER),
            resource: Some(&self.resource),
        }
    }

    pub(crate) async fn redeem(&self, code: &str) -> Result<TokenPair, GrantError> {
        self.grants.redeem(self.redemption(code)).await
    }

    /// A grant's first pair.
    pub(crate) async fn pair(&self) -> TokenPair {
        self.redeem(&self.code().await).await.unwrap()
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<TokenPair, GrantError> {
        self.grants.refresh(token, &self.client, None, None).await
    }

    /// What the resource makes of a pair's access token; a use of it, too.
    pub(crate) async fn look(&self, pair: &TokenPair) -> Option<AccessToken> {
        let hash = TokenHash::of(&pair.access_token);
        self.grants.access_token(hash).await.unwrap()
    }

    pub(crate) async fn works(&self, pair: &TokenPair) -> bool {
        self.look(pair).await.is_some()
    }

    /// Every key in the store that starts with `prefix`.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let all = self.store.scan(prefix, None, 1000).await.unwrap();
        all.into_iter().map(|(key, _)| key).collect()
    }
}

pub(crate) fn is_invalid<T>(result: &Result<T, GrantError>) -> bool {
    matches!(result, Err(GrantError::Invalid(_)))
}

/// Runs a future on each of `count` threads, as the guard's workers would, all started at once.
pub(crate) fn in_parallel<T: Send>(count: usize, run: impl AsyncFn() -> T + Sync) -> Vec<T> {
    let gate = Barrier::new(count);
    let worker = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        gate.wait();
        runtime.block_on(run())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
