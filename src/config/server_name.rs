//! What the wrapped server is called.

use std::ffi::OsString;

use crate::upstream::Upstream;

/// What starts packages and scripts, and says nothing about them.
const RUNNERS: [&str; 12] = [
    "npx", "npm", "pnpm", "bunx", "bun", "uvx", "uv", "pipx", "node", "deno", "python", "python3",
];

/// What may stand between a runner and what it runs.
const VERBS: [&str; 4] = ["run", "exec", "dlx", "x"];

/// The server's name for people, and for the clients' configuration.
pub(super) fn of(upstream: &Upstream) -> String {
    match upstream {
        Upstream::Command(settings) => of_command(&settings.command),
        Upstream::Url(settings) => settings.url.host_str().unwrap_or("mcp").to_owned(),
    }
}

/// From the package that a
/// runner is told to run (`npx -y @scope/server-x@2` → `server-x`), or else from the program.
fn of_command(command: &[OsString]) -> String {
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

/// What files and folders are called that say nothing of what is in them.
const NAMELESS: [&str; 9] = [
    "index", "main", "cli", "server", "app", "dist", "build", "src", "bin",
];

/// The last part of a path or package name that says something, without version and script suffix:
/// `server-x/dist/index.js` is `server-x`.
fn stem(word: &str) -> &str {
    let mut parts = word.rsplit('/').map(bare);
    let last = parts.next().unwrap_or(word);
    if !NAMELESS.contains(&last) {
        return last;
    }
    let telling = parts.find(|part| !part.is_empty() && *part != "." && !NAMELESS.contains(part));
    telling.unwrap_or(last)
}

fn bare(last: &str) -> &str {
    let last = last.split(['@', '=']).next().unwrap_or(last);
    [".js", ".mjs", ".cjs", ".ts", ".py", ".sh"]
        .iter()
        .find_map(|suffix| last.strip_suffix(suffix))
        .unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (
                "node ../server-everything/dist/index.js",
                "server-everything",
            ),
            ("node /srv/index.js", "srv"),
            ("node index.js", "index"),
            ("npx", "npx"),
            ("", "mcp"),
        ] {
            let words: Vec<_> = command.split_whitespace().map(OsString::from).collect();
            assert_eq!(of_command(&words), name, "{command}");
        }
    }
}
