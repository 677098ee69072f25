//! The rules for accounts at an OIDC issuer, Google included.

use serde_json::Value;

use super::{ClaimRule, NOT_LISTED, Refusal, UserGlob, UserId, Workspace, pointer};
use crate::identity::Identity;

/// Google's claim for the workspace that an account belongs to. The domain of an e-mail address
/// says nothing of the kind.
const WORKSPACE: &str = "/hd";

/// Who may come in with an account at an OIDC issuer, Google included. Any one rule suffices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OidcRules {
    /// `--allow-any-user` while there is no other rule.
    pub anybody: bool,
    /// JSON pointer to the claim that users and globs are compared with. `/email` is among an
    /// identity's claims only if the issuer vouches for it.
    pub user_id_field: String,
    pub users: Vec<UserId>,
    pub user_globs: Vec<UserGlob>,
    /// `--google-allowed-workspaces`: values of the `hd` claim.
    pub workspaces: Vec<Workspace>,
    /// Each is a conjunction.
    pub claims: Vec<Vec<ClaimRule>>,
}

impl OidcRules {
    /// `--oidc-user-id-field`; the error says what is wrong.
    pub fn user_id_field(text: &str) -> Result<String, String> {
        pointer(text)
    }

    /// The claims that these rules look at, to be kept with the identity.
    pub(in crate::identity) fn pointers(&self) -> Vec<&str> {
        let mut pointers = Vec::new();
        if self.names_users() {
            pointers.push(self.user_id_field.as_str());
        }
        if !self.workspaces.is_empty() {
            pointers.push(WORKSPACE);
        }
        let claims = self.claims.iter().flatten();
        pointers.extend(claims.map(|rule| rule.pointer.as_str()));
        pointers.sort_unstable();
        pointers.dedup();
        pointers
    }

    /// Whether anyone of the rules lets this person in.
    pub(in crate::identity) fn admit(&self, identity: &Identity) -> Result<(), Refusal> {
        let admitted = self.anybody
            || self.lists(identity)
            || self.houses(identity)
            || self.claims.iter().any(|rules| are_held(rules, identity));
        if admitted {
            return Ok(());
        }
        Err(Refusal {
            who: identity.email.as_ref().unwrap_or(&identity.login).clone(),
            missing: self.missing(identity),
        })
    }

    fn names_users(&self) -> bool {
        !self.users.is_empty() || !self.user_globs.is_empty()
    }

    fn lists(&self, identity: &Identity) -> bool {
        let claim = string(identity, &self.user_id_field);
        let Some(user) = claim.and_then(|claim| UserId::parse(claim).ok()) else {
            return false;
        };
        self.users.contains(&user) || self.user_globs.iter().any(|glob| glob.matches(&user))
    }

    fn houses(&self, identity: &Identity) -> bool {
        let claim = string(identity, WORKSPACE);
        claim
            .and_then(|claim| Workspace::parse(claim).ok())
            .is_some_and(|workspace| self.workspaces.contains(&workspace))
    }

    fn missing(&self, identity: &Identity) -> String {
        let mut missing = Vec::new();
        if self.names_users() {
            missing.push(self.not_listed(identity));
        }
        if !self.workspaces.is_empty() {
            let names: Vec<_> = self.workspaces.iter().map(Workspace::as_str).collect();
            let names = names.join(", ");
            missing.push(format!(
                "your account is in none of the allowed workspaces: {names}"
            ));
        }
        if !self.claims.is_empty() {
            missing.push(self.lacks_claims());
        }
        if missing.is_empty() {
            return "nobody is allowed in with an account there".to_owned();
        }
        missing.join(", and ")
    }

    fn not_listed(&self, identity: &Identity) -> String {
        match (string(identity, &self.user_id_field), &*self.user_id_field) {
            (Some(_), _) => NOT_LISTED.to_owned(),
            (None, "/email") => {
                "the provider does not vouch for an e-mail address of yours".to_owned()
            }
            (None, field) => format!("the provider does not say your `{}`", name(field)),
        }
    }

    /// Values of claims are left out: they may be people's names.
    fn lacks_claims(&self) -> String {
        let rules = self.claims.iter().flatten();
        let mut names: Vec<_> = rules
            .map(|rule| format!("`{}`", name(&rule.pointer)))
            .collect();
        names.sort_unstable();
        names.dedup();
        format!(
            "what the provider says of your {} is not what is asked for",
            names.join(", ")
        )
    }
}

/// An empty conjunction would hold for everybody.
fn are_held(rules: &[ClaimRule], identity: &Identity) -> bool {
    let held = |rule: &ClaimRule| rule.is_held_by(identity.claims.get(&rule.pointer));
    !rules.is_empty() && rules.iter().all(held)
}

fn string<'a>(identity: &'a Identity, pointer: &str) -> Option<&'a str> {
    identity.claims.get(pointer).and_then(Value::as_str)
}

fn name(pointer: &str) -> &str {
    pointer.strip_prefix('/').unwrap_or(pointer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::Subject;

    fn person(claims: &Value) -> Identity {
        let claims = claims.as_object().unwrap().clone();
        Identity {
            subject: Subject::google("7"),
            login: "somebody".to_owned(),
            email: claims
                .get("/email")
                .and_then(Value::as_str)
                .map(str::to_owned),
            groups: Vec::new(),
            claims: claims.into_iter().collect(),
        }
    }

    fn rules() -> OidcRules {
        OidcRules {
            user_id_field: "/email".to_owned(),
            ..OidcRules::default()
        }
    }

    fn users(users: &[&str], globs: &[&str]) -> OidcRules {
        OidcRules {
            users: users
                .iter()
                .map(|user| UserId::parse(user).unwrap())
                .collect(),
            user_globs: globs
                .iter()
                .map(|glob| UserGlob::parse(glob).unwrap())
                .collect(),
            ..rules()
        }
    }

    fn workspace(domain: &str) -> OidcRules {
        OidcRules {
            workspaces: vec![Workspace::parse(domain).unwrap()],
            ..rules()
        }
    }

    fn claims(texts: &[&str]) -> OidcRules {
        OidcRules {
            claims: texts
                .iter()
                .map(|text| ClaimRule::parse_all(text).unwrap())
                .collect(),
            ..rules()
        }
    }

    #[track_caller]
    fn check(rules: &OidcRules, table: &[(Value, bool)]) {
        for (claims, admitted) in table {
            let outcome = rules.admit(&person(claims));
            assert_eq!(outcome.is_ok(), *admitted, "{claims}");
        }
    }

    #[test]
    fn a064_without_rules_nobody_comes_in() {
        let alice = person(&json!({"/email": "alice@a.com"}));
        let refusal = rules().admit(&alice).unwrap_err();
        assert_eq!(refusal.who, "alice@a.com");
        assert_eq!(
            refusal.missing,
            "nobody is allowed in with an account there"
        );
        let anybody = OidcRules {
            anybody: true,
            ..rules()
        };
        assert_eq!(anybody.admit(&alice), Ok(()));
        let nothing_asked = OidcRules {
            claims: vec![Vec::new()],
            ..rules()
        };
        assert!(nothing_asked.admit(&alice).is_err());
    }

    #[test]
    fn a059_users_are_compared_whole() {
        check(
            &users(&["Alice@company.com"], &[]),
            &[
                (json!({"/email": "alice@company.com"}), true),
                (json!({"/email": "ALICE@COMPANY.COM"}), true),
                (json!({"/email": "a@evil.com@company.com"}), false),
                (json!({"/email": "alice@company.com@evil.com"}), false),
                (json!({"/email": "alice@company.com.evil"}), false),
                (json!({"/email": "alice@company.com."}), false),
                (json!({"/email": "alice@company.com\n"}), false),
                (json!({"/email": "malice@company.com"}), false),
                (json!({"/email": ["alice@company.com"]}), false),
                (json!({"/email": null}), false),
                (json!({"/sub": "alice@company.com"}), false),
                (json!({}), false),
            ],
        );
    }

    #[test]
    fn a064_globs_are_anchored_at_both_ends() {
        check(
            &users(&[], &["*@a.com"]),
            &[
                (json!({"/email": "x@a.com"}), true),
                (json!({"/email": "x@a.com.evil"}), false),
                (json!({"/email": "x@a.com\n"}), false),
                (json!({"/email": "x@evil.com@a.com"}), false),
                (json!({}), false),
            ],
        );
    }

    #[test]
    fn a058_an_address_that_nobody_vouches_for_is_not_looked_at() {
        let mut mallory = person(&json!({}));
        mallory.login = "alice@a.com".to_owned();
        let refusal = users(&["alice@a.com"], &[]).admit(&mallory).unwrap_err();
        assert_eq!(
            refusal.missing,
            "the provider does not vouch for an e-mail address of yours"
        );
    }

    #[test]
    fn another_claim_may_be_the_user_id() {
        let by_name = OidcRules {
            user_id_field: "/preferred_username".to_owned(),
            ..users(&["alice"], &[])
        };
        check(
            &by_name,
            &[
                (json!({"/preferred_username": "alice"}), true),
                (json!({"/preferred_username": "Alice"}), false),
                (json!({"/email": "alice"}), false),
            ],
        );
        let refusal = by_name.admit(&person(&json!({}))).unwrap_err();
        assert_eq!(
            refusal.missing,
            "the provider does not say your `preferred_username`"
        );
    }

    #[test]
    fn a060_a_workspace_is_what_the_hd_claim_says_and_not_the_address() {
        check(
            &workspace("company.com"),
            &[
                (json!({"/hd": "company.com"}), true),
                (json!({"/hd": "Company.com"}), true),
                (json!({"/email": "x@company.com"}), false),
                (json!({"/hd": "", "/email": "x@company.com"}), false),
                (json!({"/hd": "sub.company.com"}), false),
                (json!({"/hd": ["company.com"]}), false),
            ],
        );
    }

    #[test]
    fn all_of_a_conjunction_must_hold_and_any_one_conjunction_suffices() {
        check(
            &claims(&["/groups=admin+/dept=x", "/groups=root"]),
            &[
                (json!({"/groups": ["admin"], "/dept": "x"}), true),
                (json!({"/groups": "root"}), true),
                (json!({"/groups": ["admin"]}), false),
                (json!({"/dept": "x"}), false),
                (json!({"/groups": ["admin"], "/dept": "y"}), false),
                (json!({}), false),
            ],
        );
    }

    #[test]
    fn a_refusal_says_what_is_missing_and_names_nobody_else() {
        let all = OidcRules {
            claims: claims(&["/email=boss@a.com+/groups=admin", "/groups=root"]).claims,
            workspaces: workspace("company.com").workspaces,
            ..users(&["alice@a.com"], &[])
        };
        let refusal = all.admit(&person(&json!({"/email": "x@b.com"})));
        assert_eq!(
            refusal.unwrap_err().missing,
            "your account is not on the list of allowed users, \
             and your account is in none of the allowed workspaces: company.com, \
             and what the provider says of your `email`, `groups` is not what is asked for"
        );
        assert_eq!(all.pointers(), ["/email", "/groups", "/hd"]);
        assert_eq!(rules().pointers(), [""; 0]);
    }
}
