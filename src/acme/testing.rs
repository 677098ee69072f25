//! A CA that says what a test wants it to say, by plain HTTP on loopback.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

use super::challenge::Kind;
use super::record::{AttemptsRecord, CertificateRecord};
use super::schedule::Life;
use super::{Acme, Settings};
use crate::clock::{Clock, Timestamp};
use crate::crypto::Keyring;
use crate::http::client::HttpClient;
use crate::store::Store;
use crate::tls::Certificates;

pub(super) const HOST: &str = "guard.test";

pub(super) struct FakeCa {
    pub(super) url: Url,
    server: JoinHandle<()>,
}

impl FakeCa {
    /// `answer` gets its own address and a path, and says status, headers and body.
    pub(super) async fn start(answer: fn(&str, &str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let base = url.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, base.clone(), answer));
            }
        });
        Self {
            url: Url::parse(&format!("{url}/directory")).unwrap(),
            server,
        }
    }
}

impl Drop for FakeCa {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, base: String, answer: fn(&str, &str) -> String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let _ = stream.write_all(answer(&base, path).as_bytes()).await;
}

/// An answer of such a CA.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Everything that a guard needs, with a store and a clock of its own.
pub(super) struct Setting {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) keyring: Keyring,
    pub(super) certificates: Arc<Certificates>,
}

impl Setting {
    pub(super) fn new() -> Self {
        let clock = Clock::system();
        Self {
            store: Store::memory(clock.clone()),
            clock,
            keyring: Keyring::ephemeral(),
            certificates: Certificates::new(),
        }
    }

    pub(super) fn acme(&self, directory: &Url) -> Arc<Acme> {
        Acme::new(
            Settings::new(vec![HOST.to_owned()], directory.clone()),
            HttpClient::default(),
            self.store.clone(),
            self.keyring.clone(),
            self.clock.clone(),
            Arc::clone(&self.certificates),
        )
    }
}

impl Acme {
    /// A certificate of ninety days that was issued just now, and lies in the store.
    pub(super) async fn has_certificate(&self) -> CertificateRecord {
        let (chain, key) = issued(HOST);
        let now = self.clock.now();
        let life = Life {
            start: now,
            end: now.after(Duration::from_hours(90 * 24)),
        };
        let sealed_key = self
            .records
            .seal(&self.records.certificate_key(HOST), key.as_bytes());
        let record = CertificateRecord {
            chain,
            sealed_key,
            life,
            renew_at: now.after(Duration::from_hours(60 * 24)),
            ask_at: now.after(Duration::from_hours(60 * 24)),
            is_replaceable: false,
            proved_by: Kind::Http01,
        };
        self.records.put_certificate(HOST, &record).await.unwrap();
        record
    }

    pub(super) async fn attempts_made(&self) -> Option<AttemptsRecord> {
        self.records.attempts(HOST).await.unwrap()
    }

    /// What [`Acme::run`] does for one host until it has to wait.
    pub(super) async fn attend_until_it_waits(&self) -> Timestamp {
        for _ in 0..10 {
            let until = self.attend(HOST).await.unwrap();
            if until > self.clock.now() {
                return until;
            }
        }
        panic!("it never waits");
    }
}

/// Chain and key as PEM, issued by a CA, so that it says whose key signed it.
fn issued(host: &str) -> (String, String) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = Issuer::new(ca, KeyPair::generate().unwrap());
    let mut parameters = CertificateParams::new([host.to_owned()]).unwrap();
    parameters.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}
