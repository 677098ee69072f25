//! What other people's programs find at the guard's TLS, each where it is installed; in CI they all
//! are. Everything happens on loopback.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Guard, NAME};
use crate::tls::Files;

/// A program, or nothing to test with.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

/// A handshake of `openssl s_client` with these arguments.
fn handshake(openssl: &PathBuf, files: &Files, guard: &Guard, arguments: &[&str]) -> Output {
    let address = format!("127.0.0.1:{}", guard.port);
    run(Command::new(openssl)
        .args(["s_client", "-connect", &address, "-servername", NAME])
        .args(["-verify_return_error", "-verify_hostname", NAME])
        .arg("-CAfile")
        .arg(files.root())
        .args(arguments))
}

#[test]
fn a151_openssl_gets_tls_1_2_and_1_3_with_forward_secrecy_and_nothing_older() {
    let Some(openssl) = program("openssl") else {
        return;
    };
    let files = Files::new();
    let guard = files.guard();
    let accepted = |arguments: &[&str]| {
        let output = handshake(&openssl, &files, &guard, arguments);
        (output.status.success(), text(&output))
    };
    for arguments in [
        &["-tls1_3"][..],
        &["-tls1_2"],
        &["-tls1_2", "-cipher", "ECDHE"],
    ] {
        let (is_accepted, said) = accepted(arguments);
        assert!(is_accepted, "{arguments:?}: {said}");
    }
    // Security level 0: that our end refuses is to be seen, not that OpenSSL would.
    for arguments in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "SHA1:@SECLEVEL=0"],
    ] {
        let (is_accepted, said) = accepted(arguments);
        assert!(!is_accepted, "{arguments:?}: {said}");
    }
}

#[test]
fn a151_early_data_is_not_offered_and_not_taken() {
    let Some(openssl) = program("openssl") else {
        return;
    };
    let files = Files::new();
    let guard = files.guard();
    let session = files.folder.path().join("session");
    let request = files.folder.path().join("request");
    let text_of = format!("GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    fs::write(&request, text_of).unwrap();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (session, request) = (path(&session), path(&request));
    let address = format!("127.0.0.1:{}", guard.port);
    // The ticket comes with the answer: the guard, not the end of the input, ends this.
    let kept = Command::new(&openssl)
        .args(["s_client", "-connect", &address, "-servername", NAME])
        .args(["-tls1_3", "-ign_eof", "-sess_out", &session])
        .stdin(fs::File::open(&request).unwrap())
        .output()
        .unwrap();
    assert!(text(&kept).contains("200 OK"), "{}", text(&kept));
    assert!(text(&kept).contains("Max Early Data: 0"), "{}", text(&kept));
    let again = handshake(
        &openssl,
        &files,
        &guard,
        &["-tls1_3", "-sess_in", &session, "-early_data", &request],
    );
    let said = text(&again);
    assert!(!said.contains("Early data was accepted"), "{said}");
    assert!(
        said.contains("Reused, TLSv1.3"),
        "tickets are of use: {said}"
    );
}

#[test]
fn a151_sslscan_finds_no_weakness() {
    let Some(sslscan) = program("sslscan") else {
        return;
    };
    let files = Files::new();
    let guard = files.guard();
    let target = format!("127.0.0.1:{}", guard.port);
    let output =
        run(Command::new(sslscan).args(["--no-colour", &format!("--sni-name={NAME}"), &target]));
    let said = text(&output);
    for line in [
        "SSLv2     disabled",
        "SSLv3     disabled",
        "TLSv1.0   disabled",
        "TLSv1.1   disabled",
        "TLSv1.2   enabled",
        "TLSv1.3   enabled",
        "TLSv1.3 not vulnerable to heartbleed",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let suites: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted"))
        .collect();
    assert!(suites.len() >= 4, "{said}");
    for suite in suites {
        let is_aead = suite.contains("GCM") || suite.contains("CHACHA20") || suite.contains("CCM");
        let is_ephemeral = suite.contains("TLSv1.3") || suite.contains("ECDHE");
        assert!(is_aead && is_ephemeral, "{suite}");
    }
}

/// What testssl.sh says about certificates of a private authority, and nothing about TLS.
const OF_A_PRIVATE_AUTHORITY: [&str; 2] = ["cert_chain_of_trust", "cert_revocation"];

#[test]
fn a151_testssl_finds_nothing_above_low() {
    let Some(testssl) = program("testssl") else {
        return;
    };
    let files = Files::new();
    let guard = files.guard();
    let report = files.folder.path().join("report.json");
    let address = format!("{NAME}:{}", guard.port);
    let output = run(Command::new("timeout")
        .arg("300")
        .arg(testssl)
        .args(["--quiet", "--color", "0", "--warnings", "off", "--fast"])
        .args([
            "--nodns",
            "none",
            "--ip",
            "127.0.0.1",
            "--connect-timeout",
            "5",
        ])
        .args(["--openssl-timeout", "5", "--severity", "MEDIUM"])
        .args(["--protocols", "--server-defaults", "--vulnerable", "--fs"])
        .arg("--jsonfile")
        .arg(&report)
        .arg(&address));
    let said = text(&output);
    let report = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let findings: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}"));
    let of_tls: Vec<&Value> = findings
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| {
            let of = |name: &str| finding[name].as_str().unwrap_or_default();
            // What it cannot look at with this OpenSSL is a "WARN".
            of("severity") != "WARN" && !OF_A_PRIVATE_AUTHORITY.contains(&of("id"))
        })
        .collect();
    assert!(of_tls.is_empty(), "{of_tls:#?}\n{said}");
    assert!(
        said.contains("TLS 1.3") && said.contains("offered"),
        "{said}"
    );
}

#[test]
fn h2load_gets_every_answer_over_http2() {
    let Some(h2load) = program("h2load") else {
        return;
    };
    let files = Files::new();
    let guard = files.guard();
    let url = format!("https://127.0.0.1:{}/healthz", guard.port);
    let output = run(Command::new(h2load).args(["-n", "2000", "-c", "20", "-m", "20", &url]));
    let said = text(&output);
    assert!(said.contains("Application protocol: h2"), "{said}");
    let expected = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("2000 2xx"), "{said}");
}
