//! The documents against the program: what they say of it is so, and their links lead somewhere.
//! What they show in blocks is the matter of `shown.rs`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use mcp_guard::config::migration::{Becomes, FLAGS, Flag};
use mcp_guard::config::options::{Default, Form, GROUPS, Kind, Opt};

use crate::house::HOUSE;
use crate::support::{Document, documents, rust_files};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

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
fn every_flag_of_mcp_auth_proxy_is_described_as_it_is_migrated() {
    let document = Document::named("docs/from-mcp-auth-proxy.md");
    let rows = document.rows();
    let described = rows.iter().filter(|row| row.len() == 4);
    let described: Vec<Vec<String>> = described
        .map(|row| row.iter().map(|cell| cell.replace('`', "")).collect())
        .collect();
    let expected: Vec<Vec<String>> = FLAGS.iter().map(migration_row).collect();
    assert_eq!(described, expected);
}

fn migration_row(flag: &Flag) -> Vec<String> {
    let names = match (flag.is_flag, flag.short) {
        (false, _) => "–".to_owned(),
        (true, Some(short)) => format!("--{}, -{short}", flag.name),
        (true, None) => format!("--{}", flag.name),
    };
    let default = match flag.default {
        "" => "none",
        text => text,
    };
    let here = match flag.becomes {
        Becomes::Same => format!("--{}", flag.name),
        Becomes::Option { name, how } => format!("--{name}: {how}"),
        Becomes::Server => "the server's URL".to_owned(),
        Becomes::Nothing(why) => format!("nothing: {why}"),
    };
    let here = here.replace('`', "");
    vec![names, flag.variable.to_owned(), default.to_owned(), here]
}

#[test]
fn every_example_is_loaded_by_a_test() {
    let mut unclaimed = BTreeSet::new();
    let tests = ["tests/it", "tests/interop/promises"].map(|folder| all_below(Path::new(folder)));
    let tests: String = tests.iter().flatten().map(|path| text_of(path)).collect();
    for path in all_below(Path::new("examples")) {
        let kind = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let is_claimed = match kind {
            // Cargo compiles them.
            "rs" => true,
            // Shown as they are, and `every_configuration_file_that_is_shown_loads`.
            "toml" => path.parent() == Some(Path::new("examples")),
            // `promises/compose.mjs` reads the folder.
            "yaml" => path.parent() == Some(Path::new("examples/compose")),
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
fn every_document_is_in_the_index() {
    let index = Document::named("docs/README.md");
    let linked = index.links();
    for document in documents() {
        let Ok(name) = document.path.strip_prefix("docs") else {
            continue;
        };
        let is_listed =
            name == Path::new("README.md") || linked.iter().any(|link| Path::new(link) == name);
        assert!(is_listed, "{} is not in docs/README.md", name.display());
    }
}

/// Where a message differs from one time to the next.
const GAP: char = '…';

#[test]
fn the_messages_to_look_up_are_the_programs_own() {
    let document = Document::named("docs/troubleshooting.md");
    let sources = messages_of_the_source();
    let rows = document.rows();
    let quoted = rows
        .iter()
        .flat_map(|row| row[0].split('`').skip(1).step_by(2));
    let messages: Vec<&str> = quoted.filter(|text| text.contains(' ')).collect();
    assert!(messages.len() > 40, "only {} messages", messages.len());
    let unknown: Vec<_> = messages
        .iter()
        .filter(|message| !is_said(&sources, message))
        .collect();
    assert!(unknown.is_empty(), "the program does not say: {unknown:#?}");
}

/// The sources with their literals in one piece.
fn messages_of_the_source() -> String {
    let files = rust_files("src").into_iter();
    let text: String = files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut pieces = text.split("\\\n");
    let mut joined = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        joined.push_str(piece.trim_start());
    }
    joined
}

/// Whether the parts of a message stand close behind each other in the source.
fn is_said(sources: &str, message: &str) -> bool {
    let parts = message
        .split(GAP)
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    let [first, rest @ ..] = parts.as_slice() else {
        return false;
    };
    sources.match_indices(first).any(|(at, _)| {
        let near: String = sources[at..].chars().take(1500).collect();
        rest.iter().all(|part| near.contains(part))
    })
}

#[test]
fn every_picture_is_shown_and_every_picture_shown_exists() {
    let there: BTreeSet<String> = fs::read_dir(Path::new(ROOT).join("docs/pictures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let shown: BTreeSet<String> = documents().iter().flat_map(pictures).collect();
    assert!(!there.is_empty());
    assert_eq!(there, shown);
}

/// The names of the pictures that a document shows, in Markdown or as `<picture>`.
fn pictures(document: &Document) -> Vec<String> {
    let is_end = |c: char| matches!(c, ')' | '"' | ' ' | '`');
    let names = document.text.split("pictures/").skip(1);
    names
        .filter_map(|rest| rest.split(is_end).next())
        .filter(|name| Path::new(name).extension().is_some())
        .map(str::to_owned)
        .collect()
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
fn the_metrics_are_listed_as_they_are() {
    let document = Document::named("docs/operating.md");
    let rows = document.rows();
    let named = |text: &str| text.starts_with("mcp_guard_") || text.starts_with("process_");
    let listed = rows.iter().map(|row| row[0].trim_matches('`'));
    let listed: BTreeSet<&str> = listed.filter(|cell| named(cell)).collect();
    let sources = rust_files("src/app").into_iter();
    let sources: String = sources
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let literals = sources.split('"').filter(|text| named(text));
    let metrics: BTreeSet<&str> = literals.collect();
    assert!(metrics.len() > 10);
    assert_eq!(listed, metrics);
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
