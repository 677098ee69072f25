//! All ways to sign in, as one: what `oauth` and `resource` ask.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::federated::{Equipment, Federated};
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
    federated: ArcSwap<Federated>,
    equipment: Equipment,
}

impl IdentityProviders {
    /// `external` makes the callback URLs: `<external>/.auth/<provider>/callback`.
    pub fn new(
        mut settings: Settings,
        external: ExternalUrl,
        client: HttpClient,
        store: Store,
        clock: Clock,
    ) -> Arc<Self> {
        let equipment = Equipment {
            external,
            http: client,
            store,
            clock,
        };
        let local = LocalUsers::new(std::mem::take(&mut settings.local));
        Arc::new(Self {
            local,
            federated: ArcSwap::from_pointee(Federated::new(settings, &equipment)),
            equipment,
        })
    }

    /// Takes over new settings: users, rules, client secrets. What was learnt of an issuer is
    /// learnt anew; the brakes on guessing passwords stay.
    pub fn reload(&self, mut settings: Settings) {
        self.local.replace(std::mem::take(&mut settings.local));
        let federated = Federated::new(settings, &self.equipment);
        self.federated.store(Arc::new(federated));
    }

    /// Local users.
    pub const fn local(&self) -> &LocalUsers {
        &self.local
    }

    /// The providers there are, with their names for people, in the order of the page.
    pub fn choices(&self) -> Vec<(ProviderKind, String)> {
        self.federated.load().choices()
    }

    /// Where to send the browser. `state` is ours, and all that the provider hears of the request;
    /// `other_account` asks the provider to let the person choose an account.
    pub async fn begin(
        &self,
        kind: ProviderKind,
        state: &str,
        other_account: bool,
    ) -> Result<Departure, SignInError> {
        let federated = self.federated.load_full();
        federated.begin(kind, state, other_account).await
    }

    /// Who came back. An `Ok` has passed the rules.
    pub async fn complete(
        &self,
        kind: ProviderKind,
        handshake: &Handshake,
        callback: Callback<'_>,
    ) -> Result<Identity, SignInError> {
        let federated = self.federated.load_full();
        let identity = federated.complete(kind, handshake, callback).await?;
        // The rules may have changed while the provider was asked.
        self.admits(&identity).map_err(SignInError::Refused)?;
        Ok(identity)
    }

    /// Whether the rules, as they are now, let this person in, by what was known of them when they
    /// signed in. Cheap: no lock that anybody waits for, no I/O.
    pub fn admits(&self, identity: &Identity) -> Result<(), Refusal> {
        if let Some(kind) = identity.subject.provider() {
            return self.federated.load().admits(kind, identity);
        }
        if self.local.knows(&identity.subject) {
            return Ok(());
        }
        Err(Refusal {
            who: identity.login.clone(),
            missing: "this user is no longer there".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::identity::access::{ClaimRule, GitHubRules, OidcRules};
    use crate::identity::github::fake::FakeGitHub;
    use crate::identity::local::{LocalUser, PasswordSecret};
    use crate::identity::testing::providers;
    use crate::identity::{Subject, github, oidc};

    fn local(names: &[&str]) -> Settings {
        let user = |name: &&str| LocalUser {
            name: (*name).to_owned(),
            secret: PasswordSecret::Plain("violet-anchor".into()),
        };
        Settings {
            local: names.iter().map(user).collect(),
            ..Settings::default()
        }
    }

    fn github(url: &str, user: &str) -> github::Settings {
        github::Settings {
            client_id: "client-1".to_owned(),
            client_secret: "s3cret".into(),
            url: Url::parse(url).unwrap(),
            api_url: Url::parse(url).unwrap().join("api/v3").unwrap(),
            rules: GitHubRules {
                users: vec![user.to_owned()],
                ..GitHubRules::default()
            },
            wants_email: false,
        }
    }

    fn issuer(name: &str, address: &str) -> oidc::Settings {
        let url = format!("{address}/.well-known/openid-configuration");
        oidc::Settings {
            name: name.to_owned(),
            configuration_url: Url::parse(&url).unwrap(),
            client_id: "client-1".to_owned(),
            client_secret: None,
            scopes: vec!["openid".to_owned()],
            rules: OidcRules {
                claims: vec![ClaimRule::parse_all("/groups=admin").unwrap()],
                ..OidcRules::default()
            },
            kept_claims: Vec::new(),
        }
    }

    fn all() -> Settings {
        Settings {
            github: Some(github("https://github.com", "alice")),
            google: Some(issuer("Google", "https://accounts.google.com")),
            oidc: Some(issuer("Corp", "https://sso.corp.test/realm")),
            ..local(&["owner"])
        }
    }

    /// Somebody whom all rules of `all()` let in.
    fn person(subject: Subject) -> Identity {
        let claims = json!({"/login": "alice", "/groups": ["admin"]});
        Identity {
            subject,
            login: "alice".to_owned(),
            email: None,
            groups: Vec::new(),
            claims: claims.as_object().unwrap().clone().into_iter().collect(),
        }
    }

    #[test]
    fn the_choices_are_in_the_order_of_the_page() {
        let names = |settings| -> Vec<String> {
            let choices = providers(settings).choices().into_iter();
            choices
                .map(|(kind, name)| format!("{} {name}", kind.name()))
                .collect()
        };
        assert_eq!(
            names(all()),
            ["github GitHub", "google Google", "oidc Corp"]
        );
        let enterprise = Settings {
            github: Some(github("https://ghe.test:8443", "alice")),
            ..Settings::default()
        };
        assert_eq!(names(enterprise), ["github GitHub (ghe.test:8443)"]);
        assert_eq!(names(local(&["owner"])), [""; 0]);
    }

    #[test]
    fn a065_only_accounts_of_what_is_configured_now_are_admitted() {
        let settings = || {
            [
                local(&["owner"]),
                all(),
                Settings {
                    github: Some(github("https://ghe.test", "alice")),
                    oidc: Some(issuer("Corp", "https://other.corp.test/realm")),
                    ..local(&["bob"])
                },
            ]
        };
        for (subject, admitted) in [
            (Subject::local("owner"), [true, true, false]),
            (Subject::local("bob"), [false, false, true]),
            (Subject::local("alice"), [false; 3]),
            (Subject::github(None, 7), [false, true, false]),
            (Subject::github(Some("ghe.test"), 7), [false, false, true]),
            (Subject::google("7"), [false, true, false]),
            (
                Subject::oidc("https://sso.corp.test/realm", "7"),
                [false, true, false],
            ),
            (
                Subject::oidc("https://sso.corp.test/realm/", "7"),
                [false, true, false],
            ),
            (
                Subject::oidc("https://sso.corp.test/realm2", "7"),
                [false; 3],
            ),
            (
                Subject::oidc("https://sso.corp.test", "/realm#7"),
                [false; 3],
            ),
            (
                Subject::oidc("https://other.corp.test/realm", "7"),
                [false, false, true],
            ),
        ] {
            let person = person(subject);
            for (settings, admitted) in settings().into_iter().zip(admitted) {
                let outcome = providers(settings).admits(&person);
                assert_eq!(outcome.is_ok(), admitted, "{}", person.subject);
            }
        }
    }

    #[test]
    fn a065_a_reload_changes_who_is_admitted_at_once() {
        let providers = providers(all());
        let (owner, alice) = (Identity::local("owner"), person(Subject::github(None, 7)));
        assert!(providers.admits(&owner).is_ok() && providers.admits(&alice).is_ok());
        providers.reload(Settings {
            github: Some(github("https://github.com", "bob")),
            ..local(&["bob"])
        });
        let refusal = providers.admits(&owner).unwrap_err();
        assert_eq!(
            (&*refusal.who, &*refusal.missing),
            ("owner", "this user is no longer there")
        );
        assert!(providers.admits(&alice).is_err());
        assert_eq!(providers.choices().len(), 1);
        providers.reload(all());
        assert!(providers.admits(&owner).is_ok() && providers.admits(&alice).is_ok());
    }

    #[tokio::test]
    async fn a_sign_in_goes_to_the_provider_that_was_chosen() {
        let fake = FakeGitHub::start().await;
        fake.account(7, "alice");
        let providers = providers(Settings {
            github: Some(github(fake.url().as_str(), "alice")),
            ..Settings::default()
        });
        let departure = providers
            .begin(ProviderKind::GitHub, "s", false)
            .await
            .unwrap();
        let callback_url = "redirect_uri=https%3A%2F%2Fguard.test%2F.auth%2Fgithub%2Fcallback";
        assert!(departure.url.contains(callback_url), "{}", departure.url);
        let callback = Callback {
            code: "c",
            iss: None,
        };
        let (kind, handshake) = (ProviderKind::GitHub, &departure.handshake);
        let identity = providers.complete(kind, handshake, callback).await.unwrap();
        assert!(providers.admits(&identity).is_ok());
        for kind in [ProviderKind::Google, ProviderKind::Oidc] {
            let began = providers.begin(kind, "s", false).await.map(|_| ());
            let completed = providers
                .complete(kind, handshake, callback)
                .await
                .map(|_| ());
            for outcome in [began, completed] {
                assert!(
                    matches!(outcome, Err(SignInError::Unavailable(_))),
                    "{outcome:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a065_rules_that_change_during_a_sign_in_hold_for_it() {
        let fake = FakeGitHub::start().await;
        fake.account(7, "alice");
        let settings = |user| Settings {
            github: Some(github(fake.url().as_str(), user)),
            ..Settings::default()
        };
        let providers = providers(settings("alice"));
        let departure = providers
            .begin(ProviderKind::GitHub, "s", false)
            .await
            .unwrap();
        let held = fake.hold();
        let (kind, handshake) = (ProviderKind::GitHub, &departure.handshake);
        let callback = Callback {
            code: "c",
            iss: None,
        };
        let reload = async {
            held.arrived().await;
            providers.reload(settings("bob"));
            held.let_go();
        };
        let sign_in = providers.complete(kind, handshake, callback);
        let (outcome, ()) = tokio::join!(sign_in, reload);
        assert!(
            matches!(outcome, Err(SignInError::Refused(_))),
            "{outcome:?}"
        );
    }
}
