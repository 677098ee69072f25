//! What the documents show in blocks is so: commands are typed or judged, configurations load,
//! examples are the files, refusals are in the program's own words. Blocks of a language that is
//! only shown are the exception, and nothing is shown that no test here knows.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use mcp_guard::config::options::{Form, GROUPS};
use serde_json::Value;

use crate::support::{Block, Client, Document, documents, eventually, two_users};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Drawings, output, and what is typed into programs that are not ours.
const ONLY_SHOWN: [&str; 2] = ["text", "console"];
/// Shown as the file in `examples` that it is.
const EXAMPLES: [&str; 5] = ["nginx", "caddyfile", "haproxy", "ini", "toml"];

/// Sections whose `sh` blocks are typed, word for word, by a program that reads them from the
/// document.
const TYPED: [(&str, &str, &str); 3] = [
    ("README.md", "Try it", "tests/interop/promises/newcomer.mjs"),
    (
        "docs/quickstart.md",
        "On this machine",
        "tests/interop/promises/newcomer.mjs",
    ),
    (
        "docs/quickstart.md",
        "A password for each person",
        "tests/interop/promises/newcomer.mjs",
    ),
];

/// The URL of the documents' guard.
const MCP_URL: &str = "https://mcp.example.com/mcp";

/// A hash that a users file may hold; of no password that anybody knows.
const USERS: &str = "anna:$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u\n";

#[test]
fn every_block_is_typed_judged_loaded_or_said_to_be_only_shown() {
    let mut unknown = Vec::new();
    for document in documents() {
        for block in document.blocks() {
            if let Err(why) = checker(&document, &block) {
                let place = document.path.display();
                unknown.push(format!("{place}, {}: {why}", block.section));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Whether something holds the block against the program; if not, why not.
fn checker(document: &Document, block: &Block<'_>) -> Result<(), String> {
    match block.language {
        "sh" if is_typed(document, block) => Ok(()),
        "sh" => commands(block).iter().try_for_each(|line| {
            let is_known = guard_arguments(line).is_some() || is_built(line) || is_run_in_ci(line);
            is_known
                .then_some(())
                .ok_or_else(|| format!("nothing types this: {line}"))
        }),
        "json" | "sql" | "dockerfile" => Ok(()),
        "yaml" if is_compose(block) || block.section == "Metrics" => Ok(()),
        language if EXAMPLES.contains(&language) || ONLY_SHOWN.contains(&language) => Ok(()),
        language => Err(format!("nothing checks `{language}`")),
    }
}

fn is_typed(document: &Document, block: &Block<'_>) -> bool {
    TYPED
        .iter()
        .any(|(path, section, _)| document.path == Path::new(path) && block.section == *section)
}

/// The lines of a block of `sh`, those joined that a backslash joins, without comments.
fn commands(block: &Block<'_>) -> Vec<String> {
    let text = block.text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn is_run_in_ci(line: &str) -> bool {
    let script = fs::read_to_string(Path::new(ROOT).join(".ci/run")).unwrap();
    script.lines().any(|run| run.contains(line))
}

#[test]
fn what_is_said_to_be_typed_is_read_by_what_types_it() {
    for (path, section, by) in TYPED {
        let document = Document::named(path);
        let blocks = document.blocks();
        let is_there = |block: &Block<'_>| block.language == "sh" && block.section == section;
        assert!(blocks.iter().any(is_there), "{path}: {section}");
        let program = fs::read_to_string(Path::new(ROOT).join(by)).unwrap();
        assert!(program.contains(path) && program.contains(section), "{by}");
    }
}

#[test]
fn every_command_that_is_shown_would_start() {
    let mut seen = 0;
    for document in documents() {
        let blocks = document.blocks();
        for (at, block) in blocks.iter().enumerate() {
            if block.language != "sh" || refusal(&blocks, at).is_some() {
                continue;
            }
            for arguments in commands(block)
                .iter()
                .filter_map(|line| guard_arguments(line))
            {
                seen += 1;
                let output = check(&replaced_command(arguments.clone()), "");
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                let place = document.path.display();
                assert!(output.status.success(), "{place}: {arguments:?}: {error}");
            }
        }
    }
    assert!(seen >= 3, "only {seen} commands were found");
}

#[test]
fn every_refusal_that_is_shown_is_made_in_these_words() {
    let mut seen = 0;
    for document in documents() {
        let blocks = document.blocks();
        for (at, block) in blocks.iter().enumerate() {
            let Some(refusal) = refusal(&blocks, at) else {
                continue;
            };
            seen += 1;
            let line = commands(block).concat();
            let output = check(&guard_arguments(&line).unwrap(), "");
            let said = String::from_utf8(output.stderr).unwrap();
            // What is a warning beside an error is not shown.
            let said: String = said.split_inclusive('\n').filter(is_refusal).collect();
            assert_eq!(said, refusal, "{}: {line}", document.path.display());
            assert!([64, 78].contains(&output.status.code().unwrap()), "{line}");
        }
    }
    assert!(seen >= 3, "only {seen} refusals were found");
}

/// What is shown right behind a command, if it is that the guard does not start.
fn refusal<'b>(blocks: &'b [Block<'_>], at: usize) -> Option<&'b str> {
    let answer = blocks.get(at + 1)?;
    let is_refusal = answer.follows && answer.language == "console";
    (blocks[at].language == "sh" && is_refusal && answer.text.starts_with("error: "))
        .then_some(&answer.text)
}

fn is_refusal(line: &&str) -> bool {
    line.starts_with("error: ") || line.starts_with("hint: ")
}

/// The arguments of a line that starts the guard; in a container they stand behind the image's name,
/// and secrets are in a folder of their own.
fn guard_arguments(line: &str) -> Option<Vec<String>> {
    let rest = line
        .strip_prefix("mcp-guard ")
        .or_else(|| line.strip_prefix("cargo run --release -- "));
    if let Some(rest) = rest {
        return Some(words(rest));
    }
    let mut words = words(line.strip_prefix("docker run ")?).into_iter();
    words.find(|word| word.split(':').next() == Some("mcp-guard"))?;
    let arguments = words.map(|word| word.replace("/run/secrets/", ""));
    Some(arguments.collect())
}

/// Whether a line builds an image that `tests/docker/build` can build.
fn is_built(line: &str) -> bool {
    let Some(arguments) = line.strip_prefix("docker build ").map(words) else {
        return false;
    };
    let target = arguments
        .iter()
        .skip_while(|word| *word != "--target")
        .nth(1);
    let stage = target.map(|target| format!(" AS {target}\n"));
    let dockerfile = fs::read_to_string(Path::new(ROOT).join("Dockerfile")).unwrap();
    stage.is_none_or(|stage| dockerfile.contains(&stage))
}

/// Other YAML is what other programs are told.
fn is_compose(block: &Block<'_>) -> bool {
    block.language == "yaml" && block.text.contains("\nservices:\n")
}

/// As a shell splits a line that has no quotes but single ones.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.trim_end().chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// With `cat` in place of a server that is not installed here.
fn replaced_command(mut arguments: Vec<String>) -> Vec<String> {
    if let Some(at) = arguments.iter().position(|word| word == "--") {
        let program = arguments[at + 1].clone();
        let path = std::env::var_os("PATH").unwrap();
        if !std::env::split_paths(&path).any(|folder| folder.join(&program).is_file()) {
            arguments.splice(at + 1.., ["cat".to_owned()]);
        }
    }
    arguments
}

/// Runs `check` where the files that the documents speak of are.
fn check(arguments: &[String], toml: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users"), USERS).unwrap();
    fs::write(folder.path().join("client-secret"), "of nobody's").unwrap();
    fs::write(folder.path().join("guard.toml"), toml).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mcp-guard"))
        .arg("check")
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder.path())
        .output()
        .unwrap()
}

#[test]
fn every_configuration_file_that_is_shown_loads() {
    let mut seen = 0;
    for document in documents() {
        let blocks = document.blocks().into_iter();
        for block in blocks.filter(|block| block.language == "toml") {
            seen += 1;
            let arguments = ["--config", "guard.toml", "--", "cat"].map(str::to_owned);
            let output = check(&arguments, &block.text);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let place = document.path.display();
            assert!(output.status.success(), "{place}: {error}");
        }
    }
    assert!(seen > 0);
}

#[test]
fn what_is_shown_of_the_examples_is_the_examples() {
    let examples = fs::read_dir(Path::new(ROOT).join("examples")).unwrap();
    let shown_too = [Path::new(ROOT).join("examples/compose/acme.yaml")];
    let examples: Vec<(PathBuf, String)> = examples
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension() != Some(OsStr::new("rs")))
        .chain(shown_too)
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    let documents = documents();
    let shown: Vec<_> = documents
        .iter()
        .flat_map(Document::blocks)
        .filter(|block| is_compose(block) || EXAMPLES.contains(&block.language))
        .collect();
    for (path, text) in &examples {
        let is_shown = shown.iter().any(|block| block.text == *text);
        assert!(is_shown, "{} is not shown as it is", path.display());
    }
    assert_eq!(shown.len(), examples.len(), "something shown is no example");
}

#[test]
fn settings_of_clients_are_json_with_the_guards_url() {
    let documents = documents();
    let shown = documents.iter().flat_map(Document::blocks);
    let mut seen = 0;
    for block in shown.filter(|block| block.language == "json") {
        seen += 1;
        let settings: Value = serde_json::from_str(&block.text).unwrap();
        let mut urls = Vec::new();
        collect_urls(&settings, &mut urls);
        assert_eq!(urls, [MCP_URL], "{}", block.text);
    }
    assert!(seen > 0);
}

fn collect_urls<'v>(value: &'v Value, urls: &mut Vec<&'v str>) {
    match value {
        Value::String(text) if text.contains("://") => urls.push(text),
        Value::Array(values) => values.iter().for_each(|value| collect_urls(value, urls)),
        Value::Object(members) => {
            for value in members.values() {
                collect_urls(value, urls);
            }
        }
        _ => {}
    }
}

#[test]
fn the_statement_that_is_shown_ends_one_persons_grants_while_the_guard_runs() {
    let documents = documents();
    let shown: Vec<_> = documents
        .iter()
        .flat_map(Document::blocks)
        .filter(|block| block.language == "sql")
        .collect();
    let [statement] = shown.as_slice() else {
        panic!("one statement, not {}", shown.len());
    };
    let (guard, alice, bob) = two_users(&[]);
    let database =
        rusqlite::Connection::open(guard.data.path().join("state/mcp-guard.db")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let statement = statement.text.replace("local:anna", "local:alice");
    assert_eq!(database.execute(&statement, []).unwrap(), 1);
    let is_refused = |token: &str| Client::try_open(&guard, token, "2025-11-25").status == 401;
    assert!(eventually(Duration::from_secs(20), || is_refused(&alice)));
    assert!(!is_refused(&bob));
}

#[test]
fn alerts_are_on_metrics_that_there_are() {
    let document = Document::named("docs/operating.md");
    let blocks = document.blocks();
    let mut alerts = blocks.iter().filter(|block| block.language == "yaml");
    let rules = &alerts.next().unwrap().text;
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let named: Vec<&str> = words
        .filter(|word| word.starts_with("mcp_guard_"))
        .collect();
    assert!(named.len() >= 3, "{named:?}");
    let rows = document.rows();
    for metric in named {
        let is_listed = rows
            .iter()
            .any(|row| row[0].trim_matches('`').starts_with(metric));
        assert!(is_listed, "{metric}");
    }
}

#[test]
fn images_that_are_shown_use_variables_that_there_are() {
    let document = Document::named("docs/docker.md");
    let blocks = document.blocks();
    let is_image = |block: &&Block<'_>| block.language == "dockerfile";
    let image = blocks.iter().find(is_image).unwrap();
    let words = image.text.split([' ', '=', '\n']);
    let named: Vec<&str> = words
        .filter(|word| word.starts_with("MCP_GUARD_"))
        .collect();
    assert!(!named.is_empty());
    let known: Vec<String> = GROUPS
        .iter()
        .flat_map(|group| group.options)
        .map(|option| option.variable(Form::Itself))
        .collect();
    for variable in named {
        assert!(known.iter().any(|known| known == variable), "{variable}");
    }
}
