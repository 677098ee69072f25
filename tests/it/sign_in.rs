//! Authorize, consent and sign-in, as a browser goes through them.

use crate::support::{Answer, Browser, Form, Guard, OAuthClient, PASSWORD, query_of};

#[test]
fn a_person_signs_in_and_the_client_gets_its_code() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let page = browser.get(guard.port, &client.authorize_target(&guard, "a b&c"));
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("Test client") && page.body.contains("unverified"),
        "{page:?}"
    );
    assert!(page.body.contains(&guard.resource()));
    let answer = browser.submit(guard.port, &Form::of(&page), &[("password", PASSWORD)]);
    assert_eq!(answer.status, 303, "{answer:?}");
    let query = query_of(answer.header("location").unwrap());
    assert_eq!(query.get("state").unwrap(), Some("a b&c"));
    assert_eq!(query.get("iss").unwrap(), Some(guard.url().as_str()));
    assert_eq!(
        client
            .redeem(&guard, query.get("code").unwrap().unwrap())
            .status,
        200
    );
}

#[test]
fn a_wrong_password_leaves_the_page_and_the_request_as_they_were() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let form = client.consent_form(&guard, &mut browser);
    let again = browser.submit(guard.port, &form, &[("password", "not this one")]);
    assert_eq!(again.status, 403);
    assert!(again.body.contains("role=\"alert\""), "{again:?}");
    assert!(!again.body.contains("not this one"));
    let answer = browser.submit(guard.port, &Form::of(&again), &[("password", PASSWORD)]);
    assert_eq!(answer.status, 303);
}

#[test]
fn cancel_tells_the_client_access_denied() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let page = browser.get(guard.port, &client.authorize_target(&guard, "s"));
    let mut form = Form::of(&page);
    assert!(page.body.contains("/.auth/continue"));
    form.action = "/.auth/continue".to_owned();
    let answer = browser.submit(guard.port, &form, &[("decision", "cancel")]);
    assert_eq!(answer.status, 303, "{answer:?}");
    let query = query_of(answer.header("location").unwrap());
    assert_eq!(query.get("error").unwrap(), Some("access_denied"));
    assert_eq!(query.get("state").unwrap(), Some("s"));
    assert_eq!(query.get("iss").unwrap(), Some(guard.url().as_str()));
}

#[test]
fn a033_a_consent_form_is_worth_nothing_in_another_browser_or_from_another_page() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let form = client.consent_form(&guard, &mut browser);
    let fields = [("password", PASSWORD)];
    assert_eq!(
        Browser::default().submit(guard.port, &form, &fields).status,
        403,
        "no cookie"
    );
    let mut other = Browser::default();
    client.consent_form(&guard, &mut other);
    assert_eq!(
        other.submit(guard.port, &form, &fields).status,
        403,
        "another browser's cookie"
    );
    for headers in [
        [
            ("Origin", "https://evil.test"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
        [("Origin", "null"), ("Sec-Fetch-Site", "same-origin")],
        [("Origin", &guard.url()), ("Sec-Fetch-Site", "same-site")],
    ] {
        let body = form
            .fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("&");
        let body = format!("{body}&password=correct+horse+battery");
        assert_eq!(
            browser
                .post(guard.port, &form.action, &body, &headers)
                .status,
            403,
            "{headers:?}"
        );
    }
    assert_eq!(
        browser.submit(guard.port, &form, &fields).status,
        303,
        "and its own still works"
    );
}

#[test]
fn a035_repeated_parameters_are_refused() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let target = client.authorize_target(&guard, "s");
    for repeated in [
        "response_type=code",
        "scope=a&scope=b",
        "code_challenge_method=S256",
    ] {
        let answer = guard.get(&format!("{target}&{repeated}"));
        assert_eq!(answer.status, 303, "{repeated}: {answer:?}");
        let query = query_of(answer.header("location").unwrap());
        assert_eq!(
            query.get("error").unwrap(),
            Some("invalid_request"),
            "{repeated}"
        );
    }
    for repeated in ["client_id=x", "redirect_uri=http://127.0.0.1/"] {
        let answer = guard.get(&format!("{target}&{repeated}"));
        assert_eq!(answer.status, 400, "{repeated}");
        assert_eq!(answer.header("location"), None);
    }
}

#[test]
fn a036_nobody_is_sent_to_a_stranger_by_a_deliberate_error() {
    let guard = Guard::start();
    let stranger = OAuthClient::register_with(&guard, "https://evil.test/cb");
    let broken = |client: &OAuthClient| {
        client
            .authorize_target(&guard, "s")
            .replace("response_type=code", "response_type=token")
    };
    let answer = guard.get(&broken(&stranger));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("location"), None);
    let local = OAuthClient::register(&guard);
    let answer = guard.get(&broken(&local));
    assert_eq!(answer.status, 303);
    let query = query_of(answer.header("location").unwrap());
    assert_eq!(
        query.get("error").unwrap(),
        Some("unsupported_response_type")
    );
    assert_eq!(query.get("iss").unwrap(), Some(guard.url().as_str()));
}

#[test]
fn a034_an_unregistered_redirect_uri_is_an_error_page() {
    let guard = Guard::start();
    let client = OAuthClient::register_with(&guard, "http://localhost/callback");
    let with = |uri: &str| {
        let asked = OAuthClient {
            redirect_uri: uri.to_owned(),
            ..client.clone()
        };
        guard.get(&asked.authorize_target(&guard, "s"))
    };
    assert_eq!(
        with("http://localhost:51234/callback").status,
        200,
        "any port on loopback"
    );
    for uri in [
        "http://localhost:51234/callback/",
        "http://127.0.0.1:51234/callback",
        "https://localhost/callback",
        "http://localhost:99999/callback",
        "http://localhost/callback?x=1",
        "http://localhost/CALLBACK",
        "http://localhost.evil.test/callback",
        "http://localhost@evil.test/callback",
    ] {
        let answer = with(uri);
        assert_eq!(answer.status, 400, "{uri}");
        assert_eq!(answer.header("location"), None, "{uri}");
    }
}

#[test]
fn a041_no_page_can_be_framed_and_none_has_script() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    for target in [
        "/".to_owned(),
        client.authorize_target(&guard, "s"),
        "/authorize?client_id=nobody".to_owned(),
    ] {
        let page = guard.get(&target);
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(
            !policy.contains("form-action"),
            "Chromium would stop the redirect to the client: {policy}"
        );
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        assert_eq!(page.header("referrer-policy"), Some("same-origin"));
        assert_eq!(
            page.header("cross-origin-opener-policy"),
            None,
            "a web client's popup could not report to its opener any more"
        );
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert!(!page.body.contains("<script"));
    }
}

#[test]
fn a042_what_strangers_send_is_shown_escaped() {
    let guard = Guard::start();
    let body = serde_json::json!({
        "client_name": "<img src=x onerror=alert(1)>\u{202e}{{7*7}}",
        "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none",
    });
    let headers = [("Content-Type", "application/json")];
    let id = guard
        .request("POST", "/register", &headers, &body.to_string())
        .json()["client_id"]
        .clone();
    let client = OAuthClient {
        id: id.as_str().unwrap().to_owned(),
        redirect_uri: "http://127.0.0.1/cb".to_owned(),
    };
    let page = guard.get(&client.authorize_target(&guard, "\"><svg onload=1>"));
    assert_eq!(page.status, 200);
    for raw in ["<img", "<svg onload", "\u{202e}"] {
        assert!(!page.body.contains(raw), "{raw}");
    }
}

#[test]
fn a044_two_renders_of_one_request_both_complete() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let first = client.consent_form(&guard, &mut browser);
    let second = client.consent_form(&guard, &mut browser);
    let code = |answer: Answer| {
        query_of(answer.header("location").unwrap())
            .get("code")
            .unwrap()
            .unwrap()
            .to_owned()
    };
    let one = code(browser.submit(guard.port, &first, &[("password", PASSWORD)]));
    let two = code(browser.submit(guard.port, &second, &[("password", PASSWORD)]));
    assert_ne!(one, two);
    assert_eq!(client.redeem(&guard, &one).status, 200);
    assert_eq!(client.redeem(&guard, &two).status, 200);
}

#[test]
fn a045_asking_leaves_nothing_behind() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let target = client.authorize_target(&guard, "s");
    for _ in 0..200 {
        assert_eq!(browser.get(guard.port, &target).status, 200);
    }
    assert!(browser.cookies().len() < 1024);
    assert_eq!(
        browser.cookies().matches('=').count(),
        1,
        "one cookie: {}",
        browser.cookies()
    );
}

#[test]
fn a047_a_sign_in_is_never_remembered() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let form = client.consent_form(&guard, &mut browser);
    assert_eq!(
        browser
            .submit(guard.port, &form, &[("password", PASSWORD)])
            .status,
        303
    );
    let next = browser.get(guard.port, &client.authorize_target(&guard, "t"));
    assert_eq!(next.status, 200);
    assert!(next.body.contains("type=\"password\""));
}

#[test]
fn a051_only_this_resource_can_be_asked_for() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let target = client.authorize_target(&guard, "s");
    let plain = target.split("&resource=").next().unwrap().to_owned();
    let with = |resource: &str| {
        guard.get(&format!(
            "{plain}&resource={}",
            mcp_guard::http::form::encode(resource)
        ))
    };
    assert_eq!(guard.get(&plain).status, 200);
    for same in [
        guard.resource(),
        format!("{}/", guard.resource()),
        guard.url(),
        format!("{}/", guard.url()),
    ] {
        assert_eq!(with(&same).status, 200, "{same}");
    }
    for other in [
        "https://evil.test/mcp",
        "nonsense",
        &format!("{}/admin", guard.url()),
        &format!("{}#x", guard.resource()),
    ] {
        let answer = with(other);
        assert_eq!(answer.status, 303, "{other}");
        let query = query_of(answer.header("location").unwrap());
        assert_eq!(
            query.get("error").unwrap(),
            Some("invalid_target"),
            "{other}"
        );
    }
}

#[test]
fn a068_guessing_is_slowed_and_the_owner_is_not_locked_out() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let form = client.consent_form(&guard, &mut browser);
    let statuses: Vec<u16> = (0..12)
        .map(|_| {
            browser
                .submit(guard.port, &form, &[("password", "a wrong guess")])
                .status
        })
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    let slowed = browser.submit(guard.port, &form, &[("password", "a wrong guess")]);
    if slowed.status == 429 {
        let wait: u64 = slowed.header("retry-after").unwrap().parse().unwrap();
        assert!(wait <= 30, "{wait}");
    }
}

#[test]
fn a039_every_answer_says_who_gave_it() {
    let guard = Guard::start();
    let client = OAuthClient::register(&guard);
    let iss = |answer: &Answer| {
        let query = query_of(answer.header("location").unwrap());
        query.get("iss").unwrap().map(str::to_owned)
    };
    let mut browser = Browser::default();
    let form = client.consent_form(&guard, &mut browser);
    let success = browser.submit(guard.port, &form, &[("password", PASSWORD)]);
    let target = client.authorize_target(&guard, "s");
    let error = guard.get(&target.replace("S256", "plain"));
    for answer in [success, error] {
        assert_eq!(iss(&answer), Some(guard.url()));
    }
    let metadata = guard.get("/.well-known/oauth-authorization-server").json();
    assert_eq!(metadata["issuer"], guard.url());
}

#[test]
fn a049_codes_travel_by_303_and_stay_out_of_the_log() {
    let guard = Guard::plan().with(&["--log-level", "trace"]).start();
    let client = OAuthClient::register(&guard);
    let mut browser = Browser::default();
    let form = client.consent_form(&guard, &mut browser);
    let answer = browser.submit(guard.port, &form, &[("password", PASSWORD)]);
    assert_eq!(answer.status, 303);
    assert!(answer.header("referrer-policy").is_some() || answer.body.is_empty());
    let query = query_of(answer.header("location").unwrap());
    let code = query.get("code").unwrap().unwrap();
    assert_eq!(client.redeem(&guard, code).status, 200);
    assert!(!guard.log().contains(code));
}
