//! Pebble, Let's Encrypt's CA for tests, with a name server for which every name is this machine.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AcmeCa, Connection, eventually, forget_tls, speak_tls};

/// Where Pebble looks for proofs.
#[derive(Clone, Copy)]
pub(crate) struct ProofPorts {
    pub(crate) http: u16,
    pub(crate) tls: u16,
}

/// What to start, and how.
pub(crate) struct PebbleBuilder {
    proofs: ProofPorts,
    bad_nonces: u8,
    validity: Duration,
    eab: Option<(String, String)>,
}

/// A CA that is not running yet; its address is known.
pub(crate) struct Pebble {
    folder: TempDir,
    port: u16,
    management: u16,
    names: u16,
    names_management: u16,
    bad_nonces: u8,
    running: Vec<Child>,
}

impl PebbleBuilder {
    /// Half of all nonces are refused, say.
    pub(crate) const fn bad_nonces(mut self, percent: u8) -> Self {
        self.bad_nonces = percent;
        self
    }

    pub(crate) const fn validity(mut self, validity: Duration) -> Self {
        self.validity = validity;
        self
    }

    /// Accounts must be bound to this one.
    pub(crate) fn eab(mut self, kid: &str, key: &str) -> Self {
        self.eab = Some((kid.to_owned(), key.to_owned()));
        self
    }

    pub(crate) fn start(self) -> Pebble {
        let mut ca = self.build();
        ca.start();
        ca
    }

    /// One that does not run yet.
    pub(crate) fn build(self) -> Pebble {
        let [port, management, names, names_management] = free_ports();
        let folder = tempfile::tempdir().unwrap();
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let own = rcgen::generate_simple_self_signed(hosts).unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("certificate"), own.cert.pem()).unwrap();
        fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
        let keys: Value = self.eab.iter().cloned().collect();
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("certificate"),
            "privateKey": path("key"),
            "httpPort": self.proofs.http,
            "tlsPort": self.proofs.tls,
            "certificateValidityPeriod": self.validity.as_secs(),
            "externalAccountBindingRequired": self.eab.is_some(),
            "externalAccountMACKeys": keys,
        }});
        fs::write(path("config"), config.to_string()).unwrap();
        Pebble {
            folder,
            port,
            management,
            names,
            names_management,
            bad_nonces: self.bad_nonces,
            running: Vec::new(),
        }
    }
}

impl Pebble {
    /// `None` where it is not installed, which is a failure in continuous integration.
    pub(crate) fn installed(proofs: ProofPorts) -> Option<PebbleBuilder> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |name: &str| std::env::split_paths(&path).any(|it| it.join(name).is_file());
        if has("pebble") && has("pebble-challtestsrv") {
            return Some(PebbleBuilder {
                proofs,
                bad_nonces: 0,
                validity: Duration::from_hours(90 * 24),
                eab: None,
            });
        }
        assert!(std::env::var_os("CI").is_none(), "pebble is not installed");
        eprintln!("skipped: pebble is not installed (apt-get install pebble)");
        None
    }

    pub(crate) fn start(&mut self) {
        let names = Command::new("pebble-challtestsrv")
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-dns01", &format!("127.0.0.1:{}", self.names)])
            .args([
                "-management",
                &format!("127.0.0.1:{}", self.names_management),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running.push(names.unwrap());
        let log = File::create(self.log()).unwrap();
        let pebble = Command::new("pebble")
            .arg("-config")
            .arg(self.folder.path().join("config"))
            .args(["-dnsserver", &format!("127.0.0.1:{}", self.names)])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", self.bad_nonces.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.running.push(pebble.unwrap());
        for port in [self.names, self.management, self.port] {
            let is_up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            assert!(
                eventually(Duration::from_mins(1), is_up),
                "pebble did not start: {}",
                self.read_log()
            );
        }
    }

    pub(crate) fn stop(&mut self) {
        for mut child in self.running.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The same CA by another address.
    pub(crate) fn other_directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// From now on it says this about when to renew the certificate (RFC 9773). Pebble 2.5 and later.
    pub(crate) fn set_renewal_info(&self, certificate: &[u8], info: &str) {
        speak_tls(self.management, "localhost", &self.trust());
        let pem = STANDARD.encode(certificate);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
        let body = json!({ "Certificate": pem, "ARIResponse": info }).to_string();
        let mut connection = Connection::open(self.management);
        let answer = connection.exchange(
            "POST",
            "/set-renewal-info/",
            &[("User-Agent", "tests")],
            &body,
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        forget_tls(self.management);
    }

    /// How many orders were placed.
    pub(crate) fn orders(&self) -> usize {
        self.count(" orders in the db")
    }

    /// How many accounts were made.
    pub(crate) fn accounts(&self) -> usize {
        self.count(" accounts in memory")
    }

    fn count(&self, part: &str) -> usize {
        self.read_log().matches(part).count()
    }

    pub(crate) fn read_log(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl AcmeCa for Pebble {
    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    fn trust_file(&self) -> PathBuf {
        self.folder.path().join("certificate")
    }

    fn issuer(&self) -> Vec<u8> {
        speak_tls(self.management, "localhost", &self.trust());
        let answer = Connection::open(self.management).exchange("GET", "/roots/0", &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        forget_tls(self.management);
        answer.body.into_bytes()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ports that nobody uses, for TCP and UDP; all of them are held until all are known.
fn free_ports() -> [u16; 4] {
    let held = [(); 4].map(|()| {
        let mut tries = (0..100).map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
            let address = tcp.local_addr().ok()?;
            Some((UdpSocket::bind(address).ok()?, tcp))
        });
        tries.find_map(|held| held).unwrap()
    });
    held.map(|(_, tcp)| tcp.local_addr().unwrap().port())
}
