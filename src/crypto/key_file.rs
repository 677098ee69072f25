//! The keyring's file: JSON with base64url keys, readable by its owner alone (A-141).
//!
//! ```json
//! {"version":1,"current":2,"keys":[{"id":2,"key":"…"},{"id":1,"key":"…"}]}
//! ```
//!
//! It appears complete or not at all: written beside its place, synced, then renamed. Whoever calls
//! this holds the data directory's lock, so no two guards create it at once.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{KeyringError, random};

/// Some 256 keys of 70 bytes each fit well within.
const MAX_LENGTH: u64 = 64 * 1024;

/// What other keys are derived from; itself used for nothing else.
#[derive(Clone)]
pub(super) struct MasterKey {
    pub(super) id: u8,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    pub(super) fn fresh() -> Self {
        Self {
            id: 1,
            bytes: Zeroizing::new(random::bytes()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    current: u8,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: u8,
    key: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The current key and the older ones.
pub(super) fn load_or_create(path: &Path) -> Result<(MasterKey, Vec<MasterKey>), KeyringError> {
    match read_private(path) {
        Ok(text) => parse(&text).map_err(|what| KeyringError::Damaged {
            path: path.into(),
            what,
        }),
        Err(KeyringError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(|source| KeyringError::Io {
                path: path.into(),
                source,
            })
        }
        Err(error) => Err(error),
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyringError> {
    let io = |source| KeyringError::Io {
        path: path.into(),
        source,
    };
    let exposed = |what| KeyringError::Exposed {
        path: path.into(),
        what,
    };
    // NONBLOCK: a planted FIFO must not hang the start.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::LOOP) => return Err(exposed("it is a symbolic link")),
        Err(errno) => return Err(io(errno.into())),
    };
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(exposed("it is not a regular file"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(exposed("it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(exposed("others may read it; its mode must be 0600"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_LENGTH)
        .read_to_string(&mut text)
        .map_err(io)?;
    Ok(text)
}

/// Errors never quote the text: it holds keys (A-154).
fn parse(text: &str) -> Result<(MasterKey, Vec<MasterKey>), String> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
    if document.version != 1 {
        return Err(format!(
            "version {} is not known to this mcp-guard",
            document.version
        ));
    }
    let mut older = Vec::with_capacity(document.keys.len());
    for entry in &document.keys {
        if older.iter().any(|key: &MasterKey| key.id == entry.id) {
            return Err(format!("key {} appears twice", entry.id));
        }
        older.push(entry.decode()?);
    }
    let Some(at) = older.iter().position(|key| key.id == document.current) else {
        return Err(format!("the current key {} is missing", document.current));
    };
    Ok((older.swap_remove(at), older))
}

impl Entry {
    fn decode(&self) -> Result<MasterKey, String> {
        let wrong = || format!("key {} is not 32 bytes of base64url", self.id);
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(&self.key).map_err(|_| wrong())?);
        let bytes = <[u8; 32]>::try_from(decoded.as_slice()).map_err(|_| wrong())?;
        Ok(MasterKey {
            id: self.id,
            bytes: Zeroizing::new(bytes),
        })
    }
}

fn create(path: &Path) -> io::Result<(MasterKey, Vec<MasterKey>)> {
    let key = MasterKey::fresh();
    let entry = Entry {
        id: key.id,
        key: URL_SAFE_NO_PAD.encode(key.bytes()),
    };
    let document = Document {
        version: 1,
        current: key.id,
        keys: vec![entry],
    };
    write_private(path, &Zeroizing::new(serde_json::to_vec(&document)?))?;
    Ok((key, Vec::new()))
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let written = write_new(&beside, content).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// A name nobody can foresee, in the same directory.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", random::id()));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let owner_only = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::open(path, flags, owner_only)?);
    // A umask may have taken our own bits away.
    rustix::fs::fchmod(&file, owner_only)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn room() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyring.json");
        (directory, path)
    }

    fn plant(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_second_start_finds_the_first_ones_key() {
        let (_directory, path) = room();
        let (first, _) = load_or_create(&path).unwrap();
        let (second, older) = load_or_create(&path).unwrap();
        assert_eq!(first.bytes(), second.bytes());
        assert!(older.is_empty());
    }

    #[test]
    fn a141_the_file_is_for_its_owner_alone_and_nothing_lies_beside_it() {
        let (directory, path) = room();
        load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a141_a_planted_symlink_is_refused() {
        let (directory, path) = room();
        let elsewhere = directory.path().join("elsewhere");
        load_or_create(&elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(matches!(
            load_or_create(&path),
            Err(KeyringError::Exposed { .. })
        ));
    }

    #[test]
    fn a141_a_file_that_others_can_read_is_refused() {
        let (_directory, path) = room();
        load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(
                load_or_create(&path),
                Err(KeyringError::Exposed { .. })
            ));
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_never_replaced_or_quoted() {
        let (_directory, path) = room();
        let key = URL_SAFE_NO_PAD.encode([7; 32]);
        for text in [
            String::new(),
            "{".into(),
            format!(r#"{{"version":2,"current":1,"keys":[{{"id":1,"key":"{key}"}}]}}"#),
            format!(r#"{{"version":1,"current":2,"keys":[{{"id":1,"key":"{key}"}}]}}"#),
            format!(r#"{{"version":1,"current":1,"keys":[{{"id":1,"key":"{key}A"}}]}}"#),
            format!(r#"{{"version":1,"current":1,"keys":[{{"id":1,"key":{key}}}]}}"#),
            format!(
                r#"{{"version":1,"current":1,"keys":[{{"id":1,"key":"{key}"}},{{"id":1,"key":"{key}"}}]}}"#
            ),
        ] {
            plant(&path, &text, 0o600);
            let error = load_or_create(&path).err().unwrap();
            assert!(matches!(error, KeyringError::Damaged { .. }), "{text}");
            assert!(!format!("{error:?} {error}").contains(&key), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn older_keys_are_kept_behind_the_current_one() {
        let (_directory, path) = room();
        let (one, two) = (
            URL_SAFE_NO_PAD.encode([1; 32]),
            URL_SAFE_NO_PAD.encode([2; 32]),
        );
        let text = format!(
            r#"{{"version":1,"current":2,"keys":[{{"id":1,"key":"{one}"}},{{"id":2,"key":"{two}"}}]}}"#
        );
        plant(&path, &text, 0o600);
        let (current, older) = load_or_create(&path).unwrap();
        assert_eq!((current.id, current.bytes()), (2, &[2; 32][..]));
        assert_eq!(older.len(), 1);
        assert_eq!((older[0].id, older[0].bytes()), (1, &[1; 32][..]));
    }
}
