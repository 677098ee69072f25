//! A guard below a path of a host that others use too (`--external-url https://host/guard`).

use std::net::Ipv4Addr;

use serde_json::json;

use crate::support::{Browser, Form, Guard, PASSWORD, Site, next_message};

fn site(guard: &Guard, prefix: &str) -> Site {
    Site::discover(&format!("{}{prefix}", guard.url()), Ipv4Addr::LOCALHOST)
}

#[test]
fn a_client_that_knows_the_mcp_url_finds_its_way_below_a_prefix() {
    let guard = Guard::plan().below("/team/guard").start();
    let site = site(&guard, "/team/guard");
    let tokens = site.sign_in();
    let refreshed = site.token(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", &tokens.refresh),
    ]);
    assert_eq!(refreshed.status, 200, "{refreshed:?}");

    let session = site.session(&tokens);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "ask", "arguments": {"number": 1}}});
    let mut stream = session.send("POST", &call.to_string());
    assert_eq!(stream.head().status, 200);
    let question = next_message(&mut stream);
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "user"}});
    assert_eq!(session.post(&answer).status, 202);
    assert_eq!(next_message(&mut stream)["id"], 1);
    assert_eq!(session.send("DELETE", "").answer().status, 204);
}

#[test]
fn every_url_that_is_published_lies_below_the_prefix() {
    let guard = Guard::plan().below("/team").start();
    let site = site(&guard, "/team");
    let endpoints = site.metadata.as_object().unwrap().iter();
    let endpoints =
        endpoints.filter(|(name, _)| name.ends_with("_endpoint") || name.ends_with("_uri"));
    let mut seen = 0;
    for (name, _) in endpoints {
        site.endpoint(name);
        seen += 1;
    }
    assert!(seen >= 4, "{}", site.metadata);

    let mut browser = Browser::default();
    let page = site.consent_page(&mut browser);
    for form in page.body.split("<form").skip(1) {
        let action = form.split("action=\"").nth(1).unwrap();
        assert!(action.starts_with("/team/.auth/"), "{form}");
    }
    let landing = site.get(&format!("{}/", site.external));
    assert_eq!(landing.status, 200);
    assert!(landing.body.contains(&site.mcp()), "{landing:?}");
    for page in [&page, &landing] {
        for attribute in ["href=\"/", "src=\"/"] {
            let links = page.body.split(attribute).skip(1);
            links.for_each(|link| assert!(link.starts_with("team"), "{link}"));
        }
    }
}

#[test]
fn nothing_answers_outside_the_prefix_but_the_well_known_documents() {
    let guard = Guard::plan().below("/team").start();
    for path in [
        "/",
        "/mcp",
        "/authorize",
        "/token",
        "/register",
        "/healthz",
        "/teams/mcp",
    ] {
        assert_eq!(guard.get(path).status, 404, "{path}");
    }
}

/// Cookies know neither ports nor, with `Path=/`, prefixes: what two guards set for one host, every
/// browser sends to both. `__Host-` demands that path, so the guards must bear with each other.
#[test]
fn two_guards_of_one_host_leave_each_others_consent_pages_alone() {
    let (one, two) = (
        Guard::plan().below("/one").start(),
        Guard::plan().below("/two").start(),
    );
    let (one, two) = (site(&one, "/one"), site(&two, "/two"));
    let mut browser = Browser::default();
    let first = one.consent_page(&mut browser);
    let cookie = browser.cookies();
    let second = two.consent_page(&mut browser);
    let again = one.consent_page(&mut browser);
    assert_eq!(
        browser.cookies(),
        cookie,
        "they share what the first one set"
    );
    let first = one.allow(&mut browser, &first);
    let second = two.allow(&mut browser, &second);
    one.allow(&mut browser, &again);

    // And one guard's page, or token, is worth nothing at the other.
    let mut form = Form::of(&one.consent_page(&mut browser));
    form.action = form.action.replace("/one/", "/two/");
    let (port, _) = two.place(&two.external);
    let foreign = browser.submit(port, &form, &[("password", PASSWORD)]);
    assert_eq!(foreign.status, 403, "{foreign:?}");
    assert_ne!(first.access, second.access);
    let bearer = format!("Bearer {}", first.access);
    let refused = two.request("POST", &two.mcp(), &[("Authorization", &bearer)], "{}");
    assert_eq!(refused.status, 401, "{refused:?}");
}
