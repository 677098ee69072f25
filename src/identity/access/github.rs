//! The rules for accounts at GitHub.

use super::{NOT_LISTED, Refusal};
use crate::identity::Identity;

/// Where an identity keeps the login by which a list of users may know it. Held only if the login
/// is this account's for good: what is merely displayed may have been another's.
pub(in crate::identity) const PINNED_LOGIN: &str = "/login";

/// Who may come in with an account at GitHub. Any one rule suffices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitHubRules {
    /// `--allow-any-user` while there is no other rule.
    pub anybody: bool,
    /// Logins, in lower case.
    pub users: Vec<String>,
    pub orgs: Vec<OrgRule>,
}

/// `org` or `org:team`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgRule {
    pub org: String,
    pub team: Option<String>,
}

impl GitHubRules {
    /// A login of `--github-allowed-users`, in lower case; the error says what is wrong.
    pub fn login(text: &str) -> Result<String, String> {
        name(text).ok_or_else(|| format!("{text:?} is no GitHub login; write one like octocat"))
    }

    /// Whether the list of users names this login. That alone lets nobody in: see
    /// [`PINNED_LOGIN`].
    pub(in crate::identity) fn lists(&self, login: &str) -> bool {
        let mut users = self.users.iter();
        users.any(|user| user.eq_ignore_ascii_case(login))
    }

    /// Whether anyone of the rules lets this person in.
    pub(in crate::identity) fn admit(&self, identity: &Identity) -> Result<(), Refusal> {
        let login = identity.claims.get(PINNED_LOGIN);
        let listed = login
            .and_then(|login| login.as_str())
            .is_some_and(|login| self.lists(login));
        if self.anybody || listed || self.orgs.iter().any(|rule| rule.is_held_by(identity)) {
            return Ok(());
        }
        Err(Refusal {
            who: identity.login.clone(),
            missing: self.missing(),
        })
    }

    fn missing(&self) -> String {
        let rules: Vec<_> = self.orgs.iter().map(OrgRule::to_string).collect();
        let orgs = format!(
            "in none of the allowed organisations and teams: {}",
            rules.join(", ")
        );
        match (self.users.is_empty(), self.orgs.is_empty()) {
            (true, true) => "nobody is allowed in with an account at GitHub".to_owned(),
            (false, true) => NOT_LISTED.to_owned(),
            (true, false) => format!("your account is {orgs}"),
            (false, false) => format!("{NOT_LISTED}, and {orgs}"),
        }
    }
}

impl OrgRule {
    /// `acme` or `acme:platform`, the team by its slug; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (org, team) = match text.split_once(':') {
            Some((org, team)) => (org, Some(team)),
            None => (text, None),
        };
        let team = team.map(|team| name(team).ok_or(()));
        match (name(org), team.transpose()) {
            (Some(org), Ok(team)) => Ok(Self { org, team }),
            _ => Err(format!(
                "{text:?} is no organisation of GitHub's; write `acme`, or `acme:platform` for a \
                 team by the name in its address"
            )),
        }
    }

    fn is_held_by(&self, identity: &Identity) -> bool {
        identity.groups.contains(&self.to_string())
    }
}

/// As it is written in a rule, and in [`Identity::groups`].
impl std::fmt::Display for OrgRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.team {
            None => f.write_str(&self.org),
            Some(team) => write!(f, "{}:{team}", self.org),
        }
    }
}

/// Logins, organisations and slugs are of these characters; `-` and `_` within.
fn name(text: &str) -> Option<String> {
    let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = !text.is_empty() && text.len() <= 100 && text.bytes().all(ordinary);
    is_name.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::Subject;

    fn rules(users: &[&str], orgs: &[&str]) -> GitHubRules {
        GitHubRules {
            anybody: false,
            users: users
                .iter()
                .map(|user| GitHubRules::login(user).unwrap())
                .collect(),
            orgs: orgs
                .iter()
                .map(|org| OrgRule::parse(org).unwrap())
                .collect(),
        }
    }

    /// The login pinned to the account, or somebody who is only called so.
    fn person(login: &str, pinned: bool, groups: &[&str]) -> Identity {
        let pin = pinned.then(|| (PINNED_LOGIN.to_owned(), json!(login)));
        Identity {
            subject: Subject::github(None, 7),
            login: login.to_owned(),
            email: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            claims: pin.into_iter().collect(),
        }
    }

    fn missing(rules: &GitHubRules, person: &Identity) -> String {
        let refusal = rules.admit(person).unwrap_err();
        assert_eq!(refusal.who, person.login);
        refusal.missing
    }

    #[test]
    fn a064_without_rules_nobody_comes_in() {
        let nobody = GitHubRules::default();
        let person = person("alice", true, &["acme"]);
        assert_eq!(
            missing(&nobody, &person),
            "nobody is allowed in with an account at GitHub"
        );
        let anybody = GitHubRules {
            anybody: true,
            ..nobody
        };
        assert_eq!(anybody.admit(&person), Ok(()));
    }

    #[test]
    fn a_listed_login_comes_in_whatever_its_case_and_only_whole() {
        let rules = rules(&["Alice"], &[]);
        assert_eq!(rules.admit(&person("alice", true, &[])), Ok(()));
        assert_eq!(rules.admit(&person("ALICE", true, &[])), Ok(()));
        for login in ["alice2", "malice", "", "al", "alice\n", "\u{212a}alice"] {
            assert!(rules.admit(&person(login, true, &[])).is_err(), "{login:?}");
        }
    }

    #[test]
    fn a062_who_is_only_called_like_a_listed_user_stays_out() {
        let rules = rules(&["alice"], &[]);
        let refused = missing(&rules, &person("alice", false, &[]));
        assert_eq!(refused, "your account is not on the list of allowed users");
    }

    #[test]
    fn a061_an_organisation_or_a_team_of_the_rules_suffices() {
        let rules = rules(&[], &["Acme", "beta:Platform"]);
        for (groups, admitted) in [
            (&["acme"][..], true),
            (&["beta:platform"], true),
            (&["x", "acme"], true),
            (&["beta"], false),
            (&["beta:other"], false),
            (&["acme:platform"], false),
            (&["acme2"], false),
            (&[""], false),
            (&[], false),
        ] {
            let outcome = rules.admit(&person("alice", true, groups));
            assert_eq!(outcome.is_ok(), admitted, "{groups:?}");
        }
    }

    #[test]
    fn a_refusal_names_organisations_and_no_other_users() {
        let orgs = rules(&[], &["acme", "beta:platform"]);
        assert_eq!(
            missing(&orgs, &person("mallory", true, &[])),
            "your account is in none of the allowed organisations and teams: acme, beta:platform"
        );
        let both = rules(&["alice"], &["acme"]);
        assert_eq!(
            missing(&both, &person("mallory", true, &[])),
            "your account is not on the list of allowed users, \
             and in none of the allowed organisations and teams: acme"
        );
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let team = OrgRule::parse("ACME:Platform_1").unwrap();
        assert_eq!(team.to_string(), "acme:platform_1");
        for text in [
            "", ":", "acme:", ":x", "a:b:c", "a/b", "..", "a b", "a?", "ä",
        ] {
            assert!(OrgRule::parse(text).is_err(), "{text:?}");
        }
        for text in ["", "@alice", "a@b.com", "alice ", "*"] {
            assert!(GitHubRules::login(text).is_err(), "{text:?}");
        }
    }
}
