//! Which of the configured organisations and teams the person is in. An invitation that is
//! not accepted is no membership, and neither is one that GitHub does not show to this token, as
//! when the organisation wants single sign-on first.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::api::Api;
use crate::identity::SignInError;
use crate::identity::access::OrgRule;

/// As `GET /user/memberships/orgs/{org}` has it.
#[derive(Deserialize)]
struct Membership {
    state: String,
}

/// As `GET /user/teams` has it.
#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Organization,
}

#[derive(Deserialize)]
struct Organization {
    login: String,
}

/// The rules that the person fulfils, as they are written.
pub(super) async fn groups(api: &Api<'_>, rules: &[OrgRule]) -> Result<Vec<String>, SignInError> {
    let orgs = active_in(api, rules).await?;
    let of_their_orgs = || rules.iter().filter(|rule| orgs.contains(rule.org.as_str()));
    let teams = if of_their_orgs().any(|rule| rule.team.is_some()) {
        teams(api).await?
    } else {
        BTreeSet::new()
    };
    let held = of_their_orgs().map(|rule| (rule, rule.to_string()));
    let held = held.filter(|(rule, name)| rule.team.is_none() || teams.contains(name));
    Ok(held.map(|(_, name)| name).collect())
}

/// Of the organisations in the rules.
async fn active_in<'a>(
    api: &Api<'_>,
    rules: &'a [OrgRule],
) -> Result<BTreeSet<&'a str>, SignInError> {
    let orgs: BTreeSet<&str> = rules.iter().map(|rule| rule.org.as_str()).collect();
    let mut active = BTreeSet::new();
    for org in orgs {
        let membership: Option<Membership> = api.get(&["user", "memberships", "orgs", org]).await?;
        if membership.is_some_and(|membership| membership.state == "active") {
            active.insert(org);
        }
    }
    Ok(active)
}

/// All teams, as they would be written in a rule.
async fn teams(api: &Api<'_>) -> Result<BTreeSet<String>, SignInError> {
    let teams: Option<Vec<Team>> = api.list(&["user", "teams"]).await?;
    let name = |team: Team| format!("{}:{}", team.organization.login, team.slug);
    let teams = teams.unwrap_or_default().into_iter().map(name);
    Ok(teams.map(|team| team.to_ascii_lowercase()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fake::{Answer, FakeGitHub};
    use super::*;
    use crate::http::client::HttpClient;

    async fn held(fake: &FakeGitHub, rules: &[&str]) -> Result<Vec<String>, SignInError> {
        let (http, base) = (HttpClient::default(), fake.api_url());
        let api = Api::new(&http, &base, &"gho_token".into()).unwrap();
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| OrgRule::parse(rule).unwrap())
            .collect();
        groups(&api, &rules).await
    }

    fn team(org: &str, slug: &str) -> Value {
        json!({"slug": slug, "organization": {"login": org}})
    }

    #[tokio::test]
    async fn a061_only_an_active_membership_is_one() {
        let fake = FakeGitHub::start().await;
        fake.member("active", "active").member("pending", "pending");
        fake.on("/api/v3/user/memberships/orgs/sso", Answer::status(403));
        let rules = ["active", "pending", "sso", "absent"];
        assert_eq!(held(&fake, &rules).await.unwrap(), ["active"]);
        // Without a rule for a team nobody asks for teams.
        assert_eq!(fake.asked().len(), 4);
    }

    #[tokio::test]
    async fn a061_a_team_counts_on_any_page_and_in_any_case_within_its_organisation_only() {
        let fake = FakeGitHub::start().await;
        fake.member("acme", "active").member("beta", "active");
        let pages = [
            vec![team("other", "platform"), team("acme", "x")],
            vec![],
            vec![team("BETA", "Platform")],
            vec![team("beta", "ops")],
        ];
        fake.teams(&pages);
        let rules = [
            "acme:platform",
            "acme:x",
            "beta:platform",
            "Beta:Ops",
            "acme",
        ];
        assert_eq!(
            held(&fake, &rules).await.unwrap(),
            ["acme:x", "beta:platform", "beta:ops", "acme"]
        );
    }

    #[tokio::test]
    async fn a061_a_team_of_an_organisation_with_a_pending_membership_does_not_count() {
        let fake = FakeGitHub::start().await;
        fake.member("acme", "pending").member("beta", "active");
        fake.teams(&[vec![team("acme", "platform"), team("beta", "platform")]]);
        let rules = ["acme:platform", "beta:platform"];
        assert_eq!(held(&fake, &rules).await.unwrap(), ["beta:platform"]);
        let fake = FakeGitHub::start().await;
        fake.member("acme", "active");
        assert_eq!(held(&fake, &["acme:platform"]).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a061_trouble_of_github_s_is_no_answer() {
        for path in [
            "/api/v3/user/memberships/orgs/acme",
            "/api/v3/user/teams?per_page=100",
        ] {
            let fake = FakeGitHub::start().await;
            fake.member("acme", "active");
            fake.on(path, Answer::status(500));
            let error = held(&fake, &["acme:platform"]).await.unwrap_err();
            assert!(
                matches!(error, SignInError::Unavailable(_)),
                "{path}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a061_a_later_page_that_fails_fails_the_whole() {
        let fake = FakeGitHub::start().await;
        fake.member("acme", "active");
        fake.teams(&[vec![team("acme", "platform")], vec![]]);
        fake.on("/api/v3/user/teams?page=2", Answer::status(502));
        let error = held(&fake, &["acme:platform"]).await.unwrap_err();
        assert!(matches!(error, SignInError::Unavailable(_)), "{error}");
    }
}
