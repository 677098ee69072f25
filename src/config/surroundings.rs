//! What the guard finds around it when it starts: environment variables and files. Everything that
//! configuration reads comes through here, so that it can be resolved in a test without touching
//! the process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// No configuration or secret is larger.
const LARGEST_FILE: u64 = 1 << 20;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct FileText {
    pub text: String,
    /// Whether others than its owner may read it.
    pub open_to_others: bool,
}

impl FileText {
    /// What to say of a file with secrets that others may read.
    pub(super) fn warning(&self, path: &Path) -> Option<String> {
        self.open_to_others.then(|| {
            format!(
                "{}: other users of this machine may read it; `chmod 600` it",
                path.display()
            )
        })
    }
}

type Reader = dyn Fn(&Path) -> io::Result<FileText> + Send + Sync;

/// The environment variables, and how to read a file. Cheap enough to clone at the start.
#[derive(Clone)]
pub struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    reader: Arc<Reader>,
}

impl fmt::Debug for Surroundings {
    /// The variables may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

impl Surroundings {
    pub fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        reader: impl Fn(&Path) -> io::Result<FileText> + Send + Sync + 'static,
    ) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            reader: Arc::new(reader),
        }
    }

    /// Those of this process.
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os(), read_file)
    }

    /// No variables, but the files of this machine.
    pub fn empty() -> Self {
        Self::new([], read_file)
    }

    /// For tests: these variables and these files (path, text), and nothing else.
    #[cfg(test)]
    pub(super) fn fake(variables: &[(&str, &str)], files: &[(&'static str, &'static str)]) -> Self {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        Self::new(variables, move |path| {
            let text = path.to_str().and_then(|path| files.get(path));
            let text = text.ok_or(io::ErrorKind::NotFound)?;
            Ok(FileText {
                text: (*text).to_owned(),
                open_to_others: path.extension().is_some_and(|end| end == "open"),
            })
        })
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<FileText> {
        (self.reader)(path)
    }

    /// A variable, unless it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

fn read_file(path: &Path) -> io::Result<FileText> {
    use std::os::unix::fs::PermissionsExt as _;

    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    let read = file.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST_FILE {
        return Err(io::Error::other("the file is larger than 1 MiB"));
    }
    Ok(FileText {
        text,
        open_to_others: mode & 0o077 != 0,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_says_whether_others_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "text").unwrap();
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = read_file(&path).unwrap();
            assert_eq!((file.text.as_str(), file.open_to_others), ("text", open));
        }
    }

    #[test]
    fn no_endless_file_is_read() {
        assert!(read_file(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a154_debug_output_shows_no_variable() {
        let surroundings = Surroundings::fake(&[("MCP_GUARD_PASSWORD", "canary")], &[]);
        assert!(!format!("{surroundings:?}").contains("canary"));
    }
}
