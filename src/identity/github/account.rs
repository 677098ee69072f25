//! Who the person is at GitHub: the account's number, its login, and perhaps its e-mail address.

use serde::Deserialize;

use super::api::{Api, broken};
use crate::identity::access::GitHubRules;
use crate::identity::{SignInError, email};

/// As `GET /user` has it. Everything but the number may pass to others.
#[derive(Deserialize)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) login: String,
}

/// As `GET /user/emails` has it.
#[derive(Deserialize)]
struct Email {
    email: String,
    #[serde(default)]
    primary: bool,
    #[serde(default)]
    verified: bool,
}

/// The account that the token is for.
pub(super) async fn account(api: &Api<'_>) -> Result<Account, SignInError> {
    let account: Option<Account> = api.get(&["user"]).await?;
    let account =
        account.ok_or_else(|| broken("user", "the token may not even see its account"))?;
    // The login goes into logs, headers and keys.
    if GitHubRules::login(&account.login).is_err() {
        return Err(broken("user", "a login that is none"));
    }
    Ok(account)
}

/// The primary address if it is verified, or any other that is.
pub(super) async fn verified_email(api: &Api<'_>) -> Result<Option<String>, SignInError> {
    let emails: Option<Vec<Email>> = api.list(&["user", "emails"]).await?;
    if emails.is_none() {
        tracing::warn!(
            "GitHub does not tell e-mail addresses; a GitHub App needs the account permission \
             \"Email addresses: read-only\""
        );
    }
    Ok(best(emails.unwrap_or_default()))
}

fn best(mut emails: Vec<Email>) -> Option<String> {
    emails.sort_by_key(|email| !email.primary);
    let verified = emails.into_iter().filter(|email| email.verified);
    verified
        .filter_map(|email| email::normal(&email.email))
        .next()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chosen(emails: &Value) -> Option<String> {
        best(serde_json::from_value(emails.clone()).unwrap())
    }

    #[test]
    fn a058_only_a_verified_address_counts_and_the_primary_one_first() {
        let a = |verified| json!({"email": "A@x.test", "primary": true, "verified": verified});
        let b = |verified| json!({"email": "b@x.test", "primary": false, "verified": verified});
        for (emails, expected) in [
            (json!([b(true), a(true)]), Some("a@x.test")),
            (json!([a(true), b(true)]), Some("a@x.test")),
            (json!([a(false), b(true)]), Some("b@x.test")),
            (json!([a(true), b(false)]), Some("a@x.test")),
            (json!([a(false), b(false)]), None),
            (json!([{"email": "a@x.test", "primary": true}]), None),
            (
                json!([{"email": "a@evil.test@x.test", "primary": true, "verified": true}, b(true)]),
                Some("b@x.test"),
            ),
            (json!([]), None),
        ] {
            assert_eq!(chosen(&emails).as_deref(), expected, "{emails}");
        }
    }

    #[test]
    fn a058_verified_is_true_and_no_text_that_says_so() {
        let text = json!([{"email": "a@x.test", "primary": true, "verified": "true"}]);
        assert!(serde_json::from_value::<Vec<Email>>(text).is_err());
    }
}
