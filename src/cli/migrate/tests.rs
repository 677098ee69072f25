use std::ffi::OsString;

use super::*;
use crate::config::{Invocation, Surroundings, from_args};

fn migration(arguments: &[&str], variables: &[(&str, &str)]) -> Migration {
    let arguments = ["migrate"].iter().chain(arguments).map(OsString::from);
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let surroundings = Surroundings::new(variables, |_| Err(std::io::ErrorKind::NotFound.into()));
    match from_args(arguments, surroundings) {
        Ok(Invocation::Migrate(_, migration)) => migration,
        other => panic!("{other:?}"),
    }
}

/// One of each kind of value.
fn every_kind() -> Migration {
    let arguments = [
        "--no-auto-tls",
        "--listen=127.0.0.1:80",
        "--trusted-proxies",
        "10.0.0.0/8, 10.0.0.7",
        "--password-hash=canary",
        "--oidc-provider-name",
        "Bob's \"SSO\"",
        "--oidc-client-id",
        "i",
        "--oidc-allowed-users-glob",
        "*@a.test",
        "--proxy-headers",
        "X-Key:canary",
        "http://127.0.0.1:3000",
    ];
    let variables = [
        ("EXTERNAL_URL", "https://mcp.example.com"),
        ("OIDC_CONFIGURATION_URL", "https://id.test"),
        ("OIDC_CLIENT_SECRET", "canary"),
    ];
    migration(&arguments, &variables)
}

#[test]
fn a_command_line_refers_to_secrets() {
    let written = shell::write(&every_kind());
    let expected = r#"MCP_GUARD_OIDC_CLIENT_SECRET="$OIDC_CLIENT_SECRET" \
MCP_GUARD_PROXY_HEADERS="$PROXY_HEADERS" \
mcp-guard \
  --external-url https://mcp.example.com \
  --listen 127.0.0.1:80 \
  --no-auto-tls \
  --trusted-proxies 10.0.0.0/8,10.0.0.7 \
  --password-hash-file password-hash \
  --oidc-configuration-url https://id.test \
  --oidc-client-id i \
  --oidc-provider-name 'Bob'\''s "SSO"' \
  --oidc-allowed-users-glob '*@a.test' \
  http://127.0.0.1:3000
"#;
    assert_eq!(written.text, expected);
    assert_eq!(written.notes.len(), 2, "{:?}", written.notes);
    assert!(!written.notes.concat().contains("canary"));
}

#[test]
fn a_file_names_files_of_secrets() {
    let written = file::write(&every_kind());
    let expected = r#"# mcp-guard --config guard.toml

external-url = "https://mcp.example.com"
listen = "127.0.0.1:80"
no-auto-tls = true
trusted-proxies = ["10.0.0.0/8", "10.0.0.7"]
password-hash-file = "password-hash"
oidc-configuration-url = "https://id.test"
oidc-client-id = "i"
oidc-client-secret-file = "oidc-client-secret"
oidc-provider-name = """Bob's "SSO""""
oidc-allowed-users-glob = ["*@a.test"]
url = "http://127.0.0.1:3000"
"#;
    assert_eq!(written.text, expected);
    assert!(
        written
            .notes
            .iter()
            .any(|note| note.contains("MCP_GUARD_PROXY_HEADERS"))
    );
}

#[test]
fn variables_are_a_line_each() {
    let written = environment::write(&every_kind());
    let expected = r#"MCP_GUARD_EXTERNAL_URL=https://mcp.example.com
MCP_GUARD_LISTEN=127.0.0.1:80
MCP_GUARD_NO_AUTO_TLS=true
MCP_GUARD_TRUSTED_PROXIES=10.0.0.0/8,10.0.0.7
MCP_GUARD_PASSWORD_HASH_FILE=password-hash
MCP_GUARD_OIDC_CONFIGURATION_URL=https://id.test
MCP_GUARD_OIDC_CLIENT_ID=i
MCP_GUARD_OIDC_CLIENT_SECRET_FILE=oidc-client-secret
MCP_GUARD_OIDC_PROVIDER_NAME=Bob's "SSO"
MCP_GUARD_OIDC_ALLOWED_USERS_GLOB=*@a.test
# mcp-guard http://127.0.0.1:3000
"#;
    assert_eq!(written.text, expected);
}

#[test]
fn a_command_of_many_lines_stays_in_its_comment() {
    let migration = migration(
        &["--password", "x", "--", "sh", "-c", "a\nMCP_GUARD_X=1"],
        &[],
    );
    let written = environment::write(&migration);
    let last = written.text.lines().rev().take(2).collect::<Vec<_>>();
    assert_eq!(last, ["# MCP_GUARD_X=1'", "# mcp-guard -- sh -c 'a"]);
}

#[test]
fn what_fits_is_one_line() {
    let migration = migration(&["--", "cat", "a b", "", "~", "x=y"], &[("PASSWORD", "x")]);
    let shown = "MCP_GUARD_PASSWORD=\"$PASSWORD\" mcp-guard --external-url http://localhost -- cat";
    let text = shell::write(&migration)
        .text
        .replace(" \\\n  ", " ")
        .replace(" \\\n", " ");
    assert_eq!(text, format!("{shown} 'a b' '' '~' x=y\n"));
}
