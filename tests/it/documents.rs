//! The documents against the program: what they say can be typed, loads, and is still so.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mcp_guard::config::options::{Default, Form, GROUPS, Kind, Opt};

use crate::cases::test_names;
use crate::house::HOUSE;
use crate::support::{Document, documents, rust_files};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A hash that a users file may hold; of no password that anybody knows.
const USERS: &str = "anna:$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u\n";

#[test]
fn every_option_is_described_with_its_variables_and_its_default() {
    let document = Document::named("docs/options.md");
    for group in GROUPS {
        assert!(
            document.text.contains(&format!("\n## {}\n", group.title)),
            "{}",
            group.title
        );
    }
    let described: Vec<Vec<String>> = document
        .rows()
        .into_iter()
        .filter(|row| row[0].starts_with("`--"))
        .map(|row| row[..4].iter().map(|cell| cell.replace('`', "")).collect())
        .collect();
    let options = GROUPS.iter().flat_map(|group| group.options);
    let expected: Vec<Vec<String>> = options.map(option_row).collect();
    assert_eq!(described, expected);
}

/// The first four cells of an option's row.
fn option_row(option: &Opt) -> Vec<String> {
    let each = |name: &dyn Fn(Form) -> String| {
        let names: Vec<_> = option.forms().iter().map(|form| name(*form)).collect();
        names.join(", ")
    };
    let value = match option.kind {
        Kind::Switch => "true, false".to_owned(),
        Kind::One(value) | Kind::Secret { value, .. } => value.to_owned(),
        Kind::Choice(words) => words.replace('|', ", "),
        Kind::List(value) => format!("{value}, list"),
        Kind::Repeated(value) => format!("{value}, repeated"),
    };
    let default = match option.default {
        Default::Value(text) | Default::Derived(text) => text,
        Default::None => "none",
    };
    vec![
        each(&|form| format!("--{}", option.name_of(form))),
        each(&|form| option.variable(form)),
        value,
        default.to_owned(),
    ]
}

#[test]
fn every_command_that_is_shown_would_start() {
    let mut seen = 0;
    for document in documents() {
        let shell = document.blocks().into_iter();
        for block in shell.filter(|block| block.language == "sh") {
            for arguments in block.text.lines().filter_map(guard_arguments) {
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

/// The arguments of a line that starts the guard.
fn guard_arguments(line: &str) -> Option<Vec<String>> {
    let rest = line
        .strip_prefix("mcp-guard ")
        .or_else(|| line.strip_prefix("cargo run --release -- "))?;
    Some(words(rest))
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
    let examples: Vec<(PathBuf, String)> = examples
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension() != Some(OsStr::new("rs")))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    let documents = documents();
    let shown: Vec<_> = documents
        .iter()
        .flat_map(Document::blocks)
        .filter(|block| ["nginx", "caddyfile", "ini", "toml"].contains(&block.language))
        .collect();
    for (path, text) in &examples {
        let is_shown = shown.iter().any(|block| block.text == *text);
        assert!(is_shown, "{} is not shown as it is", path.display());
    }
    assert_eq!(shown.len(), examples.len(), "something shown is no example");
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = document.path.parent().unwrap();
        for link in document.links() {
            let is_local = !link.starts_with("http://") && !link.starts_with("https://");
            if is_local && !leads_somewhere(&document.path, folder, &link) {
                broken.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn leads_somewhere(from: &Path, folder: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        from.to_owned()
    } else {
        folder.join(path)
    };
    if !Path::new(ROOT).join(&target).exists() {
        return false;
    }
    anchor.is_empty()
        || Document::read(&target)
            .anchors()
            .iter()
            .any(|it| it == anchor)
}

#[test]
fn every_number_that_the_source_cites_is_explained() {
    let explained: BTreeSet<String> = Document::named("docs/threats.md")
        .prose()
        .filter_map(|line| line.strip_prefix("**")?.split("**").next())
        .map(str::to_owned)
        .collect();
    let folders = ["src", "tests/it", "tests/interop", "benches", "examples"];
    let mut unexplained = BTreeSet::new();
    for file in folders.iter().flat_map(|folder| sources(folder)) {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let cited = citations(comment).into_iter();
            let unknown = cited.filter(|number| !explained.contains(number));
            unexplained.extend(unknown.map(|number| format!("{number} in {}", file.display())));
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

/// Numbers as in `A-077`, `D-05`, `B13`, `Appendix B.2`.
fn citations(comment: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let words = comment.split(|letter: char| !is_part(letter));
    let mut found: Vec<String> = words
        .filter(|word| is_citation(word))
        .map(str::to_owned)
        .collect();
    for rest in comment.split("Appendix ").skip(1) {
        let name: String = rest
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '.')
            .collect();
        let name = name.trim_end_matches('.');
        if name.contains('.') {
            found.push(format!("Appendix {name}"));
        }
    }
    found
}

fn is_citation(word: &str) -> bool {
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match word.split_at_checked(1) {
        Some(("A", rest)) if rest.starts_with('-') => digits(&rest[1..], &[3]),
        Some(("R" | "D", rest)) if rest.starts_with('-') => digits(&rest[1..], &[2]),
        Some(("A" | "B" | "C" | "H", rest)) => digits(rest, &[1, 2]),
        _ => false,
    }
}

/// Everything with `//` comments in a folder of ours.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(ROOT).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(".rs") || name.ends_with(".mjs") || name == "run" {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn the_citations_of_a_comment_are_found() {
    let comment =
        " (threat cases A-033, A-045 … A-047; D-05 c), B13. SHA-256, RFC 7636 Appendix B.";
    let found = citations(comment);
    assert_eq!(found, ["A-033", "A-045", "A-047", "D-05", "B13"]);
    assert_eq!(citations("see Appendix B.2)."), ["Appendix B.2"]);
}

#[test]
fn the_tests_that_the_list_of_threats_names_exist() {
    let tests = test_names();
    let document = Document::named("docs/threats.md");
    let named = document
        .prose()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_test = |name: &&str| {
        let bytes = name.as_bytes();
        bytes.len() > 12 && matches!(bytes[0], b'a' | b'r') && bytes[1].is_ascii_digit()
    };
    let gone: Vec<_> = named
        .filter(is_test)
        .filter(|name| !tests.contains(*name))
        .collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

#[test]
fn the_rooms_of_the_architecture_are_those_of_the_house() {
    let document = Document::named("docs/architecture.md");
    let rooms: BTreeSet<(String, String)> = document
        .rows()
        .iter()
        .filter(|row| row.len() == 3 && row[0].starts_with('`'))
        .map(|row| (row[0].replace('`', ""), row[2].replace('`', "")))
        .collect();
    let imports = |rooms: &[&str]| match rooms {
        [] => "nothing".to_owned(),
        rooms => rooms.join(", "),
    };
    let house = HOUSE.iter();
    let house = house.map(|(room, allowed)| ((*room).to_owned(), imports(allowed)));
    assert_eq!(rooms, house.collect());
}

#[test]
fn the_logs_events_are_listed_as_they_are() {
    let document = Document::named("docs/operating.md");
    let rows = document.rows();
    let is_level = |row: &&Vec<&str>| row.len() == 3 && ["error", "warn", "info"].contains(&row[1]);
    let listed = rows.iter().filter(is_level);
    let listed: BTreeSet<&str> = listed
        .flat_map(|row| row[0].split('`').skip(1).step_by(2))
        .collect();
    let sources: String = rust_files("src")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let events = sources.split("(event = \"").skip(1);
    let events: BTreeSet<&str> = events.filter_map(|rest| rest.split('"').next()).collect();
    let unlisted: Vec<_> = events.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in the document: {unlisted:?}");
    for text in listed.difference(&events) {
        let is_message = sources.contains(&format!("\"{text}\""));
        assert!(is_message, "nothing logs this: {text}");
    }
}

#[test]
fn the_readmes_way_to_test_is_the_one_that_is_run() {
    let readme = Document::named("README.md");
    let blocks = readme.blocks().into_iter();
    let is_test = |line: &&str| line.starts_with("cargo test");
    let commands: Vec<String> = blocks
        .filter(|block| block.language == "sh")
        .flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| is_test(&line.as_str()))
        .collect();
    let script = fs::read_to_string(Path::new(ROOT).join(".ci/run")).unwrap();
    let run: Vec<&str> = script.lines().filter(is_test).collect();
    let [command] = commands.as_slice() else {
        panic!("one command, not {commands:?}");
    };
    let plain = |line: &str| line.split(" 2>").next().unwrap_or_default().to_owned();
    assert!(run.iter().any(|line| plain(line) == *command), "{run:?}");
}
