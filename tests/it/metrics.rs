//! What operators see where `--admin-listen` says, and that nobody else does.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcp_guard::tls::Facts;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use crate::support::{
    AcmeCa, Answer, Client, Connection, Guard, OAuthClient, Plan, Scrape, admin_address,
    admin_port, eventually, free_port,
};
use crate::tls::Files;
use crate::tls_acme;

const PATIENCE: Duration = Duration::from_secs(20);

/// With metrics on a port that the system chooses.
fn watched(plan: Plan) -> Plan {
    plan.with(&["--admin-listen", "127.0.0.1:0"])
}

fn get(port: u16, target: &str) -> Answer {
    Connection::open(port).exchange("GET", target, &[], "")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Counters by name, as a scrape would say it.
fn moves(expected: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let (series, by) = line.rsplit_once(' ').unwrap();
        (format!("mcp_guard_{series}"), by.parse().unwrap())
    };
    expected.lines().map(counter).collect()
}

/// The oauth ones with 2xx: the client, the page, two pairs. The mcp ones: initialize, the
/// notification behind it, a call.
const A_SHORT_DAY: &str = r#"children_started_total 1
requests_total{class="mcp",status="2xx"} 3
requests_total{class="mcp",status="4xx"} 1
requests_total{class="oauth",status="2xx"} 4
requests_total{class="oauth",status="3xx"} 1
requests_total{class="oauth",status="4xx"} 1
requests_total{class="other",status="2xx"} 1
requests_total{class="other",status="4xx"} 1
sign_ins_total{method="local",outcome="ok"} 1
token_errors_total{error="invalid_grant"} 1
tokens_issued_total{grant_type="authorization_code"} 1
tokens_issued_total{grant_type="refresh_token"} 1"#;

#[test]
fn counters_move_by_what_happened_and_by_nothing_else() {
    let guard = watched(Guard::plan()).start();
    let before = Scrape::of(&guard);

    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    assert_eq!(oauth.refresh(&guard, &tokens.refresh).status, 200);
    assert_eq!(oauth.redeem(&guard, "mgc_unknown").status, 400);
    let client = Client::open(&guard, &tokens.access, "2025-11-25");
    assert!(client.call("echo", &json!({"a": 7})).contains('7'));
    assert_eq!(guard.request("POST", "/mcp", &[], "{}").status, 401);
    assert_eq!(guard.get("/nothing").status, 404);
    assert_eq!(guard.get("/healthz").status, 200);

    let after = Scrape::of(&guard);
    assert_eq!(after.moved_since(&before), moves(A_SHORT_DAY));
}

#[test]
fn gauges_say_how_it_is_now() {
    let guard = watched(Guard::plan()).start();
    let scrape = Scrape::of(&guard);
    assert!(scrape.value("process_start_time_seconds").abs_diff(now()) < 60);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("mcp_guard_build_info{{version=\"{version}\"}}");
    assert_eq!(scrape.value(&build), 1);
    assert_eq!(scrape.value("mcp_guard_ready"), 1);
    let open = || {
        let scrape = Scrape::of(&guard);
        ["mcp_guard_sessions_open", "mcp_guard_children_running"].map(|gauge| scrape.value(gauge))
    };
    assert_eq!(open(), [0, 0]);
    let client = Client::connect(&guard);
    assert_eq!(open(), [1, 1]);
    client.send("DELETE", "").answer();
    assert!(eventually(PATIENCE, || open() == [0, 0]));
    let crashed = Scrape::of(&guard).value("mcp_guard_children_crashed_total");
    assert_eq!(crashed, 0);
}

#[test]
fn clients_find_no_metrics_and_operators_nothing_else() {
    let guard = watched(Guard::plan()).start();
    assert_eq!(guard.get("/metrics").status, 404);
    let port = admin_port(&guard);
    for target in [
        "/",
        "/mcp",
        "/sse",
        "/authorize",
        "/token",
        "/metrics/",
        "/metrics/x",
        "/.well-known/oauth-authorization-server",
    ] {
        let answer = get(port, target);
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{target}");
    }
    for method in ["POST", "DELETE", "OPTIONS"] {
        let answer = Connection::open(port).exchange(method, "/metrics", &[], "");
        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(get(port, "/healthz").body, "ok\n");
    assert_eq!(get(port, "/readyz").body, "ready\n");
    // Of what was asked here nothing counts.
    let first = Scrape::at(port);
    let mut connection = Connection::open(port);
    for _ in 0..3 {
        let answer = connection.exchange("GET", "/metrics", &[("Host", "guard.internal")], "");
        assert!(Scrape::read(&answer).moved_since(&first).is_empty());
    }
}

#[test]
fn without_the_option_there_are_no_metrics() {
    let guard = Guard::start();
    assert_eq!(guard.get("/metrics").status, 404);
    assert!(!guard.log().contains("/metrics"), "{}", guard.log());
}

#[test]
fn a156_the_metrics_name_nobody_and_do_not_grow_with_strangers() {
    let guard = watched(Guard::plan()).start();
    let oauth = OAuthClient::register(&guard);
    let tokens = oauth.sign_in(&guard);
    let client = Client::open(&guard, &tokens.access, "2025-11-25");
    client.call("echo", &json!({}));
    let before = Scrape::of(&guard);
    for secret in [
        "owner",
        "local:",
        "Test client",
        oauth.id.as_str(),
        &tokens.access,
        &tokens.refresh,
        &client.session,
        "127.0.0.1",
    ] {
        assert!(!before.text.contains(secret), "{secret}: {}", before.text);
    }
    for number in 0..100 {
        let name = format!("stranger-{number}");
        OAuthClient::register_with(&guard, &format!("https://{name}.test/cb"));
        let bearer = format!("Bearer mga_{name}");
        guard.request("POST", "/mcp", &[("Authorization", &bearer)], "{}");
        guard.request(
            &name.to_uppercase(),
            &format!("/{name}"),
            &[("Host", &name)],
            "",
        );
    }
    let after = Scrape::of(&guard);
    assert!(!after.text.contains("stranger"), "{}", after.text);
    assert!(after.values.keys().eq(before.values.keys()));
}

#[test]
fn who_is_refused_a_connection_or_a_sign_in_is_counted() {
    let guard = watched(Guard::plan())
        .with(&["--max-connections-per-address", "3"])
        .start();
    let port = admin_port(&guard);
    let open = |count: u64| {
        let is_so = || Scrape::at(port).value("mcp_guard_connections_open") == count;
        assert!(eventually(PATIENCE, is_so), "{}", Scrape::at(port).text);
    };
    open(0);
    let before = Scrape::at(port);
    let held = [(); 3].map(|()| {
        let mut connection = Connection::open(guard.port);
        assert_eq!(connection.exchange("GET", "/healthz", &[], "").status, 200);
        connection
    });
    open(3);
    assert!(Connection::open(guard.port).is_closed());
    drop(held);
    open(0);
    let oauth = OAuthClient::register(&guard);
    let mut browser = crate::support::Browser::default();
    let form = oauth.consent_form(&guard, &mut browser);
    let wrong = browser.submit(guard.port, &form, &[("password", "wrong")]);
    assert_eq!(wrong.status, 403);
    let moved = Scrape::at(port).moved_since(&before);
    assert_eq!(
        moved[r#"mcp_guard_connections_refused_total{reason="address_limit"}"#],
        1
    );
    assert_eq!(
        moved[r#"mcp_guard_sign_ins_total{method="local",outcome="refused"}"#],
        1
    );
    assert!(!moved.keys().any(|series| series.contains("outcome=\"ok\"")));
}

#[test]
fn who_asks_too_often_is_counted() {
    let guard = watched(Guard::plan())
        .with(&["--max-requests-per-user", "1"])
        .start();
    let client = Client::connect(&guard);
    let statuses = (0..40).map(|_| client.post(&Client::tool("echo", &json!({}))).status);
    let limited = statuses.filter(|status| *status == 429).count();
    assert!(limited > 0);
    let told = Scrape::of(&guard).value(r#"mcp_guard_rate_limited_total{limit="user"}"#);
    assert_eq!(told, limited as u64);
}

#[test]
fn a_server_that_does_not_answer_is_counted() {
    let guard = watched(Guard::plan()).wrapping(&["false"]).start();
    let token = OAuthClient::register(&guard).sign_in(&guard).access;
    assert_eq!(Client::try_open(&guard, &token, "2025-11-25").status, 502);
    let crashed = || Scrape::of(&guard).value("mcp_guard_children_crashed_total") == 1;
    assert!(eventually(PATIENCE, crashed));
    let scrape = Scrape::of(&guard);
    for (series, value) in [
        (
            r#"mcp_guard_upstream_failures_total{reason="not_started"}"#,
            1,
        ),
        ("mcp_guard_children_started_total", 1),
        ("mcp_guard_sessions_open", 0),
        (r#"mcp_guard_requests_total{class="mcp",status="5xx"}"#, 1),
    ] {
        assert_eq!(scrape.value(series), value, "{series}: {}", scrape.text);
    }

    let nowhere = format!("http://127.0.0.1:{}/mcp", free_port());
    let guard = watched(Guard::plan()).in_front_of(&nowhere).start();
    let token = OAuthClient::register(&guard).sign_in(&guard).access;
    assert_eq!(Client::try_open(&guard, &token, "2025-11-25").status, 502);
    let scrape = Scrape::of(&guard);
    let unreachable = r#"mcp_guard_upstream_failures_total{reason="unreachable"}"#;
    assert_eq!(scrape.value(unreachable), 1);
    // Those are the server's.
    assert!(!scrape.text.contains("mcp_guard_sessions_open"));
    assert!(!scrape.text.contains("mcp_guard_children"));
}

#[test]
fn a_stop_can_be_watched_and_nobody_who_watches_holds_it() {
    let mut guard = watched(Guard::plan()).start();
    let port = admin_port(&guard);
    let client = Client::connect(&guard);
    let call = Client::tool("sleep", &json!({"millis": 8000}));
    let mut slow = client.send("POST", &call.to_string());
    // It is under way: what takes longer is answered by a stream.
    assert_eq!(slow.head().status, 200);
    let mut idle = Connection::open(port);
    assert_eq!(idle.exchange("GET", "/metrics", &[], "").status, 200);
    let mut stranger = Connection::open(port);
    stranger.send(b"GET /metr");
    guard.signal("TERM");
    let is_stopping = || Scrape::at(port).value("mcp_guard_ready") == 0;
    assert!(eventually(Duration::from_secs(2), is_stopping));
    assert_eq!(get(port, "/readyz").status, 503);
    assert_eq!(get(port, "/healthz").status, 200);
    drop(slow);
    assert_eq!(guard.exit_within(PATIENCE), Some(0), "{}", guard.log());
    assert!(guard.log().contains("\"stopped\""), "{}", guard.log());
}

#[test]
fn metrics_can_be_had_from_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let address = format!("unix:{}", path.display());
    let mut guard = Guard::plan().with(&["--admin-listen", &address]).start();
    assert_eq!(admin_address(&guard), address);
    let mut socket = UnixStream::connect(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nmcp_guard_ready 1\n"), "{answer}");
    guard.signal("TERM");
    assert_eq!(guard.exit_within(PATIENCE), Some(0), "{}", guard.log());
    assert!(!path.exists());
}

#[test]
fn an_address_that_is_taken_is_named_with_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let guard = Guard::start();
    let output = guard.run(&["--admin-listen", &address, "--store", "memory:"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(
        told.contains("--admin-listen") && told.contains(&address),
        "{told}"
    );
}

#[test]
fn a156_an_address_that_others_may_reach_is_worth_a_warning() {
    let guard = Guard::plan().with(&["--admin-listen", "0.0.0.0:0"]).start();
    let warned = || guard.log().contains("may be reached from other machines");
    assert!(eventually(PATIENCE, warned), "{}", guard.log());
    assert_eq!(get(admin_port(&guard), "/healthz").status, 200);
}

const NOT_AFTER: &str = r#"mcp_guard_certificate_not_after_timestamp_seconds{host="guard.test"}"#;

#[test]
fn the_end_of_a_certificate_in_files_shows() {
    let files = Files::new();
    let guard = watched(files.plan()).start();
    let chain = std::fs::read(files.folder.path().join("chain.pem")).unwrap();
    let leaf = CertificateDer::from_pem_slice(&chain).unwrap();
    let end = Facts::of(&leaf).unwrap().not_after;
    let end = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let scrape = Scrape::of(&guard);
    assert_eq!(scrape.value(NOT_AFTER), end);
    assert!(!scrape.text.contains("mcp_guard_acme"));
}

#[test]
fn the_end_of_a_certificate_from_a_ca_shows_and_when_it_is_renewed() {
    let valid = Duration::from_hours(90 * 24);
    let Some((ca, ports)) = tls_acme::ca() else {
        return;
    };
    let issuer = ca.issuer();
    let guard = ports.start(watched(tls_acme::plan(&ca, &issuer)));
    tls_acme::obtained(&guard);
    let settled = || Scrape::of(&guard).values.contains_key(NOT_AFTER);
    assert!(eventually(PATIENCE, settled));
    let scrape = Scrape::of(&guard);
    let left = scrape.value(NOT_AFTER) - now();
    assert!(left.abs_diff(valid.as_secs()) < 600, "{left}");
    assert_eq!(
        scrape.value(r#"mcp_guard_acme_failures{host="guard.test"}"#),
        0
    );
    let next = r#"mcp_guard_acme_next_attempt_timestamp_seconds{host="guard.test"}"#;
    let next = scrape.value(next);
    assert!(next > now() && next < scrape.value(NOT_AFTER), "{next}");
    assert!(!scrape.text.contains("last_failure_timestamp_seconds{"));
}

#[test]
fn a148_while_the_ca_is_away_its_failures_show() {
    let Some((mut ca, ports)) = tls_acme::ca() else {
        return;
    };
    let issuer = ca.issuer();
    ca.stop();
    let guard = ports.start(watched(tls_acme::plan(&ca, &issuer)));
    let failures = r#"mcp_guard_acme_failures{host="guard.test"}"#;
    let failed = || Scrape::of(&guard).value(failures) >= 1;
    assert!(
        eventually(Duration::from_mins(1), failed),
        "{}",
        guard.log()
    );
    let scrape = Scrape::of(&guard);
    assert_eq!(scrape.value("mcp_guard_ready"), 0);
    assert!(!scrape.values.contains_key(NOT_AFTER));
    let last = r#"mcp_guard_acme_last_failure_timestamp_seconds{host="guard.test"}"#;
    assert!(scrape.value(last).abs_diff(now()) < 60);
    let next = r#"mcp_guard_acme_next_attempt_timestamp_seconds{host="guard.test"}"#;
    assert!(scrape.value(next) > scrape.value(last));
}
