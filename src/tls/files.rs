//! A certificate that somebody else keeps fresh, in two files. They are looked at now and then, not
//! with every handshake, and where they lead: what renews them swaps links (certbot, lego) or whole
//! folders (Kubernetes).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Certificates, Facts, KeyPair, KeyPairError};

/// No chain and no key is larger.
const LARGEST: u64 = 1 << 20;

/// Where chain and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// What the files hold.
pub struct Loaded {
    pub pair: KeyPair,
    pub facts: Facts,
    /// Whether every user of the machine may read the key. A group may: that is how services share
    /// one.
    pub key_is_open_to_others: bool,
}

/// Why the files cannot be used. Never quotes them.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{} cannot be read: {cause}", .path.display())]
    Read {
        path: PathBuf,
        is_key: bool,
        cause: io::Error,
    },
    #[error("{}: {what}", .path.display())]
    Content { path: PathBuf, what: KeyPairError },
}

impl FilesError {
    /// Whether it is the key that is at fault, and not the certificate.
    pub fn is_of_key(&self) -> bool {
        match self {
            Self::Read { is_key, .. } => *is_key,
            Self::Content { what, .. } => what.is_of_key(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "give the path of a PEM file that the guard's user may read",
            Self::Content { what, .. } => match what {
                KeyPairError::NoCertificate | KeyPairError::Certificate(_) => {
                    "give a PEM file with `-----BEGIN CERTIFICATE-----` in it, the server's own \
                     certificate first and its chain behind"
                }
                KeyPairError::NoKey | KeyPairError::UnknownKey => {
                    "give a PEM file with a private key in it, ECDSA, RSA or Ed25519, without a \
                     passphrase"
                }
                KeyPairError::Mismatch => {
                    "give the key that the certificate was made for; in the certificate's file the \
                     server's own stands first"
                }
            },
        }
    }
}

impl CertificateFiles {
    /// Reads both.
    pub fn load(&self) -> Result<Loaded, FilesError> {
        let (chain, _) = read(&self.chain).map_err(|cause| self.unreadable(false, cause))?;
        let (key, mode) = read(&self.key).map_err(|cause| self.unreadable(true, cause))?;
        let pair = KeyPair::from_pem(&chain, &key).map_err(|what| self.unusable(what))?;
        let facts = pair.leaf().and_then(Facts::of);
        let facts = facts.ok_or_else(|| {
            self.unusable(KeyPairError::Certificate("it is malformed".to_owned()))
        })?;
        Ok(Loaded {
            pair,
            facts,
            key_is_open_to_others: mode & 0o007 != 0,
        })
    }

    fn unreadable(&self, is_key: bool, cause: io::Error) -> FilesError {
        let path = if is_key { &self.key } else { &self.chain };
        FilesError::Read {
            path: path.clone(),
            is_key,
            cause,
        }
    }

    fn unusable(&self, what: KeyPairError) -> FilesError {
        let path = if what.is_of_key() {
            &self.key
        } else {
            &self.chain
        };
        FilesError::Content {
            path: path.clone(),
            what,
        }
    }

    fn stamp(&self) -> Stamp {
        [&self.chain, &self.key].map(|path| Mark::of(path))
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("the file is larger than 1 MiB"));
    }
    Ok((bytes, mode))
}

/// What tells one state of both files from another.
type Stamp = [Option<Mark>; 2];

/// What tells one state of a file from another, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// The certificate of the files, in use for every name.
pub struct FileCertificate {
    files: CertificateFiles,
    certificates: Arc<Certificates>,
    in_use: Stamp,
    facts: Facts,
    refused: Option<Refused>,
}

/// What was there instead and cannot be used.
struct Refused {
    stamp: Stamp,
    is_told: bool,
}

/// What came of looking at the files.
#[derive(Debug)]
pub enum Look {
    Unchanged,
    /// What is there now is in use.
    Replaced,
    /// What is there now cannot be used, and what was in use still is. Told once.
    Refused(FilesError),
}

impl FileCertificate {
    /// Puts what the files hold into use.
    pub fn load(
        files: CertificateFiles,
        certificates: Arc<Certificates>,
    ) -> Result<Self, FilesError> {
        // Before they are read: what changes meanwhile is seen by the next look.
        let in_use = files.stamp();
        let loaded = files.load()?;
        certificates.set_fallback(&loaded.pair);
        Ok(Self {
            files,
            certificates,
            in_use,
            facts: loaded.facts,
            refused: None,
        })
    }

    /// What the certificate in use says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes over what has changed. Chain and key are seldom written at one moment: only what is
    /// still of no use at the next look is a fault.
    pub fn look(&mut self) -> Look {
        let stamp = self.files.stamp();
        if stamp == self.in_use {
            self.refused = None;
            return Look::Unchanged;
        }
        match self.files.load() {
            Ok(loaded) => {
                self.certificates.set_fallback(&loaded.pair);
                self.facts = loaded.facts;
                self.in_use = stamp;
                self.refused = None;
                Look::Replaced
            }
            Err(error) => self.refuse(stamp, error),
        }
    }

    fn refuse(&mut self, stamp: Stamp, error: FilesError) -> Look {
        match &mut self.refused {
            Some(refused) if refused.stamp == stamp => {
                if std::mem::replace(&mut refused.is_told, true) {
                    return Look::Unchanged;
                }
                Look::Refused(error)
            }
            _ => {
                let is_told = false;
                self.refused = Some(Refused { stamp, is_told });
                Look::Unchanged
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::testing::self_signed_pem;
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        certificates: Arc<Certificates>,
    }

    impl Place {
        fn new() -> Self {
            let place = Self {
                folder: tempfile::tempdir().unwrap(),
                certificates: Certificates::new(),
            };
            place.write("one", "one.test");
            place.point_to("one");
            place
        }

        /// A folder with a pair for that name.
        fn write(&self, folder: &str, name: &str) {
            let folder = self.folder.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            let (chain, key) = self_signed_pem(name);
            fs::write(folder.join("chain.pem"), chain).unwrap();
            fs::write(folder.join("key.pem"), key).unwrap();
        }

        /// Swaps the link that the files are reached by, as Kubernetes does.
        fn point_to(&self, folder: &str) {
            let link = self.folder.path().join("new");
            symlink(folder, &link).unwrap();
            fs::rename(link, self.folder.path().join("live")).unwrap();
        }

        fn path(&self, file: &str) -> PathBuf {
            self.folder.path().join("live").join(file)
        }

        fn load(&self) -> FileCertificate {
            let files = CertificateFiles {
                chain: self.path("chain.pem"),
                key: self.path("key.pem"),
            };
            FileCertificate::load(files, Arc::clone(&self.certificates)).unwrap()
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_now_is_followed() {
        let place = Place::new();
        let mut own = place.load();
        assert_eq!(own.facts().names, ["one.test"]);
        assert!(matches!(own.look(), Look::Unchanged));
        place.write("two", "two.test");
        assert!(matches!(own.look(), Look::Unchanged));
        place.point_to("two");
        assert!(matches!(own.look(), Look::Replaced));
        assert_eq!(own.facts().names, ["two.test"]);
        assert!(matches!(own.look(), Look::Unchanged));
    }

    #[test]
    fn half_a_change_is_waited_out_and_a_bad_one_is_told_once() {
        let place = Place::new();
        let mut own = place.load();
        let (chain, key) = self_signed_pem("two.test");
        fs::write(place.path("chain.pem"), chain).unwrap();
        assert!(matches!(own.look(), Look::Unchanged));
        let Look::Refused(error) = own.look() else {
            panic!("not refused");
        };
        assert!(error.to_string().contains("does not belong"), "{error}");
        assert!(matches!(own.look(), Look::Unchanged));
        assert_eq!(own.facts().names, ["one.test"]);
        fs::write(place.path("key.pem"), key).unwrap();
        assert!(matches!(own.look(), Look::Replaced));
        assert_eq!(own.facts().names, ["two.test"]);
        fs::remove_file(place.path("key.pem")).unwrap();
        assert!(matches!(own.look(), Look::Unchanged));
        assert!(matches!(own.look(), Look::Refused(FilesError::Read { .. })));
        assert_eq!(own.facts().names, ["two.test"]);
    }
}
