//! Finding the program that a command names, for the check at the start.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The file that would be executed for `name`: itself, seen from `cwd`, if it holds a slash; else
/// the first executable of that name in the directories of `path_env`, where an empty one is `cwd`.
pub fn find_program(name: &OsStr, path_env: &OsStr, cwd: &Path) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(cwd.join(name)).filter(|path| is_executable(path));
    }
    std::env::split_paths(path_env)
        .map(|directory| cwd.join(directory).join(name))
        .find(|path| !name.is_empty() && is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn find(name: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
        find_program(name.as_ref(), path.as_ref(), cwd)
    }

    #[test]
    fn programs_are_found_as_exec_would_find_them() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fs::create_dir(home.join("bin")).unwrap();
        for (name, mode) in [("bin/server", 0o755), ("bin/notes", 0o644)] {
            fs::write(home.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(home.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let server = Some(home.join("bin/server"));
        assert_eq!(find("server", "/nowhere:bin", home), server);
        assert_eq!(find("bin/server", "", home), server);
        assert_eq!(find("server", "", &home.join("bin")), server);
        assert_eq!(find("server", "/nowhere", home), None);
        assert_eq!(find("notes", "bin", home), None);
        assert_eq!(find("bin", ".", home), None);
        assert_eq!(find("", "bin", home), None);
    }
}
