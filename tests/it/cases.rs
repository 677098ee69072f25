//! Every threat case that this version answers for has a test of its name, `a077_…`. The list grows
//! with the program; a case leaves it only together with what it protects.

use std::collections::BTreeSet;
use std::fs;

use crate::support::rust_files;

/// Cases by number, as in the threat model.
const CASES: &[(&str, &[u16])] = &[
    ("discovery", &[1, 2, 3, 4, 5]),
    (
        "registration",
        &[8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
    ),
    (
        "authorization endpoint",
        &[
            31, 32, 33, 34, 35, 36, 37, 38, 39, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
        ],
    ),
    (
        "identity providers",
        &[53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67],
    ),
    ("passwords", &[68, 69]),
    (
        "token endpoint",
        &[
            70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86,
        ],
    ),
    (
        "resource",
        &[
            87, 88, 89, 90, 92, 93, 94, 95, 96, 97, 98, 99, 101, 102, 103, 104,
        ],
    ),
    (
        "edge",
        &[
            105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121,
            122, 123, 124, 125, 126, 153,
        ],
    ),
    (
        "children",
        &[128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138],
    ),
    ("storage", &[140, 141, 142, 143]),
    (
        "TLS and certificates",
        &[146, 147, 148, 149, 150, 151, 152, 153],
    ),
    (
        "logs and configuration",
        &[154, 155, 156, 158, 159, 160, 161, 162, 163],
    ),
    ("delivery", &[167, 168]),
];

/// Faults to survive, `r07_…`.
const FAULTS: &[u16] = &[4, 7, 8, 9, 10, 11, 12, 13, 14, 18, 19, 20, 21, 22, 26, 28];

#[test]
fn every_case_has_a_test_of_its_name() {
    let tests = test_names();
    let mut missing = Vec::new();
    for (area, cases) in CASES {
        missing.extend(without_test(&tests, 'a', cases).map(|case| format!("{case} ({area})")));
    }
    missing.extend(without_test(&tests, 'r', FAULTS));
    assert!(missing.is_empty(), "cases without a test: {missing:#?}");
}

fn without_test<'t>(
    tests: &'t BTreeSet<String>,
    letter: char,
    cases: &'t [u16],
) -> impl Iterator<Item = String> + 't {
    let width = if letter == 'a' { 3 } else { 2 };
    cases
        .iter()
        .map(move |case| format!("{letter}{case:0width$}_"))
        .filter(|prefix| !tests.iter().any(|name| name.starts_with(prefix)))
}

/// The names of all functions in `src` and `tests` that carry `#[test]` or its like.
pub(crate) fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(folder))
    {
        let text = fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if let Some(name) = name.and_then(|rest| rest.split('(').next()) {
                if is_test {
                    names.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    names
}
