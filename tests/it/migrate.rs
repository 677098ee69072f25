//! `migrate`: every way to start mcp-auth-proxy that its documentation shows, and others that people
//! have, come out as something that `check` accepts, and that holds no secret.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::{Authority, Document};

/// What a secret is in these tests: good enough for `check`, and easy to find where it should not be.
const SECRET: &str = "canary horse battery";
const HASH: &str = "$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";

/// Files that `migrate` asks for.
const SECRET_FILES: &[&str] = &[
    "password",
    "google-client-secret",
    "github-client-secret",
    "oidc-client-secret",
    "proxy-bearer-token",
];

/// Programs that the examples start.
const PROGRAMS: &[&str] = &["npx", "uvx", "my-server"];

type Variables<'a> = &'a [(&'a str, &'a str)];

/// A command line of mcp-auth-proxy's, as a shell has it, and its variables.
type Example<'a> = (&'a str, Variables<'a>);

const PASSWORD: (&str, &str) = ("PASSWORD", SECRET);
const URL: (&str, &str) = ("EXTERNAL_URL", "https://mcp.example.com");
const TERMS: (&str, &str) = ("TLS_ACCEPT_TOS", "true");

/// As its README and its documentation have it, from the first version to 2.10.
const DOCUMENTED: &[Example<'_>] = &[
    // README and examples: a command, with TLS of its own.
    (
        "./mcp-auth-proxy --external-url https://mcp.example.com --tls-accept-tos \
         --password 'canary horse battery' -- npx -y @modelcontextprotocol/server-filesystem ./",
        &[],
    ),
    // Quick start: a container, without `--`.
    (
        "npx -y @modelcontextprotocol/server-filesystem ./",
        &[
            URL,
            ("TLS_ACCEPT_TOS", "1"),
            PASSWORD,
            ("DATA_PATH", "/data"),
        ],
    ),
    // Quick start: TLS elsewhere, and a URL.
    (
        "--external-url https://mcp.example.com --no-auto-tls http://localhost:8080",
        &[PASSWORD],
    ),
    // Docker Compose, with everything at once.
    (
        "npx -y @modelcontextprotocol/server-filesystem ./",
        &[
            URL,
            TERMS,
            PASSWORD,
            ("GOOGLE_CLIENT_ID", "google-id"),
            ("GOOGLE_CLIENT_SECRET", SECRET),
            ("GOOGLE_ALLOWED_USERS", "a@example.com,b@example.com"),
            ("GOOGLE_ALLOWED_WORKSPACES", "one.com,two.com"),
            ("GITHUB_CLIENT_ID", "github-id"),
            ("GITHUB_CLIENT_SECRET", SECRET),
            ("GITHUB_ALLOWED_USERS", "anna,ben"),
            ("GITHUB_ALLOWED_ORGS", "org1,org2:team1"),
            (
                "OIDC_CONFIGURATION_URL",
                "https://id.example.com/.well-known/openid_configuration",
            ),
            ("OIDC_CLIENT_ID", "oidc-id"),
            ("OIDC_CLIENT_SECRET", SECRET),
            ("OIDC_ALLOWED_USERS", "c@example.org"),
            ("OIDC_ALLOWED_USERS_GLOB", "*@example.com"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"),
        ],
    ),
    // Kubernetes, behind an ingress and as a sidecar.
    (
        "npx -y @modelcontextprotocol/server-filesystem ./",
        &[URL, ("NO_AUTO_TLS", "true"), PASSWORD],
    ),
    (
        "--external-url=https://mcp.example.com --no-auto-tls http://localhost:8000",
        &[PASSWORD],
    ),
    // Setting up providers.
    (
        "./mcp-auth-proxy --external-url https://mcp.example.com --tls-accept-tos \
         --google-client-id google-id --google-client-secret 'canary horse battery' \
         --google-allowed-workspaces one.com,two.com -- my-server",
        &[],
    ),
    (
        "./mcp-auth-proxy --external-url https://mcp.example.com --tls-accept-tos \
         --github-client-id github-id --github-client-secret 'canary horse battery' \
         --github-allowed-users anna,ben --github-allowed-orgs org1,org2:team1 -- my-server",
        &[],
    ),
    (
        "./mcp-auth-proxy --external-url https://mcp.example.com --tls-accept-tos \
         --oidc-configuration-url https://id.example.com/.well-known/openid-configuration \
         --oidc-client-id oidc-id --oidc-client-secret 'canary horse battery' \
         --oidc-allowed-users a@example.com,b@example.com -- my-server",
        &[],
    ),
    (
        "./mcp-auth-proxy --external-url https://mcp.example.com --tls-accept-tos \
         --password 'canary horse battery' --google-client-id google-id \
         --google-client-secret 'canary horse battery' --google-allowed-users a@gmail.com \
         --github-client-id github-id --github-client-secret 'canary horse battery' \
         --github-allowed-users anna -- my-server",
        &[],
    ),
    // Rules on attributes.
    (
        "--oidc-scopes openid,profile,email,groups --oidc-allowed-users a@example.com \
         --oidc-allowed-attributes '/groups=data-science,/org/team=platform' -- my-server",
        &[
            URL,
            ("NO_AUTO_TLS", "1"),
            ("OIDC_CONFIGURATION_URL", "https://id.example.com"),
            ("OIDC_CLIENT_ID", "oidc-id"),
            ("OIDC_CLIENT_SECRET", SECRET),
        ],
    ),
    // Other stores.
    (
        "--repository-backend postgres --repository-dsn postgres://u:canary@h/db?sslmode=disable \
         -- my-server",
        &[URL, TERMS, PASSWORD],
    ),
    // The first versions: the server in a variable or a flag.
    (
        "",
        &[
            URL,
            TERMS,
            PASSWORD,
            ("TLS_HOST", "mcp.example.com"),
            ("PROXY_URL", "http://localhost:8080"),
        ],
    ),
    (
        "./mcp-auth-proxy --external-url http://localhost:8081 --proxy-url http://localhost:8080 \
         --google-client-id google-id --google-client-secret 'canary horse battery' \
         --google-allowed-users a@example.com --password 'canary horse battery'",
        &[],
    ),
    (
        "",
        &[
            ("EXTERNAL_URL", "http://localhost:8081"),
            ("PROXY_URL", "http://playwright:8931"),
            PASSWORD,
        ],
    ),
];

const OTHERS: &[Example<'_>] = &[
    (
        "-- my-server -d x '' 'a b' \"it's\" '$HOME' '*'",
        &[PASSWORD],
    ),
    (
        "-e https://mcp.example.com --tls-cert-file chain.pem --tls-key-file key.pem \
         --tls-listen :8443 --listen :8080 -- my-server",
        &[PASSWORD],
    ),
    (
        "-e https://mcp.example.com:8443 --tls-listen :8443 -H tls.example.com --tls-accept-tos=1 \
         --tls-directory-url https://ca.example.com/directory -d ./data -- my-server",
        &[("PASSWORD_HASH", HASH), ("MODE", "debug")],
    ),
    // Everybody could come in, in the clear.
    (
        "-e http://intranet --listen 0.0.0.0:80 --github-url https://github.example.com \
         --github-api-url https://github.example.com/api/v3 --github-client-id id -- my-server",
        &[("GITHUB_CLIENT_SECRET", SECRET)],
    ),
    (
        "-e https://mcp.example.com --no-auto-tls --proxy-bearer-token 'canary horse battery' \
         --proxy-headers 'X-Key: canary,X-Other:canary' --header-mapping \
         /email:X-Forwarded-Email,/preferred_username:X-Forwarded-User --http-streaming-only \
         --proxy-forward-authorization --no-provider-auto-select http://10.0.0.7:3000/mcp",
        &[PASSWORD],
    ),
    (
        "-e https://mcp.example.com --no-auto-tls http://10.0.0.7:3000",
        &[
            PASSWORD,
            ("PROXY_HEADERS", "X-Key:canary"),
            ("PROXY_BEARER_TOKEN", SECRET),
            ("JWT_PRIVATE_KEY", "canary"),
            ("AUTH_HMAC_SECRET", "canary"),
        ],
    ),
    (
        "-e https://mcp.example.com --no-auto-tls --oidc-configuration-url https://id.example.com \
         --oidc-client-id i --oidc-client-secret 'canary horse battery' --oidc-provider-name \
         'Bob'\"'\"'s \"SSO\"' --oidc-user-id-field /name --oidc-allowed-attributes-glob '/name=a*' \
         -- my-server",
        &[],
    ),
];

/// A folder with all that examples speak of. Its `bin` has an `mcp-guard` that only ever checks.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir(folder.path().join("bin")).unwrap();
        let guard = env!("CARGO_BIN_EXE_mcp-guard");
        let script = format!("#!/bin/sh\nexec '{guard}' check \"$@\"\n");
        write("bin/mcp-guard", &script, 0o700);
        for program in PROGRAMS {
            write(&format!("bin/{program}"), "#!/bin/sh\n", 0o700);
        }
        for name in SECRET_FILES {
            write(name, SECRET, 0o600);
        }
        Authority::new().write_pair(folder.path(), "mcp.example.com");
        Self(folder)
    }

    /// A shell in it, with these variables alone.
    fn run(&self, script: &str, variables: Variables<'_>) -> Output {
        let bin = self.0.path().join("bin");
        Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", self.0.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    fn migrate(&self, format: &str, (arguments, variables): Example<'_>) -> (String, String) {
        let guard = env!("CARGO_BIN_EXE_mcp-guard");
        let script = format!("exec '{guard}' migrate --format {format} {arguments}");
        let output = self.run(&script, variables);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments}: {notes}");
        let text = String::from_utf8(output.stdout).unwrap();
        for secret in ["canary", HASH] {
            let is_hidden = !text.contains(secret) && !notes.contains(secret);
            assert!(is_hidden, "{arguments}: {text}{notes}");
        }
        (text, notes)
    }

    /// Asks `check` about what came out, as people would use it.
    fn check(&self, script: &str, example: Example<'_>, more: Variables<'_>) {
        let variables = [example.1, more].concat();
        let output = self.run(script, &variables);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example:?}\n{script}\n{error}");
    }
}

fn examples() -> impl Iterator<Item = Example<'static>> {
    DOCUMENTED.iter().chain(OTHERS).copied()
}

/// What the notes ask for besides files.
fn by_hand(notes: &str) -> Variables<'static> {
    if notes.contains("into the variable PROXY_HEADERS") {
        return &[("PROXY_HEADERS", "X-Key:canary")];
    }
    if notes.contains("set MCP_GUARD_PROXY_HEADERS") {
        return &[("MCP_GUARD_PROXY_HEADERS", "X-Key:canary")];
    }
    &[]
}

#[test]
fn every_command_line_comes_out_as_one_that_check_accepts() {
    let place = Place::new();
    for example in examples() {
        let (text, notes) = place.migrate("shell", example);
        assert!(!notes.contains("would not start"), "{example:?}: {notes}");
        place.check(&text, example, by_hand(&notes));
    }
}

#[test]
fn every_command_line_comes_out_as_a_file_that_check_accepts() {
    let place = Place::new();
    fs::write(place.0.path().join("password-hash"), HASH).unwrap();
    for example in examples() {
        let (text, notes) = place.migrate("toml", example);
        fs::write(place.0.path().join("guard.toml"), &text).unwrap();
        place.check("mcp-guard --config guard.toml", example, by_hand(&notes));
    }
}

#[test]
fn every_command_line_comes_out_as_variables_that_check_accepts() {
    let place = Place::new();
    fs::write(place.0.path().join("password-hash"), HASH).unwrap();
    for example in examples() {
        let (text, notes) = place.migrate("env", example);
        let (variables, start) = text.trim_end().rsplit_once("\n# ").unwrap();
        let variables = variables.lines().map(|line| line.split_once('=').unwrap());
        let variables: Vec<_> = variables.chain(by_hand(&notes).iter().copied()).collect();
        place.check(start, example, &variables);
    }
}

#[test]
fn what_cannot_be_migrated_prints_nothing() {
    let place = Place::new();
    let guard = env!("CARGO_BIN_EXE_mcp-guard");
    for (arguments, code, said) in [
        (
            "--external-url https://a.example.com --lisen :80 -- my-server",
            64,
            "--listen",
        ),
        ("--format yaml -- my-server", 64, "shell, toml, env"),
        ("--password x", 64, "no server"),
        ("-- my-server", 78, "nobody could sign in"),
        (
            "--password x --listen proxy:80 -- my-server",
            78,
            "--listen",
        ),
    ] {
        let output = place.run(&format!("exec '{guard}' migrate {arguments}"), &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {error}");
        assert!(
            error.starts_with("error: ") && error.contains(said),
            "{error}"
        );
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}

#[test]
fn the_documents_examples_are_what_it_prints() {
    let place = Place::new();
    let document = Document::named("docs/from-mcp-auth-proxy.md");
    let guard = Path::new(env!("CARGO_BIN_EXE_mcp-guard"));
    let blocks = document.blocks().into_iter();
    let mut seen = 0;
    for block in blocks.filter(|block| block.language == "console") {
        let text = block.text.strip_prefix("$ ").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.iter().position(|line| !line.ends_with('\\')).unwrap();
        let script = lines[..=end].join("\n");
        assert!(script.contains("mcp-guard migrate"), "{script}");
        let script = script.replace("mcp-guard", guard.to_str().unwrap());
        let output = place.run(&script, &[]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let shown = lines[end + 1..].join("\n");
        assert_eq!(printed.trim_end(), shown, "{script}: {error}");
        assert!(!error.contains("would not start"), "{error}");
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} examples");
}
