//! Who may import whom. The table is the house of the project's architecture: what decides is below,
//! what wires is above, and siblings do not know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::rust_files;

/// A room, and the rooms of ours that it may import.
pub(crate) const HOUSE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("crypto", &[]),
    ("http", &[]),
    ("mcp", &[]),
    ("telemetry", &[]),
    ("tls", &[]),
    ("policy", &["telemetry"]),
    ("store", &["clock", "crypto"]),
    ("signing", &["clock", "crypto", "http", "store"]),
    ("acme", &["clock", "crypto", "http", "store", "tls"]),
    ("identity", &["clock", "crypto", "http", "policy", "store"]),
    ("grant", &["clock", "crypto", "identity", "store"]),
    ("pages", &["http"]),
    (
        "resource",
        &["clock", "crypto", "grant", "http", "identity"],
    ),
    ("upstream", &["http", "mcp"]),
    (
        "oauth",
        &[
            "clock",
            "crypto",
            "grant",
            "http",
            "identity",
            "pages",
            "policy",
            "store",
            "telemetry",
        ],
    ),
    (
        "gateway",
        &[
            "clock",
            "crypto",
            "grant",
            "http",
            "identity",
            "mcp",
            "policy",
            "resource",
            "signing",
            "telemetry",
            "upstream",
        ],
    ),
    ("listener", &["http", "telemetry", "tls"]),
    ("admin", &["http", "listener", "telemetry"]),
    (
        "routes",
        &[
            "acme",
            "admin",
            "gateway",
            "http",
            "listener",
            "oauth",
            "pages",
            "policy",
            "resource",
            "signing",
            "telemetry",
        ],
    ),
    (
        "config",
        &[
            "acme",
            "grant",
            "http",
            "identity",
            "listener",
            "oauth",
            "telemetry",
            "tls",
            "upstream",
        ],
    ),
    (
        "app",
        &[
            "acme",
            "admin",
            "clock",
            "config",
            "crypto",
            "gateway",
            "grant",
            "http",
            "identity",
            "listener",
            "oauth",
            "resource",
            "routes",
            "signing",
            "store",
            "telemetry",
            "tls",
            "upstream",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "clock",
            "config",
            "http",
            "identity",
            "listener",
            "telemetry",
            "tls",
        ],
    ),
];

#[test]
fn every_room_imports_only_what_the_house_allows() {
    let mut breaches = BTreeSet::new();
    for (room, imports) in imports_by_room() {
        let allowed = HOUSE.iter().find(|(name, _)| *name == room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("the house has no room {room}"));
        for import in imports.iter().filter(|import| **import != room) {
            if !allowed.contains(&import.as_str()) {
                breaches.insert(format!("{room} imports {import}"));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn the_house_lists_no_room_that_is_not_there() {
    let rooms = imports_by_room();
    for (room, _) in HOUSE {
        assert!(rooms.contains_key(*room), "no such room: {room}");
    }
}

fn imports_by_room() -> BTreeMap<String, BTreeSet<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files("src") {
        let below = file.strip_prefix(&source).unwrap();
        let first = below
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let room = first.trim_end_matches(".rs").to_owned();
        if room == "main" || room == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // What stands behind the tests' mark may know anybody.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = below.to_str().unwrap().contains("tests");
        let code = if is_test { "" } else { code };
        rooms.entry(room).or_default().extend(imports(code));
    }
    rooms
}

/// The rooms named in code by `crate::room` or `crate::{room, room::Thing}`, comments aside.
fn imports(code: &str) -> BTreeSet<String> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let named = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split([',', ';']).next().unwrap_or_default(),
        };
        rooms.extend(
            named
                .split(',')
                .map(first_word)
                .filter(|word| !word.is_empty()),
        );
    }
    rooms
}

fn first_word(path: &str) -> String {
    let is_part = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    path.trim_start().chars().take_while(is_part).collect()
}
