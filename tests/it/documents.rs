//! The documents against the program: what they say can be typed, loads, and is still so.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mcp_guard::config::options::{Default, Form, GROUPS, Kind, Opt};

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
    let is_image = |word: &String| word.split(':').next() == Some("mcp-guard");
    words.find(is_image)?;
    Some(
        words
            .map(|word| word.replace("/run/secrets/", ""))
            .collect(),
    )
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
        .filter(|block| {
            let kinds = ["nginx", "caddyfile", "haproxy", "ini", "toml"];
            // YAML is also what other programs are told.
            let is_compose = block.language == "yaml"
                && block.text.contains(
                    "
services:
",
                );
            is_compose || kinds.contains(&block.language)
        })
        .collect();
    for (path, text) in &examples {
        let is_shown = shown.iter().any(|block| block.text == *text);
        assert!(is_shown, "{} is not shown as it is", path.display());
    }
    assert_eq!(shown.len(), examples.len(), "something shown is no example");
}

/// What `systemd-analyze` would have to judge.
const UNITS: &[&str] = &["service", "socket", "mcp-guard-tls.conf"];

#[test]
fn every_example_is_loaded_by_a_test() {
    let mut unclaimed = BTreeSet::new();
    let tests = ["tests/it", "tests/interop/promises"].map(|folder| all_below(Path::new(folder)));
    let tests: String = tests.iter().flatten().map(|path| text_of(path)).collect();
    for path in all_below(Path::new("examples")) {
        let name = path.file_name().and_then(OsStr::to_str).unwrap();
        let kind = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let is_claimed = match kind {
            // Cargo compiles them.
            "rs" => true,
            // Shown as they are, and `every_configuration_file_that_is_shown_loads`.
            "toml" => path.parent() == Some(Path::new("examples")),
            // `promises/compose.mjs` reads the folder.
            "yaml" => path.parent() == Some(Path::new("examples/compose")),
            kind if UNITS.contains(&kind) || UNITS.contains(&name) => true,
            _ => {
                let below = path.strip_prefix("examples").unwrap();
                tests.contains(&format!("\"{}\"", below.display()))
            }
        };
        if !is_claimed {
            unclaimed.insert(path);
        }
    }
    assert!(unclaimed.is_empty(), "nothing loads {unclaimed:?}");
}

/// Only the guard's address and the place of the certificate differ from what is tested with the
/// programs themselves.
#[test]
fn the_proxies_of_compose_are_set_up_like_those_of_one_machine() {
    let settings = |path: &str| {
        let text = text_of(&Path::new("examples").join(path));
        let is_heading = |line: &&str| line.starts_with("# ");
        let lines: Vec<_> = text
            .lines()
            .skip_while(is_heading)
            .map(str::to_owned)
            .collect();
        lines.join("\n")
    };
    for (composed, alone) in [
        ("compose/Caddyfile", "Caddyfile"),
        ("compose/nginx.conf", "nginx.conf"),
    ] {
        let expected = settings(alone)
            .replace("127.0.0.1:8080", "guard:8080")
            .replace(
                "/etc/letsencrypt/live/mcp.example.com/",
                "/etc/nginx/certs/",
            );
        assert_eq!(settings(composed), expected, "{composed}");
    }
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Every file below a folder of the project.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let paths = entries.map(|entry| folder.join(entry.unwrap().file_name()));
    paths
        .flat_map(|path| {
            if Path::new(ROOT).join(&path).is_dir() {
                all_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
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
