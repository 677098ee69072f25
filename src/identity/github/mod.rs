//! GitHub, and GitHub Enterprise Server: an OAuth 2.0 code for a token (there is no ID token), and
//! then a few questions to the REST API. The token is forgotten when they are answered.

mod account;
mod api;
#[cfg(test)]
pub(super) mod fake;
mod link;
mod membership;

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use self::account::{Account, account, verified_email};
use self::api::Api;
use super::access::{GitHubRules, PINNED_LOGIN};
use super::code_flow::{CodeFlow, SecretGoes};
use super::login_pin;
use super::providers::{Callback, Departure, Handshake, SignInError};
use super::{Identity, Refusal, Subject};
use crate::http::client::HttpClient;
use crate::store::Store;

/// For all questions of a sign-in together; each has a deadline of its own.
const ALL_QUESTIONS: Duration = Duration::from_secs(30);

const GITHUB: &str = "https://github.com";

/// How to sign people in with GitHub.
#[derive(Clone)]
pub struct Settings {
    pub client_id: String,
    pub client_secret: SecretString,
    /// `https://github.com`, or an Enterprise Server's address.
    pub url: Url,
    /// `https://api.github.com`, or `<url>/api/v3`.
    pub api_url: Url,
    pub rules: GitHubRules,
    /// Whether anything uses e-mail addresses: only then are they asked for.
    pub wants_email: bool,
}

/// One GitHub.
pub(super) struct Provider {
    flow: CodeFlow,
    url: Url,
    api_url: Url,
    /// Of an Enterprise Server, with its port if it has one of its own.
    host: Option<String>,
    rules: GitHubRules,
    wants_email: bool,
    http: HttpClient,
    store: Store,
}

impl Provider {
    pub(super) fn new(
        settings: Settings,
        callback_url: String,
        http: HttpClient,
        store: Store,
    ) -> Self {
        let scopes = scopes(&settings);
        let flow = CodeFlow {
            client_id: settings.client_id,
            client_secret: Some(settings.client_secret),
            secret_goes: SecretGoes::IntoTheBody,
            authorize_url: below(&settings.url, "authorize"),
            token_url: below(&settings.url, "access_token"),
            callback_url,
            scopes,
            http: http.clone(),
        };
        Self {
            flow,
            host: enterprise_host(&settings.url),
            url: settings.url,
            api_url: settings.api_url,
            rules: settings.rules,
            wants_email: settings.wants_email,
            http,
            store,
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match &self.host {
            None => "GitHub".to_owned(),
            Some(host) => format!("GitHub ({host})"),
        }
    }

    /// Where to send the browser.
    pub(super) fn begin(&self, state: &str, other_account: bool) -> Result<Departure, SignInError> {
        let choose: &[(&str, &str)] = &[("prompt", "select_account")];
        let more = if other_account { choose } else { &[] };
        let request = self.flow.authorize(state, None, more)?;
        Ok(Departure {
            url: request.url,
            handshake: Handshake {
                issuer: self.url.to_string(),
                nonce: String::new(),
                code_verifier: request.code_verifier,
            },
        })
    }

    /// Who came back.
    pub(super) async fn complete(
        &self,
        handshake: &Handshake,
        callback: Callback<'_>,
    ) -> Result<Identity, SignInError> {
        self.confirm(handshake, callback)?;
        let questions = self.inquire(callback.code, &handshake.code_verifier);
        let (account, mut identity) = timeout(ALL_QUESTIONS, questions)
            .await
            .map_err(|_| SignInError::Unavailable(format!("no end within {ALL_QUESTIONS:?}")))??;
        self.pin(&account, &mut identity).await?;
        match self.rules.admit(&identity) {
            Ok(()) => Ok(identity),
            Err(refusal) => Err(SignInError::Refused(self.explain(refusal))),
        }
    }

    /// Whether the rules let this person in, by what is known of them.
    pub(super) fn admits(&self, identity: &Identity) -> Result<(), Refusal> {
        if !self.is_home_of(&identity.subject) {
            return Err(Refusal {
                who: identity.login.clone(),
                missing: format!("your account is not one of {}", self.name()),
            });
        }
        self.rules.admit(identity)
    }

    /// An answer from elsewhere is taken nowhere.
    fn confirm(&self, handshake: &Handshake, callback: Callback<'_>) -> Result<(), SignInError> {
        if handshake.issuer != self.url.as_str() {
            let text = "another GitHub was asked than the one that is configured now";
            return Err(SignInError::Untrusted(text.to_owned()));
        }
        // GitHub publishes no issuer of its own; any there is must at least be on its server.
        let is_own = |iss: &str| Url::parse(iss).is_ok_and(|iss| iss.origin() == self.url.origin());
        match callback.iss {
            Some(iss) if !is_own(iss) => Err(SignInError::Untrusted(
                "the answer names another issuer".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    async fn inquire(
        &self,
        code: &str,
        code_verifier: &str,
    ) -> Result<(Account, Identity), SignInError> {
        let tokens = self.flow.exchange(code, code_verifier).await?;
        let api = Api::new(&self.http, &self.api_url, &tokens.access_token)?;
        let account = account(&api).await?;
        let email = if self.wants_email {
            verified_email(&api).await?
        } else {
            None
        };
        let identity = Identity {
            subject: Subject::github(self.host.as_deref(), account.id),
            login: account.login.clone(),
            email,
            groups: membership::groups(&api, &self.rules.orgs).await?,
            claims: BTreeMap::new(),
        };
        Ok((account, identity))
    }

    /// A listed login is pinned whoever else lets the person in: or it would wait for the next one
    /// who takes it.
    async fn pin(&self, account: &Account, identity: &mut Identity) -> Result<(), SignInError> {
        if !self.rules.lists(&account.login) {
            return Ok(());
        }
        let host = self.host.as_deref().unwrap_or("github.com");
        let is_its_own = login_pin::is_its_own(&self.store, host, &account.login, account.id)
            .await
            .map_err(|error| {
                tracing::error!(%error, "cannot tell whose login this is");
                SignInError::Unavailable(format!("our own records of logins: {error}"))
            })?;
        if is_its_own {
            let login = Value::String(account.login.clone());
            identity.claims.insert(PINNED_LOGIN.to_owned(), login);
        }
        Ok(())
    }

    fn explain(&self, refusal: Refusal) -> Refusal {
        if !self.rules.lists(&refusal.who) {
            return refusal;
        }
        Refusal {
            missing: "the allowed user of this name is another account, which had it before"
                .to_owned(),
            ..refusal
        }
    }

    fn is_home_of(&self, subject: &Subject) -> bool {
        let id = subject.as_str().rsplit([':', '/']).next();
        let id = id.and_then(|id| id.parse().ok());
        id.is_some_and(|id| Subject::github(self.host.as_deref(), id) == *subject)
    }
}

/// As little as possible: without any, a token sees the public profile.
fn scopes(settings: &Settings) -> Vec<String> {
    let orgs = (!settings.rules.orgs.is_empty()).then_some("read:org");
    let email = settings.wants_email.then_some("user:email");
    orgs.into_iter().chain(email).map(str::to_owned).collect()
}

fn below(url: &Url, endpoint: &str) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["login", "oauth", endpoint]);
    }
    url
}

fn enterprise_host(url: &Url) -> Option<String> {
    if url.origin().ascii_serialization() == GITHUB {
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    Some(match url.port() {
        None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    })
}

#[cfg(test)]
mod tests;
