use std::collections::BTreeMap;

use serde_json::json;

use super::fake::{Answer, FakeGitHub, TOKEN_ENDPOINT};
use super::*;
use crate::clock::Clock;
use crate::identity::access::OrgRule;

const STATE: &str = "our-state";
const CALLBACK: &str = "https://guard.test/.auth/github/callback";

fn rules(users: &[&str], orgs: &[&str]) -> GitHubRules {
    GitHubRules {
        anybody: false,
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        orgs: orgs
            .iter()
            .map(|org| OrgRule::parse(org).unwrap())
            .collect(),
    }
}

fn settings(fake: &FakeGitHub, rules: GitHubRules) -> Settings {
    Settings {
        client_id: "client-1".to_owned(),
        client_secret: "s3cret".into(),
        url: fake.url().clone(),
        api_url: fake.api_url(),
        rules,
        wants_email: false,
    }
}

fn provider(settings: Settings) -> Provider {
    let store = Store::memory(Clock::system());
    Provider::new(settings, CALLBACK.to_owned(), HttpClient::default(), store)
}

const ANSWER: Callback<'_> = Callback {
    code: "a-code",
    iss: None,
};

async fn sign_in(provider: &Provider) -> Result<Identity, SignInError> {
    let departure = provider.begin(STATE, false)?;
    provider.complete(&departure.handshake, ANSWER).await
}

fn missing(outcome: Result<Identity, SignInError>) -> String {
    match outcome {
        Err(SignInError::Refused(refusal)) => refusal.missing,
        other => panic!("{other:?}"),
    }
}

fn parameters(url: &str) -> BTreeMap<String, String> {
    Url::parse(url)
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect()
}

#[tokio::test]
async fn a050_github_hears_what_is_configured_and_nothing_else() {
    let fake = FakeGitHub::start().await;
    let plain = provider(settings(&fake, rules(&["alice"], &[])));
    let departure = plain.begin(STATE, false).unwrap();
    assert!(
        departure
            .url
            .starts_with(&format!("{}login/oauth/authorize?", fake.url()))
    );
    let sent = parameters(&departure.url);
    let names: Vec<_> = sent.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "redirect_uri",
            "response_type",
            "state"
        ]
    );
    assert_eq!(
        (&*sent["client_id"], &*sent["redirect_uri"]),
        ("client-1", CALLBACK)
    );
    assert_eq!(
        (&*sent["state"], &*sent["code_challenge_method"]),
        (STATE, "S256")
    );

    let curious = Settings {
        wants_email: true,
        ..settings(&fake, rules(&[], &["acme"]))
    };
    let sent = parameters(&provider(curious).begin(STATE, true).unwrap().url);
    assert_eq!(sent["scope"], "read:org user:email");
    assert_eq!(sent["prompt"], "select_account");
}

#[tokio::test]
async fn a057_the_code_goes_back_with_the_verifier_of_its_challenge() {
    let fake = FakeGitHub::start().await;
    fake.account(7, "alice");
    let provider = provider(settings(&fake, rules(&["alice"], &[])));
    let departure = provider.begin(STATE, false).unwrap();
    provider
        .complete(&departure.handshake, ANSWER)
        .await
        .unwrap();
    let asked = fake.asked();
    assert_eq!(asked[0].target, TOKEN_ENDPOINT);
    let sent: BTreeMap<_, _> = url::form_urlencoded::parse(asked[0].body.as_bytes()).collect();
    assert_eq!(
        (&*sent["code"], &*sent["client_secret"]),
        ("a-code", "s3cret")
    );
    assert_eq!(sent["code_verifier"], departure.handshake.code_verifier);
}

#[tokio::test]
async fn a_person_is_their_account_s_number_with_what_the_rules_need() {
    let fake = FakeGitHub::start().await;
    fake.account(7, "Alice").member("acme", "active");
    fake.teams(&[vec![
        json!({"slug": "ops", "organization": {"login": "acme"}}),
    ]]);
    let provider = provider(settings(&fake, rules(&["alice"], &["Acme:Ops", "beta"])));
    let identity = sign_in(&provider).await.unwrap();
    let port = fake.url().port().unwrap();
    assert_eq!(
        identity.subject.as_str(),
        format!("github:127.0.0.1:{port}/7")
    );
    assert_eq!((&*identity.login, &identity.email), ("Alice", &None));
    assert_eq!(identity.groups, ["acme:ops"]);
    assert!(provider.admits(&identity).is_ok());
    // Nobody asked for addresses.
    assert!(
        fake.asked()
            .iter()
            .all(|asked| !asked.target.contains("emails"))
    );
    let stored = serde_json::to_string(&identity).unwrap();
    assert!(!stored.contains("gho_token"), "{stored}");
}

#[tokio::test]
async fn a058_the_address_is_a_verified_one_or_none_and_never_the_profile_s() {
    let fake = FakeGitHub::start().await;
    fake.account(7, "alice");
    let curious = Settings {
        wants_email: true,
        ..settings(&fake, rules(&["alice"], &[]))
    };
    let provider = provider(curious);
    for (verified, expected) in [(true, Some("alice@a.test")), (false, None)] {
        let email = json!([{"email": "alice@a.test", "primary": true, "verified": verified}]);
        fake.on("/api/v3/user/emails?per_page=100", Answer::json(&email));
        let identity = sign_in(&provider).await.unwrap();
        assert_eq!(identity.email.as_deref(), expected);
    }
    // A GitHub App that may not see addresses.
    fake.on("/api/v3/user/emails?per_page=100", Answer::status(403));
    assert_eq!(sign_in(&provider).await.unwrap().email, None);
}

#[tokio::test]
async fn a062_who_takes_over_a_listed_login_stays_out() {
    let fake = FakeGitHub::start().await;
    let provider = provider(settings(&fake, rules(&["alice"], &[])));
    fake.account(1, "alice");
    let alice = sign_in(&provider).await.unwrap();
    fake.account(2, "Alice");
    assert_eq!(
        missing(sign_in(&provider).await),
        "the allowed user of this name is another account, which had it before"
    );
    // The first alice, now under another name, is not on the list; her grant still is hers.
    fake.account(1, "alice-2");
    assert_eq!(
        missing(sign_in(&provider).await),
        "your account is not on the list of allowed users"
    );
    assert!(provider.admits(&alice).is_ok());
    fake.account(1, "alice");
    assert_eq!(sign_in(&provider).await.unwrap(), alice);
}

#[tokio::test]
async fn a062_a_member_of_an_organisation_comes_in_under_another_s_old_name_but_not_as_them() {
    let fake = FakeGitHub::start().await;
    fake.account(1, "alice").member("acme", "active");
    let store = Store::memory(Clock::system());
    let provider = |rules| {
        let settings = settings(&fake, rules);
        Provider::new(
            settings,
            CALLBACK.to_owned(),
            HttpClient::default(),
            store.clone(),
        )
    };
    let both = provider(rules(&["alice"], &["acme"]));
    sign_in(&both).await.unwrap();
    fake.account(2, "alice");
    let namesake = sign_in(&both).await.unwrap();
    assert!(both.admits(&namesake).is_ok());
    // Without the organisation, the name alone does not do, at once and at the next sign-in.
    let users = provider(rules(&["alice"], &[]));
    assert!(users.admits(&namesake).is_err());
    assert!(sign_in(&users).await.is_err());
}

#[tokio::test]
async fn a062_a_login_is_listed_after_its_account_signed_in_and_pinned_at_the_next_time() {
    let fake = FakeGitHub::start().await;
    fake.account(1, "alice").member("acme", "active");
    let member = sign_in(&provider(settings(&fake, rules(&[], &["acme"]))))
        .await
        .unwrap();
    let users = provider(settings(&fake, rules(&["alice"], &[])));
    assert!(users.admits(&member).is_err());
    let listed = sign_in(&users).await.unwrap();
    assert!(users.admits(&listed).is_ok());
}

#[tokio::test]
async fn a065_rules_that_changed_are_seen_in_what_is_stored() {
    let fake = FakeGitHub::start().await;
    fake.account(1, "alice").member("acme", "active");
    let identity = sign_in(&provider(settings(&fake, rules(&["alice"], &["acme"]))))
        .await
        .unwrap();
    for (rules, admitted) in [
        (rules(&["alice"], &[]), true),
        (rules(&[], &["acme"]), true),
        (rules(&["bob"], &[]), false),
        (rules(&[], &["beta"]), false),
        (rules(&[], &["acme:ops"]), false),
        (rules(&[], &[]), false),
    ] {
        let shown = format!("{rules:?}");
        let now = provider(settings(&fake, rules));
        assert_eq!(now.admits(&identity).is_ok(), admitted, "{shown}");
    }
}

#[tokio::test]
async fn an_account_of_another_github_is_a_stranger() {
    let fake = FakeGitHub::start().await;
    let anybody = GitHubRules {
        anybody: true,
        ..GitHubRules::default()
    };
    let port = fake.url().port().unwrap();
    let here = provider(settings(&fake, anybody.clone()));
    let github = provider(Settings {
        url: Url::parse(GITHUB).unwrap(),
        ..settings(&fake, anybody)
    });
    assert_eq!(github.name(), "GitHub");
    assert_eq!(here.name(), format!("GitHub (127.0.0.1:{port})"));
    let mut person = Identity::local("x");
    for (subject, at_github, at_ours) in [
        (Subject::github(None, 7), true, false),
        (
            Subject::github(Some(&format!("127.0.0.1:{port}")), 7),
            false,
            true,
        ),
        (Subject::github(Some("127.0.0.1"), 7), false, false),
        (Subject::google("7"), false, false),
        (Subject::local("7"), false, false),
    ] {
        person.subject = subject;
        assert_eq!(
            github.admits(&person).is_ok(),
            at_github,
            "{}",
            person.subject
        );
        assert_eq!(here.admits(&person).is_ok(), at_ours, "{}", person.subject);
    }
}

#[tokio::test]
async fn a066_errors_that_come_with_status_200_are_errors() {
    let fake = FakeGitHub::start().await;
    fake.account(7, "alice");
    let provider = provider(settings(&fake, rules(&["alice"], &[])));
    for (error, expired) in [
        ("bad_verification_code", true),
        ("incorrect_client_credentials", false),
        ("redirect_uri_mismatch", false),
    ] {
        let body = json!({"error": error, "error_description": "sesame", "error_uri": "/sesame"});
        fake.on(TOKEN_ENDPOINT, Answer::json(&body));
        let error = sign_in(&provider).await.unwrap_err();
        assert_eq!(matches!(error, SignInError::Expired(_)), expired, "{error}");
        assert_eq!(matches!(error, SignInError::Broken(_)), !expired, "{error}");
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
}

#[tokio::test]
async fn a066_an_account_that_makes_no_sense_is_nobody_s() {
    let fake = FakeGitHub::start().await;
    let anybody = GitHubRules {
        anybody: true,
        ..GitHubRules::default()
    };
    let provider = provider(settings(&fake, anybody));
    for account in [
        json!({"login": "alice"}),
        json!({"id": "7", "login": "alice"}),
        json!({"id": -7, "login": "alice"}),
        json!({"id": 7.5, "login": "alice"}),
        json!({"id": null, "login": "alice"}),
        json!({"id": 7}),
        json!({"id": 7, "login": ""}),
        json!({"id": 7, "login": "a/b"}),
        json!({"id": 7, "login": "alice\nroot"}),
        json!([]),
    ] {
        fake.on("/api/v3/user", Answer::json(&account));
        let error = sign_in(&provider).await.unwrap_err();
        assert!(
            matches!(error, SignInError::Broken(_)),
            "{account}: {error}"
        );
    }
    for (status, available) in [
        (403, true),
        (404, true),
        (401, true),
        (500, false),
        (429, false),
    ] {
        fake.on("/api/v3/user", Answer::status(status));
        let error = sign_in(&provider).await.unwrap_err();
        assert_eq!(
            matches!(error, SignInError::Broken(_)),
            available,
            "{status}: {error}"
        );
        assert_eq!(
            matches!(error, SignInError::Unavailable(_)),
            !available,
            "{status}: {error}"
        );
    }
}

#[tokio::test]
async fn a055_an_answer_from_another_issuer_redeems_nothing() {
    let fake = FakeGitHub::start().await;
    fake.account(7, "alice");
    let provider = provider(settings(&fake, rules(&["alice"], &[])));
    let departure = provider.begin(STATE, false).unwrap();
    let elsewhere = Handshake {
        issuer: "https://github.com/".to_owned(),
        ..departure.handshake.clone()
    };
    let named = |iss| Callback {
        iss: Some(iss),
        ..ANSWER
    };
    for (handshake, callback) in [
        (&elsewhere, ANSWER),
        (&departure.handshake, named("https://evil.test")),
        (&departure.handshake, named("")),
    ] {
        let error = provider.complete(handshake, callback).await.unwrap_err();
        assert!(matches!(error, SignInError::Untrusted(_)), "{error}");
    }
    assert!(fake.asked().is_empty());
    let own = format!("{}login/oauth", fake.url());
    assert!(
        provider
            .complete(&departure.handshake, named(&own))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn nobody_is_refused_because_our_own_records_cannot_be_read() {
    let fake = FakeGitHub::start().await;
    fake.account(7, "alice");
    let provider = provider(settings(&fake, rules(&["alice"], &[])));
    provider.store.close().await;
    let error = sign_in(&provider).await.unwrap_err();
    assert!(matches!(error, SignInError::Unavailable(_)), "{error}");
}
