//! What the command line says of itself to shells and to `man`: read by the programs that it is for,
//! each where it is installed; in CI they all are.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mcp_guard::config::options;

use crate::tls_programs::program;

/// What a command of the guard's prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program that gets `text` as its standard input.
fn fed(program: &Path, arguments: &[&str], text: &str) -> Output {
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

/// What bash offers for the last of these words, by the function that the script registers.
fn offered_by_bash(bash: &Path, words: &[&str]) -> Vec<String> {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "{}\nregistered=$(complete -p mcp-guard); registered=${{registered#*-F }}\n\
         COMP_WORDS=({}); COMP_CWORD={}\n\
         \"${{registered%% *}}\" mcp-guard \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        printed(&["completions", "bash"]),
        quoted.join(" "),
        words.len() - 1,
    );
    let output = fed(bash, &["--norc", "--noprofile", "-s"], &script);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
    let offered = String::from_utf8(output.stdout).unwrap();
    offered.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_options_words_and_commands() {
    let Some(bash) = program("bash") else {
        return;
    };
    for (words, offered) in [
        (&["mcp-guard", "--external"][..], &["--external-url"][..]),
        (&["mcp-guard", "--isolation", "s"], &["session", "shared"]),
        (&["mcp-guard", "check", "--li"], &["--live", "--listen"]),
        (&["mcp-guard", "completions", "z"], &["zsh"]),
        (&["mcp-guard", "health"], &["healthcheck"]),
    ] {
        let mut found = offered_by_bash(&bash, words);
        let mut expected = offered.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{words:?}");
    }
}

#[test]
fn every_shells_script_is_one_and_knows_every_option() {
    for (shell, check) in [
        ("bash", &["-n"][..]),
        ("zsh", &["-n"]),
        ("fish", &["--no-execute"]),
    ] {
        let script = printed(&["completions", shell]);
        assert_knows_every_option(&script);
        let Some(program) = program(shell) else {
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mcp-guard");
        std::fs::write(&file, &script).unwrap();
        let output = Command::new(program)
            .args(check)
            .arg(&file)
            .env("HOME", folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{shell}: {output:?}");
    }
    // elvish compiles it at its prompt only, for the variable that it sets is there alone.
    for shell in ["elvish", "powershell"] {
        assert_knows_every_option(&printed(&["completions", shell]));
    }
}

fn assert_knows_every_option(text: &str) {
    for (option, form) in options::forms() {
        let name = option.name_of(form);
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn the_manual_page_has_its_sections_and_every_option() {
    let page = printed(&["man"]);
    let plain = page.replace("\\-", "-");
    assert_knows_every_option(&plain);
    let sections: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SH "))
        .map(|title| title.trim_matches('"'))
        .collect();
    let groups = options::GROUPS.iter();
    let groups: Vec<_> = groups.map(|group| group.title.to_uppercase()).collect();
    let expected = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS"]
        .into_iter()
        .chain(groups.iter().map(String::as_str))
        .chain([
            "ENVIRONMENT",
            "FILES",
            "EXIT STATUS",
            "EXAMPLES",
            "SEE ALSO",
        ]);
    assert_eq!(sections, expected.collect::<Vec<_>>());
}

#[test]
fn mandoc_finds_nothing_wrong_with_the_manual_page() {
    let Some(mandoc) = program("mandoc") else {
        return;
    };
    let page = printed(&["man"]);
    // Below a warning is how long the lines of its source are, which nobody writes by hand.
    let lint = fed(&mandoc, &["-T", "lint", "-W", "warning"], &page);
    let complaints = String::from_utf8_lossy(&lint.stdout);
    assert!(
        lint.status.success() && complaints.is_empty(),
        "{complaints}"
    );
    let shown = fed(&mandoc, &["-T", "utf8"], &page);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("MCP-GUARD(1)"), "{shown}");
}
