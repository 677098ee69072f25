//! A CA that says when to renew (RFC 9773). Debian's pebble is too old for it: who wants to see this
//! puts a later one into `PATH`, `go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest`, and
//! runs `cargo test --test it acme_ari -- --ignored`.

use std::time::Duration;

use crate::acme::{HOST, Running, Site, settings};
use crate::support::{Pebble, ProofPorts};

const DAY: Duration = Duration::from_hours(24);
/// Pebble says six hours.
const ASK_AGAIN: Duration = Duration::from_mins(6 * 60 + 1);
const AT_ONCE: &str = r#"{"suggestedWindow":
    {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}}"#;

/// Waits until the CA has been asked so many times.
async fn asked(running: &Running, ca: &Pebble, times: usize) {
    let asked = || ca.read_log().matches("/renewalInfo/ ->").count();
    running.reaches(|_| asked() >= times).await;
}

#[tokio::test]
#[ignore = "Debian's pebble has no opinion on renewal; 2.5 and later have one"]
async fn the_ca_brings_a_renewal_forward_and_learns_what_is_replaced() {
    let site = Site::at(ProofPorts { http: 0, tls: 0 });
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let ca = ca.start();
    let running = site.start(&ca, settings(&ca)).await;
    running.issued().await;
    // Its wish is the day before two thirds of ninety, or the day after; its clock may be ours of a
    // little earlier.
    let earliest = site.clock.now().after(Duration::from_hours(59 * 24 - 1));
    let state = running
        .reaches(|state| state.next_attempt >= Some(earliest))
        .await;
    assert!(state.next_attempt.unwrap() <= site.clock.now().after(61 * DAY));
    asked(&running, &ca, 1).await;

    let first = site.handshake(&ca, HOST).await.unwrap();
    ca.set_renewal_info(&first, AT_ONCE);
    site.clock.advance(ASK_AGAIN);
    asked(&running, &ca, 3).await;
    assert_eq!(ca.orders(), 2);
    assert!(ca.read_log().contains("has been marked as replaced"));
    let second = site.handshake(&ca, HOST).await.unwrap();
    assert_ne!(first, second);

    ca.set_renewal_info(&second, "nonsense");
    let planned = running.state().next_attempt;
    site.clock.advance(ASK_AGAIN);
    asked(&running, &ca, 4).await;
    assert_eq!(running.issued().await.next_attempt, planned);
}
