//! Comments cite attacks, faults and rules by number; `docs/threats.md` explains each of them, and
//! names tests.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cases::test_names;
use crate::support::Document;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

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
            } else if name == "run" || has_comments(&path) {
                files.push(path);
            }
        }
    }
    files
}

fn has_comments(path: &Path) -> bool {
    let kind = path.extension().and_then(OsStr::to_str);
    kind.is_some_and(|kind| ["rs", "mjs"].contains(&kind))
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
