//! The whole program with a real CA, Debian's pebble: from its options to a client that signs
//! in. A renewal under load takes minutes and is in `tests/interop`.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{
    AcmeCa, Client, Connection, Guard, NAME, Pebble, Plan, ProofPorts, eventually, speak_tls,
};
use crate::tls_programs::program;

const WELL: Duration = Duration::from_mins(1);

/// Where a CA looks for proofs. They are held until a guard needs them.
pub(crate) struct Ports {
    http: TcpListener,
    tls: TcpListener,
}

impl Ports {
    fn numbers(&self) -> ProofPorts {
        let port = |socket: &TcpListener| socket.local_addr().unwrap().port();
        ProofPorts {
            http: port(&self.http),
            tls: port(&self.tls),
        }
    }

    pub(crate) fn start(self, plan: Plan) -> Guard {
        let ProofPorts { http, tls } = self.numbers();
        drop(self);
        plan.start_with_tls_on(tls, http)
    }
}

/// A CA that comes to a guard's ports, and those.
pub(crate) fn ca() -> Option<(Pebble, Ports)> {
    let held = || TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = Ports {
        http: held(),
        tls: held(),
    };
    let ca = Pebble::installed(ports.numbers())?.start();
    Some((ca, ports))
}

pub(crate) fn plan(ca: &impl AcmeCa, issuer: &[u8]) -> Plan {
    Guard::plan().speaking_tls(issuer).with(&[
        "--tls-accept-tos",
        "--tls-directory-url",
        &ca.directory(),
        "--tls-ca-file",
        ca.trust_file().to_str().unwrap(),
        "--tls-email",
        "admin@guard.test",
    ])
}

/// Waits for the first certificate.
pub(crate) fn obtained(guard: &Guard) {
    let issued = || guard.log().contains("certificate_issued");
    assert!(eventually(WELL, issued), "{}", guard.log());
}

#[test]
fn a147_a_certificate_is_obtained_and_a_restart_orders_none() {
    let Some((ca, ports)) = ca() else {
        return;
    };
    let issuer = ca.issuer();
    let guard = ports.start(plan(&ca, &issuer));
    obtained(&guard);
    let client = Client::connect(&guard);
    assert!(client.call("echo", &json!({"a": 1})).contains('1'));
    assert_eq!(guard.get("/readyz").status, 200);
    let live = guard.run(&["check", "--live"]);
    let told = String::from_utf8_lossy(&live.stdout).into_owned();
    assert!(told.contains("issued by    CN=Pebble"), "{told}");

    let guard = guard.killed_and_restarted();
    // At once, and from the store.
    assert_eq!(guard.get("/readyz").status, 200);
    assert!(!guard.log().contains("certificate_issued"));
    assert_eq!((ca.orders(), ca.accounts()), (1, 1));
}

#[test]
fn a150_names_that_are_not_ours_order_nothing() {
    let Some((ca, ports)) = ca() else {
        return;
    };
    let issuer = ca.issuer();
    let guard = ports.start(plan(&ca, &issuer));
    obtained(&guard);
    let before = guard.log().lines().count();
    for number in 0..300 {
        let name = format!("host-{number}.test");
        speak_tls(guard.port, &name, &issuer);
        let mut connection = Connection::open(guard.port);
        connection.send(b"GET / HTTP/1.1\r\n\r\n");
        assert!(
            connection.is_closed(),
            "{name} got a certificate that is trusted"
        );
    }
    speak_tls(guard.port, NAME, &issuer);
    assert_eq!(guard.get("/healthz").status, 200);
    assert_eq!(ca.orders(), 1);
    assert_eq!(guard.log().lines().count(), before, "{}", guard.log());
}

#[test]
fn r18_without_a_certificate_the_guard_lives_and_is_not_ready() {
    let Some((mut ca, ports)) = ca() else {
        return;
    };
    let issuer = ca.issuer();
    ca.stop();
    let guard = ports.start(plan(&ca, &issuer));
    let failed = || guard.log().contains("certificate_renewal_failed");
    assert!(eventually(WELL, failed), "{}", guard.log());
    let well = guard.run(&["healthcheck"]);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    let live = guard.run(&["check", "--live"]);
    assert_eq!(live.status.code(), Some(1), "{live:?}");
    let told = String::from_utf8_lossy(&live.stdout).into_owned();
    assert!(told.contains("not ready (503)"), "{told}");
    assert!(told.contains("and not for guard.test"), "{told}");
    let plain = Connection::open(guard.plain_port).exchange("GET", "/mcp", &[], "");
    assert_eq!(plain.status, 308);
}

#[test]
fn what_lego_obtained_is_served_from_its_files() {
    let Some(lego) = program("lego") else {
        return;
    };
    let Some((ca, ports)) = ca() else {
        return;
    };
    let issuer = ca.issuer();
    let folder = tempfile::tempdir().unwrap();
    let ProofPorts { http, .. } = ports.numbers();
    drop(ports);
    let output = Command::new(lego)
        .args([
            "--accept-tos",
            "--email",
            "admin@guard.test",
            "--domains",
            NAME,
        ])
        .args(["--server", &ca.directory(), "--path"])
        .arg(folder.path())
        .args(["--http", "--http.port", &format!("127.0.0.1:{http}"), "run"])
        .env("LEGO_CA_CERTIFICATES", ca.trust_file())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = |kind: &str| {
        let path = folder.path().join("certificates");
        let path = path.join(format!("{NAME}.{kind}"));
        path.to_str().unwrap().to_owned()
    };
    let plan = Guard::plan().speaking_tls(&issuer).with(&[
        "--tls-cert-file",
        &file("crt"),
        "--tls-key-file",
        &file("key"),
    ]);
    let guard = plan.start();
    assert_eq!(guard.get("/readyz").status, 200);
}
