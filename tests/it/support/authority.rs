//! A certificate authority of the tests' own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// It vouches for whatever it is asked to.
pub(crate) struct Authority {
    /// Its own certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut parameters.distinguished_name;
        name.push(DnType::CommonName, "Authority of the tests");
        let own = parameters.self_signed(&key).unwrap();
        Self {
            pem: own.pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Puts a certificate for `name` and its key into the folder.
    pub(crate) fn write_pair(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, name);
        let now = SystemTime::now();
        leaf.not_before = (now - Duration::from_hours(1)).into();
        leaf.not_after = (now + Duration::from_hours(90 * 24)).into();
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap();
        let paths = ["chain.pem", "key.pem"].map(|file| folder.join(file));
        fs::write(&paths[0], leaf.pem()).unwrap();
        fs::write(&paths[1], key.serialize_pem()).unwrap();
        paths
    }
}
