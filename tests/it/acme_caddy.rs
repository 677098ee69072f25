//! A CA of another make than pebble: Caddy's `acme_server`, which is smallstep's, as in step-ca. It
//! looks at a proof while the guard waits for the answer to "look", and lets a challenge that failed
//! stay as it was, for another try.

use std::net::TcpListener;

use serde_json::json;

use crate::acme::{FIRST_PAUSE, HOST, Site, settings};
use crate::support::{AcmeCa, Caddy, Client, NAME, ProofPorts, is_own_network};
use crate::tls_acme::{obtained, plan};
use crate::tls_programs::program;

/// Where this CA looks for proofs.
const PORTS: ProofPorts = ProofPorts { http: 80, tls: 443 };

/// The CA, once it is alone with this test, whose name that is.
fn ca(test: &str) -> Option<Caddy> {
    program("caddy")?;
    let test = format!("acme_caddy::{test}");
    is_own_network(&test, &[NAME]).then(Caddy::start)
}

#[test]
fn a_certificate_is_obtained_by_tls_alpn_01_and_a_restart_orders_none() {
    let name = "a_certificate_is_obtained_by_tls_alpn_01_and_a_restart_orders_none";
    let Some(ca) = ca(name) else {
        return;
    };
    let issuer = ca.issuer();
    let guard = plan(&ca, &issuer).start_with_tls_on(PORTS.tls, PORTS.http);
    obtained(&guard);
    let client = Client::connect(&guard);
    assert!(client.call("echo", &json!({"a": 1})).contains('1'));
    let live = guard.run(&["check", "--live"]);
    let told = String::from_utf8_lossy(&live.stdout).into_owned();
    assert!(
        told.contains("issued by    CN=Caddy Local Authority"),
        "{told}"
    );

    let guard = guard.killed_and_restarted();
    assert_eq!(guard.get("/readyz").status, 200);
    assert!(!guard.log().contains("certificate_issued"));
}

#[tokio::test]
async fn the_other_proof_is_tried_when_one_fails() {
    let Some(ca) = ca("the_other_proof_is_tried_when_one_fails") else {
        return;
    };
    // Nothing is where TLS-ALPN-01 is looked for.
    let site = Site::at(ProofPorts { tls: 0, ..PORTS });
    let running = site.start(&ca, settings(&ca)).await;
    let error = running.failed().await.last_error.unwrap();
    assert!(error.starts_with("tls-alpn-01: "), "{error}");
    assert!(error.contains("443 and 80"), "{error}");
    site.clock.advance(FIRST_PAUSE);
    let state = running.issued().await;
    let first = site.handshake(&ca, HOST).await.unwrap();

    // It is remembered what worked.
    let until = state.next_attempt.unwrap().since(site.clock.now());
    site.clock.advance(until);
    running
        .reaches(|state| state.not_after.is_some() && state.next_attempt > Some(site.clock.now()))
        .await;
    assert_ne!(site.handshake(&ca, HOST).await.unwrap(), first);
}

#[tokio::test]
async fn a_proof_that_the_ca_waits_for_in_vain_is_one_that_failed() {
    let Some(ca) = ca("a_proof_that_the_ca_waits_for_in_vain_is_one_that_failed") else {
        return;
    };
    // Connections are made, and nothing is ever said: it gives up after half a minute.
    let _silent = TcpListener::bind(("127.0.0.1", PORTS.tls)).unwrap();
    let site = Site::at(ProofPorts { tls: 0, ..PORTS });
    let running = site.start(&ca, settings(&ca)).await;
    let error = running.failed().await.last_error.unwrap();
    assert!(error.starts_with("tls-alpn-01: "), "{error}");
    site.clock.advance(FIRST_PAUSE);
    running.issued().await;
}
