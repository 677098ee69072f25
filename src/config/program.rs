//! Whether the wrapped server's program is there to be started, asked once at the start so that a
//! typing error is an answer at the terminal and not a 502 for the first client.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where `execvp` looks when there is no `PATH`.
const STANDARD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The file that a program's name stands for: a path as it is (seen from `working_dir`), a bare
/// name looked up in `path`.
pub(super) fn find(
    name: &OsStr,
    path: Option<&OsStr>,
    working_dir: Option<&Path>,
) -> Option<PathBuf> {
    let base = working_dir.unwrap_or(Path::new(""));
    if name.as_encoded_bytes().contains(&b'/') {
        return executable(base.join(name));
    }
    std::env::split_paths(path.unwrap_or(OsStr::new(STANDARD_PATH)))
        .find_map(|directory| executable(base.join(directory).join(name)))
}

fn executable(path: PathBuf) -> Option<PathBuf> {
    let metadata = path.metadata().ok()?;
    let runs = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    runs.then_some(path)
}

/// The server's name for people, and for the clients' configuration: from the package that a
/// runner is told to run (`npx -y @scope/server-x@2` → `server-x`), or else from the program.
pub(super) fn server_name(command: &[std::ffi::OsString]) -> String {
    const RUNNERS: [&str; 12] = [
        "npx", "npm", "pnpm", "bunx", "bun", "uvx", "uv", "pipx", "node", "deno", "python",
        "python3",
    ];
    const VERBS: [&str; 4] = ["run", "exec", "dlx", "x"];
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let program = words.first().map_or("mcp", |word| stem(word));
    let named = RUNNERS.contains(&program).then(|| {
        words
            .iter()
            .skip(1)
            .find(|word| !word.starts_with('-') && !VERBS.contains(&word.as_ref()))
    });
    let name = named.flatten().map_or(program, |word| stem(word));
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    if name.is_empty() {
        "mcp".to_owned()
    } else {
        name
    }
}

/// The last part of a path or package name, without version and script suffix.
fn stem(word: &str) -> &str {
    let last = word.rsplit('/').next().unwrap_or(word);
    let last = last.split(['@', '=']).next().unwrap_or(last);
    [".js", ".mjs", ".cjs", ".ts", ".py", ".sh"]
        .iter()
        .find_map(|suffix| last.strip_suffix(suffix))
        .unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;

    #[test]
    fn a_bare_name_is_looked_up_in_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("server");
        fs::write(&program, "").unwrap();
        let path = Some(directory.path().as_os_str());
        let name = OsStr::new("server");
        assert_eq!(find(name, path, None), None, "not executable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(name, path, None), Some(program.clone()));
        assert_eq!(
            find(OsStr::new("./server"), None, Some(directory.path())).unwrap(),
            directory.path().join("./server")
        );
        assert_eq!(find(program.as_os_str(), None, None), Some(program));
        assert_eq!(find(directory.path().as_os_str(), None, None), None);
    }

    #[test]
    fn servers_are_named_after_what_runs() {
        for (command, name) in [
            (
                "npx -y @modelcontextprotocol/server-everything",
                "server-everything",
            ),
            ("npx -y @scope/server-x@2.1 --flag", "server-x"),
            ("uvx mcp-server-time==1.2", "mcp-server-time"),
            ("uv run server.py", "server"),
            ("/usr/bin/python3 /srv/tools.py", "tools"),
            ("/opt/bin/github-mcp stdio", "github-mcp"),
            ("npx", "npx"),
            ("", "mcp"),
        ] {
            let words: Vec<_> = command.split_whitespace().map(OsString::from).collect();
            assert_eq!(server_name(&words), name, "{command}");
        }
    }
}
