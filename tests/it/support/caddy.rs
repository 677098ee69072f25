//! Caddy as a CA: `acme_server`, on the roots of its own PKI. It looks for proofs at ports 80 and 443
//! only, so it wants a [network of its own](super::own_network).

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{AcmeCa, eventually};

const PORT: u16 = 9443;

/// Ports 80 and 443 stay free, nothing is installed on this machine.
const CONFIGURATION: &str = "{
\tadmin off
\tskip_install_trust
\tauto_https disable_redirects
\tstorage file_system STORAGE
}
https://localhost:PORT {
\tbind 127.0.0.1
\ttls internal
\tacme_server
}
";

pub(crate) struct Caddy {
    folder: TempDir,
    process: Child,
}

impl Caddy {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("storage");
        let configuration = CONFIGURATION
            .replace("PORT", &PORT.to_string())
            .replace("STORAGE", storage.to_str().unwrap());
        let file = folder.path().join("Caddyfile");
        fs::write(&file, configuration).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new("caddy")
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(file)
            // It keeps a copy of its configuration there.
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let caddy = Self {
            folder,
            process: process.unwrap(),
        };
        let is_up =
            || caddy.trust_file().exists() && TcpStream::connect(("127.0.0.1", PORT)).is_ok();
        assert!(eventually(Duration::from_mins(1), is_up), "{}", caddy.log());
        caddy
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl AcmeCa for Caddy {
    fn directory(&self) -> String {
        format!("https://localhost:{PORT}/acme/local/directory")
    }

    fn trust_file(&self) -> PathBuf {
        self.folder
            .path()
            .join("storage/pki/authorities/local/root.crt")
    }

    /// It vouches for itself, too.
    fn issuer(&self) -> Vec<u8> {
        self.trust()
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
