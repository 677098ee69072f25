//! The authorization server that MCP clients see: discovery, registration, authorize, consent,
//! tokens, revocation. A file per noun of the RFCs.

mod answer;
mod authorize;
mod browser;
mod callback;
mod client;
mod client_authentication;
mod consent;
mod departure;
mod error;
#[cfg(test)]
mod federated;
mod figures;
#[cfg(test)]
mod fixture;
mod metadata;
mod problem;
mod redirect_uri;
mod registration;
mod revocation;
mod scope;
mod sign_in_problem;
mod strict_json;
mod target;
mod token;
#[cfg(test)]
mod token_client;
mod transaction;

use std::sync::Arc;

use secrecy::SecretString;

use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::grant::{Grants, ResourceUri};
use crate::http::{ExternalUrl, Inbound, Origins, Reply};
use crate::identity::{IdentityProviders, ProviderKind};
use crate::policy::rate_limit::RateLimit;
use crate::store::Store;

use client::Clients;
use transaction::Transactions;

pub use figures::Figures;
pub use redirect_uri::RedirectPattern;

/// Who may register a client (RFC 7591).
#[derive(Clone)]
pub enum RegistrationPolicy {
    Open,
    /// Only with this initial access token (RFC 7591 §3).
    Token(SecretString),
    Off,
}

/// What the authorization server needs to know.
#[derive(Clone)]
pub struct Settings {
    pub external_url: ExternalUrl,
    /// The one guarded endpoint.
    pub resource: ResourceUri,
    /// Shown on the consent page: the wrapped server's name for people.
    pub server_name: String,
    pub registration: RegistrationPolicy,
    /// `--allowed-redirect-uris`: empty means any that the rules permit.
    pub allowed_redirect_uris: Vec<RedirectPattern>,
}

/// The endpoints that [`AuthorizationServer::handle`] serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// RFC 8414 and its OIDC alias.
    Metadata,
    Register,
    Authorize,
    /// `/.auth/continue`: the choice of an identity provider, and Cancel.
    Continue,
    /// `/.auth/<provider>/callback`: back from an identity provider.
    Callback(ProviderKind),
    /// `/.auth/password`: consent and local sign-in in one form.
    Password,
    Token,
    Revoke,
}

impl Endpoint {
    /// The callback of the provider of that name; whether it is configured is seen later.
    pub fn callback(provider: &str) -> Option<Self> {
        ProviderKind::parse(provider).map(Self::Callback)
    }
}

/// The authorization server. The files of this room add its endpoints.
pub struct AuthorizationServer {
    settings: Settings,
    clients: Clients,
    transactions: Transactions,
    grants: Grants,
    keyring: Keyring,
    clock: Clock,
    identity: Arc<IdentityProviders>,
    origins: Origins,
    registrations: RateLimit,
    authorizations: RateLimit,
    failed_redemptions: RateLimit,
    departures: RateLimit,
    figures: Figures,
}

impl AuthorizationServer {
    pub fn new(
        settings: Settings,
        store: Store,
        keyring: Keyring,
        grants: Grants,
        clock: Clock,
        identity: Arc<IdentityProviders>,
        origins: Origins,
    ) -> Arc<Self> {
        let external_url = settings.external_url.clone();
        Arc::new(Self {
            settings,
            clients: Clients::new(store.clone(), clock.clone()),
            transactions: Transactions::new(store, clock.clone(), external_url),
            grants,
            keyring,
            clock,
            identity,
            origins,
            registrations: registration::rate_limit(),
            authorizations: authorize::rate_limit(),
            failed_redemptions: token::rate_limit(),
            departures: departure::rate_limit(),
            figures: Figures::default(),
        })
    }

    /// Answers one request. The method has been checked by the router, and CORS and security
    /// headers are set there; `Cache-Control` is set here.
    pub async fn handle(&self, endpoint: Endpoint, request: Inbound) -> Reply {
        match endpoint {
            Endpoint::Metadata => self.metadata(),
            Endpoint::Register => self.register(request).await,
            Endpoint::Authorize => self.authorize(request).await,
            Endpoint::Continue => self.proceed(request).await,
            Endpoint::Callback(provider) => self.callback(provider, request).await,
            Endpoint::Password => self.password(request).await,
            Endpoint::Token => self.token(request).await,
            Endpoint::Revoke => self.revoke(request).await,
        }
    }

    /// What it has to tell of itself.
    pub const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// How often somebody had to wait, by what for.
    pub fn limited(&self) -> [(&'static str, u64); 5] {
        [
            ("registration", self.registrations.refused()),
            ("authorization", self.authorizations.refused()),
            ("departure", self.departures.refused()),
            ("password", self.figures.braked.total()),
            ("token", self.failed_redemptions.refused()),
        ]
    }

    /// Removes clients that were never used. The `app` calls it every few minutes.
    pub async fn sweep(&self) {
        if let Err(error) = self.clients.sweep(&self.grants).await {
            tracing::warn!(%error, "cannot sweep the registered clients");
        }
    }
}
