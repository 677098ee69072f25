//! The identity providers that are configured, behind one face.

use super::providers::{Callback, Departure, Handshake, SignInError};
use super::{Identity, ProviderKind, Refusal, Settings, Subject, github, oidc};
use crate::clock::Clock;
use crate::http::ExternalUrl;
use crate::http::client::HttpClient;
use crate::store::Store;

/// What providers are made with, at the start and at every reload.
pub(super) struct Equipment {
    pub(super) external: ExternalUrl,
    pub(super) http: HttpClient,
    pub(super) store: Store,
    pub(super) clock: Clock,
}

impl Equipment {
    fn callback_url(&self, kind: ProviderKind) -> String {
        let path = format!("/.auth/{}/callback", kind.name());
        self.external.join(&path)
    }
}

/// In the order of the page.
pub(super) struct Federated(Vec<(ProviderKind, Provider)>);

enum Provider {
    GitHub(github::Provider),
    Issuer(Box<Issuer>),
}

struct Issuer {
    provider: oidc::Provider,
    /// Of a generic issuer: what stands before `/.well-known` in its address. Its own name may have
    /// a slash more.
    address: Option<String>,
}

impl Federated {
    /// Nobody is asked anything yet.
    pub(super) fn new(settings: Settings, equipment: &Equipment) -> Self {
        let github = settings.github.map(|settings| github(settings, equipment));
        let mut providers: Vec<_> = github.into_iter().collect();
        let google = settings.google.map(|google| (ProviderKind::Google, google));
        let oidc = settings.oidc.map(|oidc| (ProviderKind::Oidc, oidc));
        let issuers = google.into_iter().chain(oidc);
        providers.extend(issuers.map(|(kind, settings)| issuer(kind, settings, equipment)));
        Self(providers)
    }

    pub(super) fn choices(&self) -> Vec<(ProviderKind, String)> {
        let choice = |(kind, provider): &(ProviderKind, Provider)| (*kind, provider.name());
        self.0.iter().map(choice).collect()
    }

    pub(super) async fn begin(
        &self,
        kind: ProviderKind,
        state: &str,
        other_account: bool,
    ) -> Result<Departure, SignInError> {
        match self.configured(kind)? {
            Provider::GitHub(github) => github.begin(state, other_account),
            Provider::Issuer(issuer) => issuer.provider.begin(state, other_account).await,
        }
    }

    pub(super) async fn complete(
        &self,
        kind: ProviderKind,
        handshake: &Handshake,
        callback: Callback<'_>,
    ) -> Result<Identity, SignInError> {
        match self.configured(kind)? {
            Provider::GitHub(github) => github.complete(handshake, callback).await,
            Provider::Issuer(issuer) => issuer.provider.complete(handshake, callback).await,
        }
    }

    /// A provider that is not configured any more admits nobody.
    pub(super) fn admits(&self, kind: ProviderKind, identity: &Identity) -> Result<(), Refusal> {
        let stranger = || Refusal {
            who: identity.login.clone(),
            missing: "accounts of the provider that you signed in with are not let in any more"
                .to_owned(),
        };
        match self.find(kind).ok_or_else(stranger)? {
            Provider::GitHub(github) => github.admits(identity),
            Provider::Issuer(issuer) if issuer.is_home_of(&identity.subject) => {
                issuer.provider.admits(identity)
            }
            Provider::Issuer(_) => Err(stranger()),
        }
    }

    fn find(&self, kind: ProviderKind) -> Option<&Provider> {
        let mut providers = self.0.iter();
        let found = providers.find(|(other, _)| *other == kind);
        found.map(|(_, provider)| provider)
    }

    fn configured(&self, kind: ProviderKind) -> Result<&Provider, SignInError> {
        self.find(kind)
            .ok_or_else(|| SignInError::Unavailable(format!("{} is not configured", kind.name())))
    }
}

impl Provider {
    fn name(&self) -> String {
        match self {
            Self::GitHub(github) => github.name(),
            Self::Issuer(issuer) => issuer.provider.name().to_owned(),
        }
    }
}

impl Issuer {
    fn is_home_of(&self, subject: &Subject) -> bool {
        let Some(address) = &self.address else {
            return subject.provider() == Some(ProviderKind::Google);
        };
        let named = subject.as_str().strip_prefix("oidc:");
        let named = named.and_then(|named| named.split_once('#'));
        named.is_some_and(|(issuer, _)| issuer.strip_suffix('/').unwrap_or(issuer) == address)
    }
}

fn github(settings: github::Settings, equipment: &Equipment) -> (ProviderKind, Provider) {
    let kind = ProviderKind::GitHub;
    let provider = github::Provider::new(
        settings,
        equipment.callback_url(kind),
        equipment.http.clone(),
        equipment.store.clone(),
    );
    (kind, Provider::GitHub(provider))
}

fn issuer(
    kind: ProviderKind,
    settings: oidc::Settings,
    equipment: &Equipment,
) -> (ProviderKind, Provider) {
    let url = settings.configuration_url.as_str();
    let address = url.strip_suffix(oidc::WELL_KNOWN).unwrap_or(url).to_owned();
    let provider = oidc::Provider::new(
        settings,
        kind,
        equipment.callback_url(kind),
        equipment.http.clone(),
        equipment.clock.clone(),
    );
    let issuer = Issuer {
        provider,
        address: (kind == ProviderKind::Oidc).then_some(address),
    };
    (kind, Provider::Issuer(Box::new(issuer)))
}
