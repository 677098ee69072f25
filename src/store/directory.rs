//! The data directory: private to its owner, and used by one guard at a time.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::OpenError;
use crate::crypto::random;

/// A directory that nobody else may enter, held by an exclusive lock. The lock is the kernel's: it
/// goes with the process, however that ends, so there are no stale ones.
#[derive(Debug)]
pub(super) struct DataDirectory {
    /// Free of symbolic links.
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory (0700) where there is none, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let trouble = |error| OpenError::io("cannot use the data directory", path, &error);
        if !fs::exists(path).map_err(trouble)? {
            create(path).map_err(trouble)?;
        }
        let path = private_directory(path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The path of a regular file of ours (0600), created empty where there is none. `SQLite` gives
    /// its journals the mode of the database, so this covers them as well.
    pub(super) fn file(&self, name: &str) -> Result<PathBuf, OpenError> {
        let path = self.path.join(name);
        open_private(&path, OFlags::CREATE)?;
        Ok(path)
    }

    /// Whether nothing lies at `name`.
    pub(super) fn lacks(&self, name: &str) -> bool {
        let found = self.path.join(name).symlink_metadata();
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Has `make` write a file of ours (0600), which appears at `name` complete or not at all. That
    /// it appeared is on the disk as soon as the directory is next synced.
    pub(super) fn place(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        // A name nobody can foresee.
        let beside = self.path.join(format!("{name}.{}.new", random::id()));
        let trouble = |error| OpenError::io("cannot write", &beside, &error);
        let file = open_private(&beside, OFlags::CREATE)?;
        let placed = make(&beside)
            .and_then(|()| file.sync_all().map_err(trouble))
            .and_then(|()| fs::rename(&beside, self.path.join(name)).map_err(trouble));
        if placed.is_err() {
            let _ = fs::remove_file(&beside);
        }
        placed
    }

    /// Refuses what lies at `name` unless it is a private file of ours, or nothing.
    pub(super) fn inspect(&self, name: &str) -> Result<(), OpenError> {
        let path = self.path.join(name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => open_private(&path, OFlags::empty()).map(drop),
        }
    }
}

/// Refuses what [`DataDirectory::claim`] would, but for the lock of another guard.
pub(super) fn examine(path: &Path) -> Result<(), OpenError> {
    match fs::exists(path) {
        Ok(false) => Ok(()),
        _ => private_directory(path).map(drop),
    }
}

/// The directory's path, free of symbolic links.
fn private_directory(path: &Path) -> Result<PathBuf, OpenError> {
    let trouble = |error| OpenError::io("cannot use the data directory", path, &error);
    let path = path.canonicalize().map_err(trouble)?;
    let metadata = fs::metadata(&path).map_err(trouble)?;
    if !metadata.is_dir() {
        return Err(OpenError::new(format!(
            "{} is not a directory",
            path.display()
        )));
    }
    require_private(&path, &metadata)?;
    Ok(path)
}

fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // A umask may have taken our own bits away.
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = open_private(&path, OFlags::CREATE)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(OpenError {
            message: format!("another mcp-guard is using {}", directory.display()),
            hint: Some("stop it first, or give this one its own --data-path".into()),
        }),
        Err(errno) => Err(OpenError::io("cannot lock", &path, &errno.into())),
    }
}

fn open_private(path: &Path, create: OFlags) -> Result<File, OpenError> {
    // NONBLOCK: a planted FIFO must not hang the start.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let trouble = |error: io::Error| OpenError::io("cannot open", path, &error);
    let owner_only = Mode::RUSR | Mode::WUSR;
    // In two steps, so that only a file that is new gets its mode from us.
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) if create.contains(OFlags::CREATE) => {
            let new = rustix::fs::open(path, flags | create | OFlags::EXCL, owner_only);
            let new = File::from(new.map_err(|errno| trouble(errno.into()))?);
            rustix::fs::fchmod(&new, owner_only).map_err(|errno| trouble(errno.into()))?;
            new
        }
        Err(Errno::LOOP) => {
            return Err(OpenError::new(format!(
                "{} is a symbolic link",
                path.display()
            )));
        }
        opened => File::from(opened.map_err(|errno| trouble(errno.into()))?),
    };
    let metadata = file.metadata().map_err(trouble)?;
    if !metadata.is_file() {
        return Err(OpenError::new(format!(
            "{} is not a regular file",
            path.display()
        )));
    }
    require_private(path, &metadata)?;
    Ok(file)
}

fn require_private(path: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    let path = path.display();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(OpenError {
            message: format!("{path} belongs to another user (uid {})", metadata.uid()),
            hint: Some("run mcp-guard as that user, or give it its own --data-path".into()),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(OpenError {
            message: format!("{path} can be read or changed by others"),
            hint: Some(format!("chmod go-rwx '{path}'")),
        });
    }
    Ok(())
}

/// A temporary directory as an operator should make one.
#[cfg(test)]
pub(super) fn private_room() -> tempfile::TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a141_what_is_created_is_for_the_owner_alone() {
        let room = private_room();
        let path = room.path().join("state/mcp-guard");
        let directory = DataDirectory::claim(&path).unwrap();
        let file = directory.file("data").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&path.join("lock")), 0o600);
    }

    #[test]
    fn a141_an_open_directory_is_refused_with_the_command_that_mends_it() {
        let room = private_room();
        fs::set_permissions(room.path(), Permissions::from_mode(0o750)).unwrap();
        let error = DataDirectory::claim(room.path()).unwrap_err();
        let path = room.path().display().to_string();
        assert!(error.message.contains(&path), "{error:?}");
        assert_eq!(error.hint.unwrap(), format!("chmod go-rwx '{path}'"));
        fs::set_permissions(room.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(DataDirectory::claim(room.path()).is_ok());
    }

    #[test]
    fn a141_to_examine_refuses_the_same_and_creates_nothing() {
        let room = private_room();
        let path = room.path().join("state");
        assert!(examine(&path).is_ok() && !path.exists());
        drop(DataDirectory::claim(&path).unwrap());
        let held = DataDirectory::claim(&path).unwrap();
        assert!(examine(&path).is_ok());
        drop(held);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        assert!(examine(&path).unwrap_err().hint.is_some());
    }

    #[test]
    fn a141_a_file_in_the_directorys_place_is_refused() {
        let room = private_room();
        let path = room.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDirectory::claim(&path).unwrap_err();
        assert!(error.message.ends_with("is not a directory"), "{error}");
    }

    #[test]
    fn a141_planted_links_and_open_files_are_refused() {
        let room = private_room();
        let directory = DataDirectory::claim(room.path()).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        symlink(elsewhere.path(), room.path().join("link")).unwrap();
        assert!(
            directory
                .file("link")
                .unwrap_err()
                .message
                .contains("symbolic link")
        );
        assert!(directory.inspect("link").is_err());
        assert!(directory.inspect("nothing").is_ok());
        let file = directory.file("data").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert!(
            directory
                .file("data")
                .unwrap_err()
                .hint
                .unwrap()
                .starts_with("chmod")
        );
    }

    #[test]
    fn a141_a_directory_behind_a_link_of_ours_is_fine() {
        let room = private_room();
        let real = room.path().join("real");
        drop(DataDirectory::claim(&real).unwrap());
        let link = room.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(DataDirectory::claim(&link).is_ok());
    }

    #[test]
    fn a142_a_second_guard_is_refused_until_the_first_is_gone() {
        let room = private_room();
        let first = DataDirectory::claim(room.path()).unwrap();
        let error = DataDirectory::claim(room.path()).unwrap_err();
        assert!(
            error.message.starts_with("another mcp-guard is using"),
            "{error}"
        );
        drop(first);
        assert!(DataDirectory::claim(room.path()).is_ok());
    }
}
