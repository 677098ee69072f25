//! From what an issuer says of a person to an [`Identity`].
//!
//! An e-mail address that the issuer does not vouch for is taken for one that is not there: no rule,
//! no header and no page ever sees it (threat case A-058). Claims that the issuer keeps elsewhere
//! (`_claim_sources`) are not fetched, but their absence is explained.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use crate::identity::{Identity, Refusal, Subject, email};

/// Google's claim for the workspace of an account: only the ID token's counts.
const WORKSPACE: &str = "/hd";

/// What is known of one person.
pub(super) struct Claims {
    /// An object.
    members: Value,
    /// Whether the issuer sends `"true"` where `true` is meant.
    sends_strings: bool,
}

impl Claims {
    /// The claims of a verified ID token.
    pub(super) fn of(id_token: Map<String, Value>, issuer: &str) -> Self {
        let sends_strings = is_cognito(issuer);
        Self {
            members: Value::Object(with_vouched_email(id_token, sends_strings)),
            sends_strings,
        }
    }

    /// Adds what the userinfo endpoint says, where the ID token says nothing. An address and the
    /// word for it come from the same place.
    pub(super) fn add(&mut self, mut userinfo: Map<String, Value>) {
        userinfo.remove("hd");
        let Some(members) = self.members.as_object_mut() else {
            return;
        };
        for (name, value) in with_vouched_email(userinfo, self.sends_strings) {
            let member = members.entry(name).or_insert(Value::Null);
            if member.is_null() {
                *member = value;
            }
        }
    }

    /// Whether the userinfo endpoint might say more of what is needed.
    pub(super) fn lack_any(&self, pointers: &[&str]) -> bool {
        let mut elsewhere = pointers.iter().filter(|pointer| **pointer != WORKSPACE);
        elsewhere.any(|pointer| self.get(pointer).is_none())
    }

    pub(super) fn sub(&self) -> &str {
        self.text("/sub").unwrap_or_default()
    }

    /// The person, with those of these claims that they have.
    pub(super) fn identity(
        &self,
        subject: Subject,
        user_id_field: &str,
        pointers: &[&str],
    ) -> Identity {
        let names = ["/preferred_username", user_id_field, "/email"];
        let login = names.into_iter().find_map(|pointer| self.name(pointer));
        Identity {
            subject,
            login: login.unwrap_or_else(|| self.sub()).to_owned(),
            email: self.text("/email").map(str::to_owned),
            groups: self.groups(),
            claims: self.select(pointers),
        }
    }

    /// `refusal`, unless the person's groups would have decided and the issuer did not send them.
    /// Entra ID does so for people in some 200 groups and more (OpenID Connect Core §5.6.2).
    pub(super) fn explain(&self, refusal: Refusal, pointers: &[&str]) -> Refusal {
        let decide = |pointer: &&str| *pointer == "/groups" || pointer.starts_with("/groups/");
        let are_elsewhere = self.get("/_claim_names/groups").is_some();
        if !are_elsewhere || self.get("/groups").is_some() || !pointers.iter().any(decide) {
            return refusal;
        }
        Refusal {
            missing: "the provider did not send your groups, because there are too many of them \
                      (a groups overage); whoever runs this server can have the provider send only \
                      the groups that are assigned to this application, or allow application roles \
                      (`/roles=NAME`) instead of groups"
                .to_owned(),
            ..refusal
        }
    }

    /// `null` says as much as nothing (OpenID Connect Core §5.3.2).
    fn get(&self, pointer: &str) -> Option<&Value> {
        let value = self.members.pointer(pointer)?;
        (!value.is_null()).then_some(value)
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.get(pointer)?.as_str()
    }

    /// Names are shown, logged and sent in headers.
    fn name(&self, pointer: &str) -> Option<&str> {
        self.text(pointer)
            .filter(|text| !text.is_empty() && !text.contains(char::is_control))
    }

    fn groups(&self) -> Vec<String> {
        let groups = match self.get("/groups") {
            Some(Value::Array(groups)) => groups.as_slice(),
            Some(group) => std::slice::from_ref(group),
            None => &[],
        };
        let names = groups.iter().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    fn select(&self, pointers: &[&str]) -> BTreeMap<String, Value> {
        let claim = |pointer: &&str| Some(((*pointer).to_owned(), self.get(pointer)?.clone()));
        pointers.iter().filter_map(claim).collect()
    }
}

fn with_vouched_email(mut claims: Map<String, Value>, sends_strings: bool) -> Map<String, Value> {
    let is_vouched_for = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(word)) => sends_strings && word == "true",
        _ => false,
    };
    let address = claims.get("email").and_then(Value::as_str);
    if !is_vouched_for || address.and_then(email::normal).is_none() {
        claims.remove("email");
        claims.remove("email_verified");
    }
    claims
}

/// AWS Cognito's userinfo says `"email_verified": "true"`, against OpenID Connect Core §5.1. Its
/// issuers are `https://cognito-idp.<region>.amazonaws.com/<pool>`.
fn is_cognito(issuer: &str) -> bool {
    let Ok(url) = Url::parse(issuer) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let region = host
        .strip_prefix("cognito-idp.")
        .and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    url.scheme() == "https" && region.is_some_and(|region| !region.contains('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.test";
    const COGNITO: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc";

    fn claims(id_token: &Value, issuer: &str) -> Claims {
        Claims::of(id_token.as_object().unwrap().clone(), issuer)
    }

    fn identity(claims: &Claims, pointers: &[&str]) -> Identity {
        let subject = Subject::oidc(ISSUER, claims.sub());
        claims.identity(subject, "/email", pointers)
    }

    /// The address that is believed, once the userinfo endpoint has spoken too.
    fn email(id_token: &Value, userinfo: Option<&Value>, issuer: &str) -> Option<String> {
        let mut claims = claims(id_token, issuer);
        if let Some(userinfo) = userinfo {
            claims.add(userinfo.as_object().unwrap().clone());
        }
        let identity = identity(&claims, &["/email"]);
        let claim = identity.claims.get("/email").and_then(Value::as_str);
        assert_eq!(claim, identity.email.as_deref());
        identity.email
    }

    #[test]
    fn a058_only_an_address_that_the_issuer_vouches_for_is_one() {
        let a = "a@b.test";
        for (claims, issuer, believed) in [
            (json!({"email": a, "email_verified": true}), ISSUER, true),
            (json!({"email": a, "email_verified": false}), ISSUER, false),
            (json!({"email": a}), ISSUER, false),
            (json!({"email": a, "email_verified": null}), ISSUER, false),
            (json!({"email": a, "email_verified": 1}), ISSUER, false),
            (json!({"email": a, "email_verified": [true]}), ISSUER, false),
            (json!({"email": a, "email_verified": "true"}), ISSUER, false),
            (json!({"email": a, "email_verified": "true"}), COGNITO, true),
            (
                json!({"email": a, "email_verified": "True"}),
                COGNITO,
                false,
            ),
            (
                json!({"email": a, "email_verified": "false"}),
                COGNITO,
                false,
            ),
            (json!({"email": a, "Email_Verified": true}), ISSUER, false),
            (json!({"email": [a], "email_verified": true}), ISSUER, false),
            (
                json!({"email": "a@b.test\n", "email_verified": true}),
                ISSUER,
                false,
            ),
            (
                json!({"email": "a@evil.test@b.test", "email_verified": true}),
                ISSUER,
                false,
            ),
            (json!({"email": "", "email_verified": true}), ISSUER, false),
            (json!({"email_verified": true}), ISSUER, false),
        ] {
            let address = email(&claims, None, issuer);
            assert_eq!(address.is_some(), believed, "{claims} from {issuer}");
        }
    }

    #[test]
    fn a058_only_cognito_itself_may_send_strings() {
        for (issuer, is) in [
            (COGNITO, true),
            ("http://cognito-idp.eu-west-1.amazonaws.com/x", false),
            ("https://cognito-idp.amazonaws.com/x", false),
            ("https://cognito-idp.x.amazonaws.com.evil.test/x", false),
            (
                "https://evil.test/cognito-idp.eu-west-1.amazonaws.com",
                false,
            ),
            ("https://cognito-idp.evil.s3.amazonaws.com/x", false),
            ("https://xcognito-idp.eu-west-1.amazonaws.com/x", false),
            ("cognito", false),
        ] {
            assert_eq!(is_cognito(issuer), is, "{issuer}");
        }
    }

    #[test]
    fn a058_an_address_and_the_word_for_it_come_from_the_same_place() {
        let verified = json!({"email": "a@b.test", "email_verified": true});
        let other = json!({"email": "x@b.test", "email_verified": true});
        let bare = json!({"email": "x@b.test"});
        let word = json!({"email_verified": true});
        let nothing = json!({});
        for (id_token, userinfo, believed) in [
            (&bare, &word, None),
            (&word, &bare, None),
            (&bare, &verified, Some("a@b.test")),
            (&verified, &other, Some("a@b.test")),
            (&verified, &bare, Some("a@b.test")),
            (&nothing, &other, Some("x@b.test")),
            (&nothing, &bare, None),
        ] {
            let address = email(id_token, Some(userinfo), ISSUER);
            assert_eq!(address.as_deref(), believed, "{id_token} {userinfo}");
        }
    }

    #[test]
    fn a060_the_workspace_is_never_taken_from_userinfo() {
        let mut claims = claims(&json!({"sub": "7"}), ISSUER);
        assert!(!claims.lack_any(&["/hd"]));
        claims.add(json!({"hd": "b.test"}).as_object().unwrap().clone());
        assert!(identity(&claims, &["/hd"]).claims.is_empty());
    }

    #[test]
    fn a_person_is_called_by_the_first_name_that_there_is() {
        let verified = json!({"sub": "7", "email": "a@b.test", "email_verified": true});
        let named = json!({"sub": "7", "preferred_username": "ada"});
        for (id_token, login) in [
            (named, "ada"),
            (verified, "a@b.test"),
            (json!({"sub": "7", "email": "a@b.test"}), "7"),
            (json!({"sub": "7", "preferred_username": "ad\na"}), "7"),
            (json!({"sub": "7", "preferred_username": ""}), "7"),
            (json!({"sub": "7", "preferred_username": null}), "7"),
        ] {
            assert_eq!(identity(&claims(&id_token, ISSUER), &[]).login, login);
        }
        let claims = claims(&json!({"sub": "7", "upn": "ada@corp"}), ISSUER);
        let identity = claims.identity(Subject::oidc(ISSUER, "7"), "/upn", &[]);
        assert_eq!(identity.login, "ada@corp");
    }

    #[test]
    fn only_the_claims_that_are_named_are_kept() {
        let claims = claims(
            &json!({"sub": "7", "a/b": 1, "realm": {"roles": ["x"]}, "no": null, "other": 1}),
            ISSUER,
        );
        let kept = identity(&claims, &["/a~1b", "/realm/roles", "/no", "/none"]).claims;
        let expected = json!({"/a~1b": 1, "/realm/roles": ["x"]});
        assert_eq!(json!(kept), expected);
    }

    #[test]
    fn groups_are_strings_one_or_many() {
        for (groups, expected) in [
            (json!(["a", 1, "b", null]), vec!["a", "b"]),
            (json!("a"), vec!["a"]),
            (json!({"a": 1}), vec![]),
            (json!(null), vec![]),
        ] {
            let claims = claims(&json!({"sub": "7", "groups": groups}), ISSUER);
            assert_eq!(identity(&claims, &[]).groups, expected);
        }
    }

    #[test]
    fn userinfo_is_needed_where_a_claim_is_missing_and_adds_nothing_else() {
        let mut claims = claims(&json!({"sub": "7", "a": 1, "b": null}), ISSUER);
        assert!(!claims.lack_any(&["/a"]));
        assert!(claims.lack_any(&["/a", "/b"]));
        assert!(claims.lack_any(&["/email"]));
        claims.add(
            json!({"sub": "8", "a": 2, "b": 3})
                .as_object()
                .unwrap()
                .clone(),
        );
        let kept = identity(&claims, &["/sub", "/a", "/b"]).claims;
        assert_eq!(json!(kept), json!({"/sub": "7", "/a": 1, "/b": 3}));
    }

    #[test]
    fn a_groups_overage_is_explained_where_groups_would_have_decided() {
        let refusal = Refusal {
            who: "ada".to_owned(),
            missing: "no".to_owned(),
        };
        let explained = |id_token: Value, pointers: &[&str]| {
            let refusal = claims(&id_token, ISSUER).explain(refusal.clone(), pointers);
            assert_eq!(refusal.who, "ada");
            refusal.missing.contains("groups overage")
        };
        let over = json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}});
        assert!(explained(over.clone(), &["/groups"]));
        assert!(!explained(over, &["/roles"]));
        assert!(!explained(json!({"groups": []}), &["/groups"]));
        assert!(!explained(
            json!({"_claim_names": {"x": "src1"}}),
            &["/groups"]
        ));
        let both = json!({"groups": ["a"], "_claim_names": {"groups": "src1"}});
        assert!(!explained(both, &["/groups"]));
    }
}
