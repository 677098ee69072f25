use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use super::super::Endpoint;
use super::super::federated::{
    ALICE, Answer, Away, FakeGitHub, TOKEN_ENDPOINT, github, guard_with, issuer, returning,
};
use super::super::fixture::{Answered, Page, Running, VERIFIER, form};
use crate::crypto::random;
use crate::grant::{ClientId, Redemption, TokenPair};

const LOOPBACK: &str = "http://localhost/callback";
const SENT: &str = "http://localhost:3118/callback";

/// A GitHub where Alice is signed in.
async fn alices_github() -> FakeGitHub {
    let fake = FakeGitHub::start().await;
    fake.account(ALICE.0, ALICE.1);
    fake
}

async fn page(running: &Running) -> (String, Page) {
    let client = running.client(&[LOOPBACK]).await;
    let page = running.authorize(&client, &[]).await.page();
    (client, page)
}

async fn away(running: &Running) -> (String, Away) {
    let (client, page) = page(running).await;
    (client, page.away(running).await)
}

async fn redeem(running: &Running, client: &str, answer: &Answered) -> TokenPair {
    assert_eq!(answer.status, 303, "{}", answer.body);
    let code = answer.sent("code").unwrap();
    let redemption = Redemption {
        code: &code,
        client: &ClientId(client.to_owned()),
        redirect_uri: Some(SENT),
        code_verifier: Some(VERIFIER),
        resource: None,
    };
    running.grants.redeem(redemption).await.unwrap()
}

/// A page of ours, with no way on to the client.
fn assert_page(answer: &Answered, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert!(!answer.headers.contains_key("location"));
}

fn redemptions(fake: &FakeGitHub) -> usize {
    let asked = fake.asked();
    asked
        .iter()
        .filter(|asked| asked.target == TOKEN_ENDPOINT)
        .count()
}

#[tokio::test]
async fn who_is_let_in_brings_the_client_a_code_that_redeems() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (client, away) = away(&running).await;
    let answer = away.signed_in(&running).await;
    assert!(answer.header("location").starts_with(SENT));
    assert_eq!(answer.sent("state").unwrap(), "a b&c");
    let (name, _) = away.cookie.split_once('=').unwrap();
    assert_eq!(answer.cookies(), [format!("{name}=")], "forgotten");
    let pair = redeem(&running, &client, &answer).await;
    let holder = running.grants.holder(&pair.refresh_token).await.unwrap();
    let (_, identity) = holder.unwrap();
    assert!(identity.subject.as_str().starts_with("github:"));
    assert_eq!(identity.login, "alice");
}

#[tokio::test]
async fn a032_a_return_counts_in_the_browser_that_approved_only() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (client, attackers) = away(&running).await;
    let (_, victims) = away(&running).await;
    let query = form(&[("state", &attackers.state()), ("code", "from-github")]);
    let (name, value) = attackers.cookie.split_once('=').unwrap();
    let (_, others) = victims.cookie.split_once('=').unwrap();
    for jar in [
        String::new(),
        victims.jar(),
        format!("{name}={others}"),
        format!("{name}={value}; {name}={value}"),
    ] {
        let answer = returning(&running, "github", &query, &jar).await;
        assert_page(&answer, 403);
        assert!(answer.cookies().is_empty());
    }
    assert_eq!(redemptions(&fake), 0);
    let answer = attackers.signed_in(&running).await;
    redeem(&running, &client, &answer).await;
}

#[tokio::test]
async fn a044_two_tabs_sign_in_side_by_side() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (client, page) = page(&running).await;
    let (first, second) = (page.away(&running).await, page.away(&running).await);
    let jar = format!("{}; {}", first.jar(), second.cookie);
    for away in [second, first] {
        let query = form(&[("state", &away.state()), ("code", "from-github")]);
        let answer = returning(&running, "github", &query, &jar).await;
        redeem(&running, &client, &answer).await;
    }
}

#[tokio::test]
async fn a047_a_sign_in_elsewhere_is_not_remembered() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (client, away) = away(&running).await;
    redeem(&running, &client, &away.signed_in(&running).await).await;
    let target = format!("/authorize?{}", super::super::fixture::query(&client, &[]));
    let jar = away.jar();
    let headers = [("cookie", jar.as_str())];
    let again = running
        .send(Endpoint::Authorize, &target, &headers, "")
        .await;
    assert_eq!(again.status, 200);
    assert!(again.body.contains("Continue with GitHub"));
}

#[tokio::test]
async fn a053_a_return_works_once() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (client, away) = away(&running).await;
    let answer = away.signed_in(&running).await;
    assert_page(&away.signed_in(&running).await, 400);
    assert_eq!(redemptions(&fake), 1);
    // And the code that was given stays good.
    redeem(&running, &client, &answer).await;
}

#[tokio::test]
async fn a053_of_twenty_returns_at_once_one_yields_a_code() {
    let fake = alices_github().await;
    let running = Rc::new(guard_with(&fake).start());
    let (_, away) = away(&running).await;
    let mut returns = JoinSet::new();
    let here = LocalSet::new();
    for _ in 0..20 {
        let (running, away) = (Rc::clone(&running), away.clone());
        let arrive = async move { away.signed_in(&running).await.status.as_u16() };
        returns.spawn_local_on(arrive, &here);
    }
    let statuses = here.run_until(returns.join_all()).await;
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 19);
    assert_eq!(redemptions(&fake), 1);
}

#[tokio::test]
async fn a054_a_state_that_was_not_given_out_is_a_page() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (_, away) = away(&running).await;
    let (state, random) = (away.state(), random::secret());
    for query in [
        "code=from-github".to_owned(),
        "state=&code=from-github".to_owned(),
        format!("state={random}&code=from-github"),
        format!("state={state}x&code=from-github"),
        format!("state={state}&state={state}&code=from-github"),
        format!("state={state}&code=a&code=b"),
        format!("state={state}&code=a&error=access_denied"),
        format!("state={state}"),
        format!("state={state}&code=%ff"),
    ] {
        let answer = returning(&running, "github", &query, &away.jar()).await;
        assert_page(&answer, 400);
    }
    let long = format!("state={state}&code={}", "x".repeat(8 * 1024));
    let answer = returning(&running, "github", &long, &away.jar()).await;
    assert_page(&answer, 414);
    assert_eq!(redemptions(&fake), 0);
    assert_eq!(
        away.signed_in(&running).await.status,
        303,
        "it is still there"
    );
}

#[tokio::test]
async fn a054_after_ten_minutes_a_state_is_unknown() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (_, late) = away(&running).await;
    running.clock.advance(Duration::from_secs(595));
    let (_, in_time) = away(&running).await;
    running.clock.advance(Duration::from_secs(6));
    assert_page(&late.signed_in(&running).await, 400);
    assert_eq!(in_time.signed_in(&running).await.status, 303);
}

#[tokio::test]
async fn a055_a_return_by_another_providers_path_reaches_nobody() {
    let (fake, hostile) = (alices_github().await, FakeGitHub::start().await);
    let mut guard = guard_with(&fake);
    guard.oidc = Some(issuer(&hostile));
    let running = guard.start();
    let (_, away) = away(&running).await;
    let query = form(&[("state", &away.state()), ("code", "from-github")]);
    let swapped = returning(&running, "oidc", &query, &away.jar()).await;
    assert_page(&swapped, 400);
    assert!(hostile.asked().is_empty() && fake.asked().is_empty());
    let absent = returning(&running, "google", &query, &away.jar()).await;
    assert_page(&absent, 404);
    assert_eq!(away.signed_in(&running).await.status, 303);
}

#[tokio::test]
async fn a055_an_answer_in_the_name_of_another_issuer_is_not_believed() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (_, away) = away(&running).await;
    let said = [("code", "from-github"), ("iss", "https://evil.test")];
    let answer = away.back(&running, &said).await;
    assert_page(&answer, 403);
    assert!(!answer.body.contains("evil"));
    assert_eq!(redemptions(&fake), 0);
}

#[tokio::test]
async fn a066_a_refusal_at_the_provider_goes_to_the_client() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (_, away) = away(&running).await;
    let said = [
        ("error", "access_denied"),
        ("error_description", "<svg onload=1> secret words"),
    ];
    let answer = away.back(&running, &said).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.sent("error").unwrap(), "access_denied");
    assert_eq!(answer.sent("state").unwrap(), "a b&c");
    assert_eq!(answer.sent("iss").unwrap(), "https://guard.test");
    assert!(!answer.header("location").contains("secret"));
    assert_page(&away.signed_in(&running).await, 400);
}

#[tokio::test]
async fn a036_a_refusal_sends_nobody_to_a_stranger_by_itself() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let client = running.client(&["https://a.test/cb"]).await;
    let changes = [("redirect_uri", "https://a.test/cb")];
    let page = running.authorize(&client, &changes).await.page();
    let away = page.away(&running).await;
    let answer = away.back(&running, &[("error", "access_denied")]).await;
    assert_page(&answer, 200);
    assert!(answer.body.contains("Return to a.test"));
}

#[tokio::test]
async fn a066_a_provider_that_is_down_is_a_503_and_the_sign_in_waits() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (client, away) = away(&running).await;
    for trouble in [Answer::status(503), Answer::hang_up()] {
        fake.on(TOKEN_ENDPOINT, trouble);
        let answer = away.signed_in(&running).await;
        assert_page(&answer, 503);
        assert_eq!(answer.header("retry-after"), "5");
        assert!(answer.body.contains("href=\"\">Try again<"));
        assert!(answer.cookies().is_empty(), "the cookie stays");
        assert!(!answer.body.contains("sesame") && !answer.body.contains("from-github"));
    }
    let token = json!({"access_token": "gho_token", "token_type": "bearer", "scope": ""});
    fake.on(TOKEN_ENDPOINT, Answer::json(&token));
    let answer = away.signed_in(&running).await;
    redeem(&running, &client, &answer).await;
}

#[tokio::test]
async fn a066_a_provider_that_says_it_is_down_leaves_the_page() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    for error in ["temporarily_unavailable", "server_error"] {
        let (client, away) = away(&running).await;
        let answer = away.back(&running, &[("error", error)]).await;
        assert_page(&answer, 503);
        assert_eq!(answer.header("retry-after"), "5");
        assert!(answer.body.contains("cannot be reached now"));
        let again = answer.page().away(&running).await;
        let answer = again.signed_in(&running).await;
        redeem(&running, &client, &answer).await;
    }
}

#[tokio::test]
async fn a066_nonsense_from_a_provider_is_a_502_that_repeats_nothing() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let novel = "sesame ".repeat(100_000);
    for nonsense in [
        Answer::text("text/html", "<h1>sesame</h1>"),
        Answer::text("application/json", "{\"sesame\": 1"),
        Answer::text("application/json", &novel),
        Answer::json(&json!({"access_token": 7, "token_type": "sesame"})),
    ] {
        fake.on(TOKEN_ENDPOINT, nonsense);
        let (_, away) = away(&running).await;
        let answer = away.signed_in(&running).await;
        assert_page(&answer, 502);
        assert!(!answer.body.contains("sesame"));
        assert_page(&away.signed_in(&running).await, 400);
    }
    let (_, away) = away(&running).await;
    let said = [("error", "<svg>sesame"), ("error_description", "sesame")];
    let answer = away.back(&running, &said).await;
    assert_page(&answer, 502);
    assert!(!answer.body.contains("sesame"));
}

#[tokio::test]
async fn a_code_that_the_provider_does_not_know_any_more_ends_the_sign_in() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let stale = json!({"error": "bad_verification_code", "error_description": "sesame"});
    fake.on(TOKEN_ENDPOINT, Answer::json(&stale));
    let (_, away) = away(&running).await;
    let answer = away.signed_in(&running).await;
    assert_page(&answer, 400);
    assert!(answer.body.contains("start the connection again"));
    assert!(!answer.body.contains("sesame"));
}

#[tokio::test]
async fn who_is_not_let_in_sees_as_whom_and_can_try_another_account() {
    let fake = FakeGitHub::start().await;
    fake.account(8, "mallory");
    let running = guard_with(&fake).start();
    let (client, away) = away(&running).await;
    running.clock.advance(Duration::from_mins(9));
    let refused = away.signed_in(&running).await;
    assert_page(&refused, 403);
    for text in [
        "mallory",
        "not on the list",
        "role=\"alert\"",
        "Use another GitHub",
    ] {
        assert!(refused.body.contains(text), "{text} is missing");
    }
    assert!(!refused.body.contains("alice"), "others are not named");
    assert!(refused.cookies().iter().any(|cookie| cookie.ends_with('=')));
    assert_page(&away.signed_in(&running).await, 400);

    // The page is good for another ten minutes.
    running.clock.advance(Duration::from_mins(9));
    let page = refused.page();
    let fields = [("provider", "github"), ("account", "other")];
    let answer = page.choose(&running, &fields, &[]).await;
    assert_eq!(answer.sent("prompt").unwrap(), "select_account");
    fake.account(ALICE.0, ALICE.1);
    let answer = Away::with(&page, &answer).signed_in(&running).await;
    redeem(&running, &client, &answer).await;

    let answer = page.choose(&running, &[("decision", "cancel")], &[]).await;
    assert_eq!(answer.sent("error").unwrap(), "access_denied");
}

#[tokio::test]
async fn a065_whom_the_rules_no_longer_let_in_loses_the_grant_at_the_next_refresh() {
    let fake = alices_github().await;
    let guard = guard_with(&fake);
    let mut settings = guard.identity();
    let running = guard.start();
    let (client, away) = away(&running).await;
    let pair = redeem(&running, &client, &away.signed_in(&running).await).await;
    let pair = refresh(&running, &client, &pair.refresh_token).await;
    assert_eq!(pair.status, 200, "{}", pair.body);
    let token = pair.json()["refresh_token"].as_str().unwrap().to_owned();

    let mut stricter = github(&fake);
    stricter.rules.users = vec!["bob".to_owned()];
    settings.github = Some(stricter);
    running.identity.reload(settings);
    let answer = refresh(&running, &client, &token).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
    assert!(running.grants.holder(&token).await.unwrap().is_none());
}

async fn refresh(running: &Running, client: &str, token: &str) -> Answered {
    let body = form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", client),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    running
        .send(Endpoint::Token, "/token", &headers, body)
        .await
}

#[tokio::test]
async fn trouble_of_the_store_is_a_503_page() {
    let fake = alices_github().await;
    let running = guard_with(&fake).start();
    let (_, away) = away(&running).await;
    running.store.close().await;
    let answer = away.signed_in(&running).await;
    assert_page(&answer, 503);
    assert_eq!(answer.header("retry-after"), "5");
}
