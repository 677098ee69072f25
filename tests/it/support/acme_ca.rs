//! A CA that speaks ACME, whatever program it is.

use std::fs;
use std::path::PathBuf;

pub(crate) trait AcmeCa {
    /// Its address.
    fn directory(&self) -> String;

    /// Where it is written, as PEM, whom to trust in order to talk to it.
    fn trust_file(&self) -> PathBuf;

    fn trust(&self) -> Vec<u8> {
        fs::read(self.trust_file()).unwrap()
    }

    /// Whom to trust in order to trust what it issues, as PEM.
    fn issuer(&self) -> Vec<u8>;
}
