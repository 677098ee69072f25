//! Sign-ins from end to end, at an issuer that says what the test has it say.

use serde_json::{Value, json};

use super::fake_issuer::{
    Answer, DISCOVERY, FakeIssuer, JWKS, OTHER_RSA, RSA, TOKEN, USERINFO, let_pass,
};
use super::*;
use crate::identity::access::{ClaimRule, UserId, Workspace};

pub(super) const CLIENT: &str = "client";
pub(super) const SECRET: &str = "client secret";
pub(super) const NONCE: &str = "nonce";

/// Somebody who comes back from an issuer.
pub(super) struct SignIn {
    pub(super) issuer: FakeIssuer,
    pub(super) clock: Clock,
    provider: Provider,
    handshake: Handshake,
}

impl SignIn {
    /// Everybody may come in.
    pub(super) async fn start() -> Self {
        Self::under(ProviderKind::Oidc, anybody(), &[]).await
    }

    async fn under(kind: ProviderKind, rules: OidcRules, kept: &[&str]) -> Self {
        let issuer = FakeIssuer::start().await;
        let clock = Clock::system();
        let settings = Settings {
            name: "Fake".to_owned(),
            configuration_url: Url::parse(&format!("{}{DISCOVERY}", issuer.url)).unwrap(),
            client_id: CLIENT.to_owned(),
            client_secret: Some(SECRET.into()),
            scopes: vec!["openid".to_owned()],
            rules,
            kept_claims: kept.iter().map(ToString::to_string).collect(),
        };
        let callback_url = "https://guard.test/.auth/oidc/callback".to_owned();
        let http = HttpClient::default();
        Self {
            handshake: Handshake {
                issuer: issuer.url.clone(),
                nonce: NONCE.to_owned(),
                code_verifier: "verifier".to_owned(),
            },
            provider: Provider::new(settings, kind, callback_url, http, clock.clone()),
            issuer,
            clock,
        }
    }

    /// What comes of it if the issuer sends this ID token.
    pub(super) async fn with(&self, id_token: &str) -> Result<Identity, SignInError> {
        self.issuer.give(id_token);
        self.complete(None).await
    }

    /// With an ID token that is good and says this besides.
    async fn saying(&self, more: &Value) -> Result<Identity, SignInError> {
        let mut claims = claims(&self.issuer);
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.with(&RSA.token("RS256", &claims)).await
    }

    async fn refused(&self, more: &Value) -> Refusal {
        match self.saying(more).await {
            Err(SignInError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    async fn complete(&self, iss: Option<&str>) -> Result<Identity, SignInError> {
        let callback = Callback { code: "code", iss };
        self.provider.complete(&self.handshake, callback).await
    }
}

pub(super) fn now() -> u64 {
    Clock::system().now().seconds()
}

/// Of a good ID token.
pub(super) fn claims(issuer: &FakeIssuer) -> Value {
    json!({
        "iss": issuer.url, "sub": "7", "aud": CLIENT, "nonce": NONCE,
        "iat": now(), "exp": now() + 300,
    })
}

fn anybody() -> OidcRules {
    OidcRules {
        anybody: true,
        user_id_field: "/email".to_owned(),
        ..OidcRules::default()
    }
}

fn users(users: &[&str]) -> OidcRules {
    OidcRules {
        anybody: false,
        users: users
            .iter()
            .map(|user| UserId::parse(user).unwrap())
            .collect(),
        ..anybody()
    }
}

fn workspaces(domains: &[&str]) -> OidcRules {
    let parse = |domain: &&str| Workspace::parse(domain).unwrap();
    OidcRules {
        anybody: false,
        workspaces: domains.iter().map(parse).collect(),
        ..anybody()
    }
}

fn claim(rule: &str) -> OidcRules {
    OidcRules {
        anybody: false,
        claims: vec![ClaimRule::parse_all(rule).unwrap()],
        ..anybody()
    }
}

fn parameter(departure: &Departure, name: &str) -> Option<String> {
    let url = Url::parse(&departure.url).unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|pair| pair.0 == name)
        .map(|pair| pair.1.into_owned())
}

#[tokio::test]
async fn a_person_signs_in_with_what_the_departure_remembered() {
    let sign_in = SignIn::start().await;
    assert_eq!(sign_in.provider.name(), "Fake");
    let departure = sign_in.provider.begin("our state", false).await.unwrap();
    let authorize = format!("{}/authorize?", sign_in.issuer.url);
    assert!(departure.url.starts_with(&authorize), "{}", departure.url);
    let sent = |name| parameter(&departure, name);
    assert_eq!(sent("state").as_deref(), Some("our state"));
    assert_eq!(sent("code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(sent("prompt"), None);
    let nonce = sent("nonce").unwrap();
    let mut claims = claims(&sign_in.issuer);
    claims["nonce"] = nonce.into();
    claims["preferred_username"] = "ada".into();
    sign_in.issuer.give(&RSA.token("RS256", &claims));
    let callback = Callback {
        code: "the code",
        iss: None,
    };
    let handshake = &departure.handshake;
    let identity = sign_in
        .provider
        .complete(handshake, callback)
        .await
        .unwrap();
    assert_eq!(identity.login, "ada");
    let asked = sign_in.issuer.asked(TOKEN);
    let verifier = asked.first().unwrap().parameter("code_verifier");
    assert_eq!(verifier.as_ref(), Some(&handshake.code_verifier));
    assert_eq!(sign_in.issuer.paths(), [DISCOVERY, JWKS, TOKEN]);
}

#[tokio::test]
async fn a050_every_departure_has_secrets_of_its_own_and_the_fixed_parameters_only() {
    let sign_in = SignIn::start().await;
    let first = sign_in.provider.begin("s", false).await.unwrap();
    let second = sign_in.provider.begin("s", true).await.unwrap();
    assert_ne!(first.handshake.nonce, second.handshake.nonce);
    assert_ne!(
        first.handshake.code_verifier,
        second.handshake.code_verifier
    );
    let url = Url::parse(&second.url).unwrap();
    let mut names: Vec<_> = url.query_pairs().map(|pair| pair.0.into_owned()).collect();
    names.sort();
    let allowed = [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "prompt",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    ];
    assert_eq!(names, allowed);
    assert!(!second.url.contains(&second.handshake.code_verifier));
}

#[tokio::test]
async fn a055_an_answer_from_another_issuer_never_costs_the_code() {
    let mut sign_in = SignIn::start().await;
    let url = sign_in.issuer.url.clone();
    sign_in
        .issuer
        .give(&RSA.token("RS256", &claims(&sign_in.issuer)));
    let slash = format!("{url}/");
    for iss in ["https://evil.test", "", &slash] {
        let outcome = sign_in.complete(Some(iss)).await;
        assert!(
            matches!(outcome, Err(SignInError::Untrusted(_))),
            "{outcome:?}"
        );
    }
    sign_in.complete(Some(&url)).await.unwrap();
    sign_in.complete(None).await.unwrap();
    sign_in.handshake.issuer = "https://evil.test".to_owned();
    for iss in [None, Some("https://evil.test"), Some(&*url)] {
        let outcome = sign_in.complete(iss).await;
        assert!(
            matches!(outcome, Err(SignInError::Untrusted(_))),
            "{outcome:?}"
        );
    }
    assert_eq!(sign_in.issuer.asked(TOKEN).len(), 2);
}

#[tokio::test]
async fn a055_an_issuer_that_says_it_names_itself_must_do_so() {
    let sign_in = SignIn::start().await;
    let issuer = &sign_in.issuer;
    issuer.describe(&json!({"authorization_response_iss_parameter_supported": true}));
    issuer.give(&RSA.token("RS256", &claims(issuer)));
    let outcome = sign_in.complete(None).await;
    assert!(
        matches!(outcome, Err(SignInError::Untrusted(_))),
        "{outcome:?}"
    );
    assert!(issuer.asked(TOKEN).is_empty());
    sign_in.complete(Some(&issuer.url)).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_is_down_costs_no_code_and_is_back_when_it_is_back() {
    let sign_in = SignIn::start().await;
    let issuer = &sign_in.issuer;
    issuer.give(&RSA.token("RS256", &claims(issuer)));
    issuer.answer(DISCOVERY, Answer::HangsUp);
    let outcome = sign_in.provider.begin("s", false).await.err();
    assert!(
        matches!(outcome, Some(SignInError::Unavailable(_))),
        "{outcome:?}"
    );
    issuer.describe(&json!({}));
    issuer.answer(JWKS, Answer::HangsUp);
    let_pass(discovery::RETRY_AFTER).await;
    sign_in.provider.begin("s", false).await.unwrap();
    let outcome = sign_in.complete(None).await;
    assert!(
        matches!(outcome, Err(SignInError::Unavailable(_))),
        "{outcome:?}"
    );
    assert!(issuer.asked(TOKEN).is_empty());
    issuer.publish(&[&RSA]);
    let_pass(discovery::RETRY_AFTER).await;
    sign_in.complete(None).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_new_is_looked_for() {
    let sign_in = SignIn::start().await;
    sign_in.saying(&json!({})).await.unwrap();
    sign_in.issuer.publish(&[&OTHER_RSA]);
    let token = OTHER_RSA.token("RS256", &claims(&sign_in.issuer));
    sign_in.with(&token).await.unwrap();
    assert_eq!(sign_in.issuer.asked(JWKS).len(), 2);
}

#[tokio::test]
async fn an_answer_without_an_id_token_is_of_no_use() {
    let sign_in = SignIn::start().await;
    let tokens = Answer::json(200, &json!({"access_token": "at"}));
    sign_in.issuer.answer(TOKEN, tokens);
    let outcome = sign_in.complete(None).await;
    assert!(
        matches!(outcome, Err(SignInError::Broken(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a058_an_address_lets_in_only_whom_the_issuer_vouches_for() {
    let sign_in = SignIn::under(ProviderKind::Oidc, users(&["ada@b.test"]), &[]).await;
    sign_in
        .issuer
        .answer(USERINFO, Answer::json(200, &json!({"sub": "7"})));
    let address = |verified: Value| json!({"email": "ada@b.test", "email_verified": verified});
    let identity = sign_in.saying(&address(json!(true))).await.unwrap();
    assert_eq!(identity.email.as_deref(), Some("ada@b.test"));
    sign_in.provider.admits(&identity).unwrap();
    for verified in [json!(false), json!("true"), json!(1), json!(null)] {
        let refusal = sign_in.refused(&address(verified)).await;
        assert_eq!(refusal.who, "7");
    }
    sign_in.refused(&json!({"email": "ada@b.test"})).await;
}

#[tokio::test]
async fn a060_a_workspace_lets_in_whose_id_token_says_so_and_not_whose_address_looks_so() {
    let sign_in = SignIn::under(ProviderKind::Google, workspaces(&["b.test"]), &[]).await;
    let address = json!({"email": "ada@b.test", "email_verified": true});
    sign_in.refused(&address).await;
    assert!(sign_in.issuer.asked(USERINFO).is_empty());
    sign_in.refused(&json!({"hd": "evil.test"})).await;
    sign_in.refused(&json!({"hd": ""})).await;
    sign_in.refused(&json!({"hd": ["b.test"]})).await;
    let identity = sign_in.saying(&json!({"hd": "b.test"})).await.unwrap();
    assert_eq!(identity.claims["/hd"], "b.test");
    assert_eq!(identity.subject, Subject::google("7"));
}

#[tokio::test]
async fn who_wants_another_account_is_asked_for_it_in_a_way_that_the_issuer_knows() {
    for (kind, prompt) in [
        (ProviderKind::Google, "select_account"),
        (ProviderKind::Oidc, "login"),
    ] {
        let sign_in = SignIn::under(kind, anybody(), &[]).await;
        let departure = sign_in.provider.begin("s", true).await.unwrap();
        assert_eq!(parameter(&departure, "prompt").as_deref(), Some(prompt));
    }
}

#[tokio::test]
async fn a060_the_workspace_is_hinted_at_where_it_is_the_only_way_in() {
    let both = OidcRules {
        users: users(&["x@y.test"]).users,
        ..workspaces(&["b.test"])
    };
    for (kind, rules, hint) in [
        (
            ProviderKind::Google,
            workspaces(&["b.test"]),
            Some("b.test"),
        ),
        (
            ProviderKind::Google,
            workspaces(&["b.test", "c.test"]),
            None,
        ),
        (ProviderKind::Google, both, None),
        (ProviderKind::Google, anybody(), None),
        (ProviderKind::Oidc, workspaces(&["b.test"]), None),
    ] {
        let sign_in = SignIn::under(kind, rules, &[]).await;
        let departure = sign_in.provider.begin("s", false).await.unwrap();
        assert_eq!(parameter(&departure, "hd").as_deref(), hint);
    }
}

#[tokio::test]
async fn a063_one_address_at_two_issuers_is_two_people() {
    let address = json!({"email": "ada@b.test", "email_verified": true});
    let google = SignIn::under(ProviderKind::Google, users(&["ada@b.test"]), &[]).await;
    let oidc = SignIn::under(ProviderKind::Oidc, users(&["ada@b.test"]), &[]).await;
    let other = SignIn::under(ProviderKind::Oidc, users(&["ada@b.test"]), &[]).await;
    let mut subjects = Vec::new();
    for sign_in in [&google, &oidc, &other] {
        let identity = sign_in.saying(&address).await.unwrap();
        assert_eq!(identity.email.as_deref(), Some("ada@b.test"));
        subjects.push(identity.subject);
    }
    subjects.dedup();
    assert_eq!(subjects.len(), 3);
}

#[tokio::test]
async fn a064_nobody_is_let_in_without_a_rule() {
    let nobody = OidcRules {
        anybody: false,
        ..anybody()
    };
    let sign_in = SignIn::under(ProviderKind::Oidc, nobody, &[]).await;
    sign_in.refused(&json!({})).await;
}

#[tokio::test]
async fn userinfo_is_asked_for_what_the_id_token_lacks_and_only_then() {
    let sign_in = SignIn::under(ProviderKind::Oidc, claim("/groups=admin"), &["/name"]).await;
    let issuer = &sign_in.issuer;
    let all = json!({"groups": ["admin"], "name": "Ada"});
    sign_in.saying(&all).await.unwrap();
    assert!(issuer.asked(USERINFO).is_empty());
    let info = json!({"sub": "7", "groups": ["admin", "x"], "name": "Ada"});
    issuer.answer(USERINFO, Answer::json(200, &info));
    let identity = sign_in.saying(&json!({})).await.unwrap();
    assert_eq!(identity.groups, ["admin", "x"]);
    assert_eq!(identity.claims["/name"], "Ada");
    let asked = issuer.asked(USERINFO);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked.first().unwrap().headers["authorization"], "Bearer at");
    // An issuer without one is not asked, and the rule decides.
    issuer.describe(&json!({"userinfo_endpoint": null}));
    let_pass(std::time::Duration::from_hours(1)).await;
    sign_in.refused(&json!({})).await;
    assert_eq!(issuer.asked(USERINFO).len(), 1);
}

#[tokio::test]
async fn a058_userinfo_of_somebody_else_or_without_sense_lets_nobody_in() {
    let sign_in = SignIn::under(ProviderKind::Oidc, users(&["ada@b.test"]), &[]).await;
    let info = |sub: Value| json!({"sub": sub, "email": "ada@b.test", "email_verified": true});
    let issuer = &sign_in.issuer;
    for sub in [json!("8"), json!(7), json!(null), json!("7 ")] {
        issuer.answer(USERINFO, Answer::json(200, &info(sub)));
        let outcome = sign_in.saying(&json!({})).await;
        assert!(
            matches!(outcome, Err(SignInError::Untrusted(_))),
            "{outcome:?}"
        );
    }
    let twice =
        "{\"sub\":\"7\",\"email\":\"x@b.test\",\"email\":\"ada@b.test\",\"email_verified\":true}";
    for answer in [
        Answer::text(200, "text/html", "canary"),
        Answer::text(200, "application/json", twice),
        Answer::text(
            200,
            "application/jwt",
            RSA.token("RS256", &info(json!("7"))),
        ),
        Answer::text(200, "application/json", "canary".repeat(50_000)),
        Answer::json(401, &info(json!("7"))),
    ] {
        issuer.answer(USERINFO, answer);
        let error = sign_in.saying(&json!({})).await.err().unwrap();
        assert!(matches!(error, SignInError::Broken(_)), "{error:?}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    for answer in [Answer::HangsUp, Answer::json(500, &json!({}))] {
        issuer.answer(USERINFO, answer);
        let error = sign_in.saying(&json!({})).await.err().unwrap();
        assert!(matches!(error, SignInError::Unavailable(_)), "{error:?}");
    }
    issuer.answer(USERINFO, Answer::json(200, &info(json!("7"))));
    sign_in.saying(&json!({})).await.unwrap();
}

#[tokio::test]
async fn too_many_groups_are_not_taken_for_none() {
    let over = json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}});
    let sign_in = SignIn::under(ProviderKind::Oidc, claim("/groups=admin"), &[]).await;
    sign_in
        .issuer
        .answer(USERINFO, Answer::json(200, &json!({"sub": "7"})));
    let refusal = sign_in.refused(&over).await;
    assert!(
        refusal.missing.contains("did not send your groups"),
        "{refusal:?}"
    );
    let without = sign_in.refused(&json!({"groups": []})).await;
    assert!(!without.missing.contains("did not send"), "{without:?}");
    // Where another rule lets the person in, or userinfo has the groups, nothing is missing.
    let info = json!({"sub": "7", "groups": ["admin"]});
    sign_in.issuer.answer(USERINFO, Answer::json(200, &info));
    sign_in.saying(&over).await.unwrap();
}
