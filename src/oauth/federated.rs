//! Sign-ins at a fake GitHub, as a browser goes through them, for this room's tests.

use url::Url;

use crate::identity::access::{GitHubRules, OidcRules};
use crate::identity::{github, oidc};

use super::Endpoint;
use super::fixture::{Answered, Page, Running, form, guard};

pub(super) use crate::identity::github::fake::{Answer, FakeGitHub, TOKEN_ENDPOINT};

/// The account that is let in.
pub(super) const ALICE: (u64, &str) = (7, "alice");

/// Settings for sign-ins there; `alice` is let in.
pub(super) fn github(fake: &FakeGitHub) -> github::Settings {
    github::Settings {
        client_id: "guard-at-github".to_owned(),
        client_secret: "s3cret".into(),
        url: fake.url().clone(),
        api_url: fake.api_url(),
        rules: GitHubRules {
            users: vec![ALICE.1.to_owned()],
            ..GitHubRules::default()
        },
        wants_email: false,
    }
}

/// Settings for sign-ins at an issuer on the fake's address, which never says anything of use.
pub(super) fn issuer(fake: &FakeGitHub) -> oidc::Settings {
    let path = ".well-known/openid-configuration";
    oidc::Settings {
        name: "Acme".to_owned(),
        configuration_url: fake.url().join(path).unwrap(),
        client_id: "guard-at-acme".to_owned(),
        client_secret: None,
        scopes: vec!["openid".to_owned()],
        rules: OidcRules::default(),
        kept_claims: Vec::new(),
    }
}

/// A guard where people sign in at `fake` only.
pub(super) fn guard_with(fake: &FakeGitHub) -> super::fixture::Guard {
    super::fixture::Guard {
        users: Vec::new(),
        github: Some(github(fake)),
        ..guard()
    }
}

impl Page {
    /// Submits the choice.
    pub(super) async fn choose(
        &self,
        running: &Running,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answered {
        let mut all = vec![("request", self.sealed.as_str())];
        all.extend_from_slice(fields);
        let mut sent = vec![("cookie", self.cookie.as_str())];
        sent.extend_from_slice(headers);
        sent.retain(|(_, value)| !value.is_empty());
        running
            .send(Endpoint::Continue, "/.auth/continue", &sent, form(&all))
            .await
    }

    /// Goes to GitHub.
    pub(super) async fn away(&self, running: &Running) -> Away {
        let fields = [("decision", "allow"), ("provider", "github")];
        Away::with(self, &self.choose(running, &fields, &[]).await)
    }
}

/// A browser at GitHub.
#[derive(Clone)]
pub(super) struct Away {
    pub(super) sent: Url,
    /// The one of this sign-in, as in the jar.
    pub(super) cookie: String,
    /// The one of the consent page.
    browser: String,
}

impl Away {
    pub(super) fn with(page: &Page, answer: &Answered) -> Self {
        assert_eq!(answer.status, 303, "{}", answer.body);
        let [cookie] = answer.cookies()[..] else {
            panic!("one cookie, not {:?}", answer.cookies());
        };
        Self {
            sent: Url::parse(answer.header("location")).unwrap(),
            cookie: cookie.to_owned(),
            browser: page.cookie.clone(),
        }
    }

    pub(super) fn state(&self) -> String {
        let mut sent = self.sent.query_pairs();
        let (_, state) = sent.find(|(name, _)| name == "state").unwrap();
        state.into_owned()
    }

    /// The cookies that the browser sends.
    pub(super) fn jar(&self) -> String {
        format!("{}; {}", self.browser, self.cookie)
    }

    /// Comes back with what GitHub says, besides our state.
    pub(super) async fn back(&self, running: &Running, said: &[(&str, &str)]) -> Answered {
        let state = self.state();
        let mut said = said.to_vec();
        said.push(("state", &state));
        returning(running, "github", &form(&said), &self.jar()).await
    }

    /// Comes back with a code.
    pub(super) async fn signed_in(&self, running: &Running) -> Answered {
        self.back(running, &[("code", "from-github")]).await
    }
}

/// GET `/.auth/<provider>/callback?<query>`.
pub(super) async fn returning(
    running: &Running,
    provider: &str,
    query: &str,
    jar: &str,
) -> Answered {
    let target = format!("/.auth/{provider}/callback?{query}");
    let headers: &[(&str, &str)] = if jar.is_empty() {
        &[]
    } else {
        &[("cookie", jar)]
    };
    let endpoint = Endpoint::callback(provider).unwrap();
    running.send(endpoint, &target, headers, "").await
}
