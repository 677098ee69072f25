//! Any OIDC issuer (OIDC Core 1.0, Discovery 1.0). Google is a preset of it.

mod claims;
mod discovery;
mod document;
#[cfg(test)]
pub(crate) mod fake_issuer;
mod id_token;
#[cfg(test)]
mod id_token_tests;
mod json;
mod keys;
#[cfg(test)]
mod tests;
mod userinfo;

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use url::Url;

use super::access::OidcRules;
use super::code_flow::{CodeFlow, Tokens};
use super::{
    Callback, Departure, Handshake, Identity, ProviderKind, Refusal, SignInError, Subject,
};
use crate::clock::Clock;
use crate::crypto::random;
use crate::http::client::HttpClient;

pub(super) use discovery::WELL_KNOWN;

use claims::Claims;
use discovery::{Discovery, Issuer};
use id_token::{Expected, Unverified};

/// How to sign people in with an OIDC issuer.
#[derive(Clone)]
pub struct Settings {
    /// For people: `Google`, or `--oidc-provider-name`.
    pub name: String,
    /// The discovery document. Its `issuer` must be this URL without
    /// `/.well-known/openid-configuration`, or that with a slash at its end.
    pub configuration_url: Url,
    pub client_id: String,
    /// Public clients have none; PKCE is always used.
    pub client_secret: Option<SecretString>,
    /// `openid` is always among them.
    pub scopes: Vec<String>,
    pub rules: OidcRules,
    /// Claims to keep besides those that the rules name (`--header-mapping`), by JSON pointer.
    pub kept_claims: Vec<String>,
}

/// One issuer, and who of its accounts may come in.
pub(in crate::identity) struct Provider {
    settings: Settings,
    kind: ProviderKind,
    callback_url: String,
    http: HttpClient,
    clock: Clock,
    discovery: Discovery,
}

impl Provider {
    /// `callback_url` is the redirect URI that is registered with the issuer. Nothing is asked yet.
    pub(in crate::identity) fn new(
        settings: Settings,
        kind: ProviderKind,
        callback_url: String,
        http: HttpClient,
        clock: Clock,
    ) -> Self {
        Self {
            discovery: Discovery::new(settings.configuration_url.clone(), http.clone()),
            settings,
            kind,
            callback_url,
            http,
            clock,
        }
    }

    /// For people.
    pub(in crate::identity) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where to send the browser; `other_account` has the issuer let people choose.
    pub(in crate::identity) async fn begin(
        &self,
        state: &str,
        other_account: bool,
    ) -> Result<Departure, SignInError> {
        let issuer = self.discovery.issuer().await?;
        let nonce = random::secret();
        let mut more = Vec::new();
        if other_account {
            more.push(("prompt", self.other_account()));
        }
        more.extend(self.workspace_hint().map(|domain| ("hd", domain)));
        let request = self
            .code_flow(&issuer)
            .authorize(state, Some(&nonce), &more)?;
        Ok(Departure {
            url: request.url,
            handshake: Handshake {
                issuer: issuer.name.clone(),
                nonce,
                code_verifier: request.code_verifier,
            },
        })
    }

    /// What makes the issuer ask for an account where a person is signed in already. Every issuer
    /// has to know `login` (`OpenID` Connect Core §15.1); some refuse `select_account`. Google is known
    /// to have it, and needs no password again.
    const fn other_account(&self) -> &'static str {
        match self.kind {
            ProviderKind::Google => "select_account",
            _ => "login",
        }
    }

    /// Who came back, and has passed the rules.
    pub(in crate::identity) async fn complete(
        &self,
        handshake: &Handshake,
        callback: Callback<'_>,
    ) -> Result<Identity, SignInError> {
        let issuer = self.discovery.issuer().await?;
        verify_origin(&issuer, handshake, callback)?;
        // A code can be redeemed once: first whatever may fail and be tried again.
        issuer.keys.prepare().await?;
        let tokens = self
            .code_flow(&issuer)
            .exchange(callback.code, &handshake.code_verifier)
            .await?;
        let id_token = self.verified(&issuer, handshake, &tokens).await?;
        let claims = self.claims(&issuer, id_token, &tokens).await?;
        let identity = self.identity(&issuer, &claims);
        self.admits(&identity).map_err(|refusal| {
            SignInError::Refused(claims.explain(refusal, &self.settings.rules.pointers()))
        })?;
        Ok(identity)
    }

    /// Whether the rules let this person in.
    pub(in crate::identity) fn admits(&self, identity: &Identity) -> Result<(), Refusal> {
        self.settings.rules.admit(identity)
    }

    /// Has Google offer the right account. Who may come in is decided by the claim, for the
    /// parameter is the browser's to change; and it would keep out whom another rule lets in.
    fn workspace_hint(&self) -> Option<&str> {
        let rules = &self.settings.rules;
        let others = !rules.users.is_empty() || !rules.user_globs.is_empty();
        match rules.workspaces.as_slice() {
            [workspace] if self.kind == ProviderKind::Google && !others => Some(workspace.as_str()),
            _ => None,
        }
    }

    fn code_flow(&self, issuer: &Issuer) -> CodeFlow {
        CodeFlow {
            client_id: self.settings.client_id.clone(),
            client_secret: self.settings.client_secret.clone(),
            secret_goes: issuer.secret_goes,
            authorize_url: issuer.authorize_url.clone(),
            token_url: issuer.token_url.clone(),
            callback_url: self.callback_url.clone(),
            scopes: self.settings.scopes.clone(),
            http: self.http.clone(),
        }
    }

    /// The claims of the ID token.
    async fn verified(
        &self,
        issuer: &Issuer,
        handshake: &Handshake,
        tokens: &Tokens,
    ) -> Result<Map<String, Value>, SignInError> {
        let Some(id_token) = &tokens.id_token else {
            let text = "token endpoint: there is no ID token; is `openid` among the scopes?";
            return Err(SignInError::Broken(text.to_owned()));
        };
        let token = Unverified::parse(id_token.expose_secret())?;
        let key = issuer.keys.find(&token.header).await?;
        let expected = Expected {
            issuer: &issuer.name,
            client_id: &self.settings.client_id,
            nonce: &handshake.nonce,
            now: self.clock.now(),
        };
        Ok(token.verify(&key, &expected)?)
    }

    /// The ID token's claims, with those of the userinfo endpoint where they are needed.
    async fn claims(
        &self,
        issuer: &Issuer,
        id_token: Map<String, Value>,
        tokens: &Tokens,
    ) -> Result<Claims, SignInError> {
        let mut claims = Claims::of(id_token, &issuer.name);
        if let Some(url) = &issuer.userinfo_url
            && claims.lack_any(&self.pointers())
        {
            let token = &tokens.access_token;
            claims.add(userinfo::ask(&self.http, url, token, claims.sub()).await?);
        }
        Ok(claims)
    }

    fn identity(&self, issuer: &Issuer, claims: &Claims) -> Identity {
        let subject = match self.kind {
            ProviderKind::Google => Subject::google(claims.sub()),
            ProviderKind::Oidc | ProviderKind::GitHub => Subject::oidc(&issuer.name, claims.sub()),
        };
        let user_id_field = &self.settings.rules.user_id_field;
        claims.identity(subject, user_id_field, &self.pointers())
    }

    /// The claims that matter to anybody.
    fn pointers(&self) -> Vec<&str> {
        let kept = self.settings.kept_claims.iter().map(String::as_str);
        let mut pointers = self.settings.rules.pointers();
        pointers.extend(kept);
        pointers
    }
}

/// The answer must be that of the issuer that was asked. RFC 9207 §2.4: an issuer that says
/// it names itself must do so, and a name must be right whoever sends it.
fn verify_origin(
    issuer: &Arc<Issuer>,
    handshake: &Handshake,
    callback: Callback<'_>,
) -> Result<(), SignInError> {
    let fault = match callback.iss {
        _ if handshake.issuer != issuer.name => "another issuer was asked",
        Some(name) if name != issuer.name => "iss is another issuer",
        None if issuer.signs_answers => "iss is missing",
        _ => return Ok(()),
    };
    Err(SignInError::Untrusted(fault.to_owned()))
}
