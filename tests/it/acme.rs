//! Certificates from a real CA: Debian's pebble, and a listener of ours that it comes to. Its site
//! serves other CAs' tests, too.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use mcp_guard::acme::{Acme, Eab, HostState, Settings};
use mcp_guard::clock::Clock;
use mcp_guard::crypto::Keyring;
use mcp_guard::http::client::HttpClient;
use mcp_guard::http::{Body, Reply, full, trust};
use mcp_guard::listener::{
    self, Address, Drain, PassedSockets, Peer, Service, TlsSettings, Workers,
};
use mcp_guard::store::Store;
use mcp_guard::tls::{Certificates, server_config};
use rustls_pki_types::ServerName;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::support::{AcmeCa, Pebble, ProofPorts};

pub(crate) const HOST: &str = "guard.test";
const PATIENCE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// More than the first pause after a failure, with what chance adds to it.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(70);

/// The listener of a guard, its store and its clock; what a restart leaves as it is.
pub(crate) struct Site {
    service: Arc<Responder>,
    certificates: Arc<Certificates>,
    drain: Drain,
    workers: Option<Workers>,
    store: Store,
    keyring: Keyring,
    pub(crate) clock: Clock,
    http: u16,
    tls: u16,
}

/// Answers HTTP-01.
#[derive(Default)]
struct Responder {
    acme: Mutex<Option<Arc<Acme>>>,
}

/// A guard's part that obtains certificates.
pub(crate) struct Running {
    acme: Arc<Acme>,
    task: JoinHandle<()>,
}

impl Service for Responder {
    async fn call(&self, request: Request<Incoming>, _: Peer) -> Reply {
        let acme = self.acme.lock().unwrap().clone();
        let path = request.uri().path();
        let token = path.strip_prefix("/.well-known/acme-challenge/");
        let (Some(acme), Some(token)) = (acme, token) else {
            return not_found();
        };
        let answer = acme.key_authorization(token).await;
        answer.map_or_else(not_found, |text| Response::new(full(text)))
    }
}

fn not_found() -> Reply {
    Response::builder().status(404).body(Body::empty()).unwrap()
}

impl Site {
    fn open() -> Self {
        Self::at(ProofPorts { http: 0, tls: 0 })
    }

    /// On these ports; 0 is any.
    pub(crate) fn at(ports: ProofPorts) -> Self {
        let certificates = Certificates::new();
        let on = |port: u16| -> Address { format!("127.0.0.1:{port}").parse().unwrap() };
        let settings = listener::Settings {
            addresses: vec![on(ports.http)],
            if_possible: Vec::new(),
            tls: Some(TlsSettings {
                addresses: vec![on(ports.tls)],
                config: server_config(Arc::clone(&certificates)).unwrap(),
            }),
            workers: 1,
            max_connections: 100,
            max_connections_per_address: 100,
            proxies: None,
        };
        let bound = listener::bind(&settings, PassedSockets::default()).unwrap();
        let ports = bound.local_addresses().into_iter().map(|address| {
            let Address::Tcp(address) = address else {
                panic!("not TCP: {address}");
            };
            address.port()
        });
        let [http, tls] = ports.collect::<Vec<_>>().try_into().unwrap();
        let (service, drain) = (Arc::new(Responder::default()), Drain::new());
        let workers = bound.serve(&service, &drain).unwrap();
        let clock = Clock::system();
        Self {
            service,
            certificates,
            drain,
            workers: Some(workers),
            store: Store::memory(clock.clone()),
            keyring: Keyring::ephemeral(),
            clock,
            http,
            tls,
        }
    }

    pub(crate) const fn proofs(&self) -> ProofPorts {
        ProofPorts {
            http: self.http,
            tls: self.tls,
        }
    }

    /// A guard on this site.
    pub(crate) async fn start(&self, ca: &impl AcmeCa, settings: Settings) -> Running {
        let certificates = Arc::clone(&self.certificates);
        self.start_with(ca, settings, certificates).await
    }

    /// One whose handshakes are made elsewhere.
    async fn start_with(
        &self,
        ca: &impl AcmeCa,
        settings: Settings,
        certificates: Arc<Certificates>,
    ) -> Running {
        let acme = Acme::new(
            settings,
            HttpClient::new(Some(ca.trust())),
            self.store.clone(),
            self.keyring.clone(),
            self.clock.clone(),
            certificates,
        );
        acme.load().await;
        *self.service.acme.lock().unwrap() = Some(Arc::clone(&acme));
        let task = tokio::spawn(Arc::clone(&acme).run());
        Running { acme, task }
    }

    /// The leaf that is served, if its chain leads to the CA's root.
    pub(crate) async fn handshake(&self, ca: &impl AcmeCa, host: &str) -> Option<Vec<u8>> {
        let config = trust::client_config(Some(&ca.issuer())).unwrap();
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", self.tls)).await;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, socket.unwrap()).await.ok()?;
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain[0].to_vec())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.drain.begin();
        self.drain.abort();
        if let Some(workers) = self.workers.take() {
            workers.join();
        }
    }
}

impl Running {
    pub(crate) fn state(&self) -> HostState {
        self.acme.state().remove(0)
    }

    /// Waits until it is so.
    pub(crate) async fn reaches(&self, condition: impl Fn(&HostState) -> bool) -> HostState {
        let reached = async {
            while !condition(&self.state()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, reached).await;
        assert!(outcome.is_ok(), "{:?}", self.state());
        self.state()
    }

    pub(crate) async fn issued(&self) -> HostState {
        self.reaches(|state| state.not_after.is_some() && state.last_error.is_none())
            .await
    }

    pub(crate) async fn failed(&self) -> HostState {
        self.reaches(|state| state.last_error.is_some()).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn settings(ca: &impl AcmeCa) -> Settings {
    Settings::new(vec![HOST.to_owned()], ca.directory().parse().unwrap())
}

/// A CA that finds neither proof.
const NOWHERE: ProofPorts = ProofPorts { http: 1, tls: 1 };

#[tokio::test]
async fn a147_a_certificate_is_issued_and_restarts_order_nothing() {
    let site = Site::open();
    let by_tls_only = ProofPorts {
        http: 1,
        tls: site.tls,
    };
    let Some(ca) = Pebble::installed(by_tls_only) else {
        return;
    };
    let ca = ca.start();
    let first = site.start(&ca, settings(&ca)).await;
    let state = first.issued().await;
    let renewal = state.next_attempt;
    assert!(site.handshake(&ca, HOST).await.is_some());
    assert!(site.handshake(&ca, "other.test").await.is_none());
    drop(first);
    for _ in 0..3 {
        let certificates = Certificates::new();
        let again = site.start_with(&ca, settings(&ca), Arc::clone(&certificates));
        let again = again.await;
        assert!(certificates.has(HOST));
        assert_eq!(again.issued().await.not_after, state.not_after);
        again.reaches(|state| state.next_attempt == renewal).await;
    }
    assert_eq!((ca.orders(), ca.accounts()), (1, 1));
}

#[tokio::test]
async fn the_other_proof_is_tried_when_one_fails() {
    let site = Site::open();
    // What stands on the port of TLS speaks plain HTTP.
    let proofs = ProofPorts {
        http: site.http,
        tls: site.http,
    };
    let Some(ca) = Pebble::installed(proofs) else {
        return;
    };
    let ca = ca.start();
    let running = site.start(&ca, settings(&ca)).await;
    let error = running.failed().await.last_error.unwrap();
    assert!(error.starts_with("tls-alpn-01: "), "{error}");
    site.clock.advance(FIRST_PAUSE);
    running.issued().await;
    assert!(site.handshake(&ca, HOST).await.is_some());
    assert_eq!(ca.orders(), 2);
    // It is remembered what worked.
    site.clock.advance(61 * DAY);
    running.reaches(|_| ca.orders() == 3).await;
    running.issued().await;
    assert_eq!(ca.accounts(), 1);
}

#[tokio::test]
async fn r19_half_of_all_nonces_may_be_bad() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let ca = ca.bad_nonces(50).start();
    let running = site.start(&ca, settings(&ca)).await;
    running.issued().await;
    assert_eq!(ca.orders(), 1);
    assert!(ca.read_log().contains("reject 50% of good nonces"));
}

#[tokio::test]
async fn a148_two_minutes_are_renewed_and_the_old_one_serves_past_its_end() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let mut ca = ca.validity(Duration::from_mins(2)).start();
    let running = site.start(&ca, settings(&ca)).await;
    running.issued().await;
    let first = site.handshake(&ca, HOST).await.unwrap();
    site.clock.advance(Duration::from_secs(81));
    running.reaches(|_| ca.orders() >= 2).await;
    let renewed = async {
        while site
            .handshake(&ca, HOST)
            .await
            .is_none_or(|leaf| leaf == first)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    ca.stop();
    site.clock.advance(Duration::from_mins(3));
    let state = running.failed().await;
    assert!(state.not_after.unwrap() < site.clock.now());
    assert!(site.certificates.has(HOST));
}

#[tokio::test]
async fn an_account_is_bound_to_an_external_one() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let ca = ca.eab("kid-1", KEY).start();
    let unbound = site.start(&ca, settings(&ca)).await;
    let error = unbound.failed().await.last_error.unwrap();
    assert!(error.contains("external"), "{error}");
    drop(unbound);
    site.clock.advance(FIRST_PAUSE);
    let bound = Settings {
        email: Some("anna@guard.test".into()),
        eab: Some(Eab::parse("kid-1".into(), &KEY.into()).unwrap()),
        ..settings(&ca)
    };
    let bound = site.start(&ca, bound).await;
    bound.issued().await;
    drop(bound);
    assert_eq!(ca.orders(), 1);
}

#[tokio::test]
async fn an_account_that_the_ca_forgot_is_made_anew() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let mut ca = ca.start();
    let running = site.start(&ca, settings(&ca)).await;
    running.issued().await;
    // It starts with an empty memory.
    ca.stop();
    ca.start();
    site.clock.advance(61 * DAY);
    running.failed().await;
    site.clock.advance(FIRST_PAUSE);
    running.issued().await;
    assert_eq!((ca.orders(), ca.accounts()), (1, 1));
}

#[tokio::test]
async fn r18_a_ca_that_is_down_at_the_start_is_asked_again() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let mut ca = ca.build();
    let running = site.start(&ca, settings(&ca)).await;
    let state = running.failed().await;
    let error = state.last_error.unwrap();
    assert!(error.contains("connection failed"), "{error}");
    assert_eq!(state.not_after, None);
    ca.start();
    site.clock.advance(FIRST_PAUSE);
    running.issued().await;
    assert!(site.handshake(&ca, HOST).await.is_some());
}

#[tokio::test]
async fn a146_twenty_crashes_within_a_minute_make_at_most_two_orders() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(NOWHERE) else {
        return;
    };
    let ca = ca.start();
    for crash in 0..20 {
        let running = site.start(&ca, settings(&ca)).await;
        if crash == 0 {
            // In the middle of the order.
            running.reaches(|_| ca.orders() == 1).await;
        } else {
            running.reaches(|state| state.next_attempt.is_some()).await;
        }
        site.clock.advance(Duration::from_secs(3));
    }
    assert!((1..=2).contains(&ca.orders()), "{}", ca.orders());
}

#[tokio::test]
async fn a146_after_a_failure_an_order_is_rehearsed_elsewhere() {
    let site = Site::open();
    let proofs = ProofPorts {
        http: site.http,
        tls: 1,
    };
    let Some(ca) = Pebble::installed(proofs) else {
        return;
    };
    let ca = ca.start();
    let settings = Settings {
        rehearsal_url: Some(ca.other_directory().parse().unwrap()),
        ..settings(&ca)
    };
    let running = site.start(&ca, settings).await;
    running.failed().await;
    assert_eq!((ca.orders(), ca.accounts()), (1, 1));
    site.clock.advance(FIRST_PAUSE);
    running.issued().await;
    assert_eq!((ca.orders(), ca.accounts()), (3, 2));
}

#[tokio::test]
async fn r20_three_guards_with_one_store_make_one_order() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let ca = ca.start();
    let mut guards = Vec::new();
    for _ in 0..3 {
        // Whoever orders, its proof is found: they share what handshakes are made with.
        guards.push(site.start(&ca, settings(&ca)).await);
    }
    let mut ends = Vec::new();
    for guard in &guards {
        ends.push(guard.issued().await.not_after);
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
    assert_eq!((ca.orders(), ca.accounts()), (1, 1));
}

#[tokio::test]
async fn r21_a_proof_by_http_01_is_found_by_every_guard() {
    let site = Site::open();
    let proofs = ProofPorts {
        http: site.http,
        tls: 1,
    };
    let Some(ca) = Pebble::installed(proofs) else {
        return;
    };
    let ca = ca.start();
    let ordering = site.start(&ca, settings(&ca)).await;
    ordering.failed().await;
    // From now on this one, which waits for the lease or the schedule, answers the CA.
    let answering = site.start(
        &ca,
        Settings::new(Vec::new(), ca.directory().parse().unwrap()),
    );
    let _answering = answering.await;
    site.clock.advance(FIRST_PAUSE);
    ordering.issued().await;
}

#[tokio::test]
async fn each_host_has_a_certificate_of_its_own_and_all_share_an_account() {
    let site = Site::open();
    let Some(ca) = Pebble::installed(site.proofs()) else {
        return;
    };
    let ca = ca.start();
    let hosts = ["a.guard.test", "b.guard.test", "c.guard.test"].map(str::to_owned);
    let directory = ca.directory().parse().unwrap();
    let running = site
        .start(&ca, Settings::new(hosts.to_vec(), directory))
        .await;
    for (at, host) in hosts.iter().enumerate() {
        let is_issued = |_: &HostState| running.acme.state()[at].not_after.is_some();
        running.reaches(is_issued).await;
        assert!(site.handshake(&ca, host).await.is_some());
        assert_eq!(running.acme.state()[at].host, *host);
    }
    assert_eq!((ca.orders(), ca.accounts()), (3, 1));
}
