//! Metrics as a scraper reads them: by the grammar of the exposition format 0.0.4, and not a line
//! beyond it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{Answer, Connection, Guard, eventually};

/// What one scrape said.
pub(crate) struct Scrape {
    pub text: String,
    /// By name and labels, as they are written: `sessions{a="b"}`.
    pub values: BTreeMap<String, u64>,
    /// Names whose values only grow.
    counters: BTreeSet<String>,
}

/// Where `--admin-listen 127.0.0.1:0` came to.
pub(crate) fn admin_port(guard: &Guard) -> u16 {
    let address = admin_address(guard);
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// What the guard says of where its metrics are.
pub(crate) fn admin_address(guard: &Guard) -> String {
    let mut found = None;
    let says = |line: &str| line.contains("metrics are at /metrics");
    eventually(Duration::from_secs(20), || {
        let log = guard.log();
        found = log.lines().find(|line| says(line)).map(str::to_owned);
        found.is_some()
    });
    let line: Value = serde_json::from_str(&found.expect("metrics")).unwrap();
    line["addresses"].as_str().unwrap().to_owned()
}

impl Scrape {
    pub(crate) fn of(guard: &Guard) -> Self {
        Self::at(admin_port(guard))
    }

    pub(crate) fn at(port: u16) -> Self {
        let answer = Connection::open(port).exchange("GET", "/metrics", &[], "");
        Self::read(&answer)
    }

    pub(crate) fn read(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let media_type = answer.header("content-type");
        assert_eq!(media_type, Some("text/plain; version=0.0.4"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        Self::parse(&answer.body)
    }

    /// Panics at whatever a scraper would refuse.
    fn parse(text: &str) -> Self {
        let mut scrape = Self {
            text: text.to_owned(),
            values: BTreeMap::new(),
            counters: BTreeSet::new(),
        };
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut family = String::new();
        let mut seen = BTreeSet::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, _) = help.split_once(' ').expect("a help text");
                assert!(is_name(name), "{line}");
                assert!(seen.insert(name.to_owned()), "twice: {name}");
                name.clone_into(&mut family);
                let declared = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
                scrape.declare(name, declared.expect("a type behind the help"));
            } else {
                scrape.sample(&family, line);
            }
        }
        scrape
    }

    fn declare(&mut self, name: &str, declared: &str) {
        let (other, kind) = declared.split_once(' ').expect("a type");
        assert_eq!(other, name);
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(["counter", "gauge"].contains(&kind), "{declared}");
        if kind == "counter" {
            self.counters.insert(name.to_owned());
        }
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert_eq!(name, family, "{line}");
        check_labels(labels.strip_suffix('}').expect("an end of the labels"));
        // A float by the grammar; ours are all whole.
        let value: u64 = value.parse().expect(line);
        let earlier = self.values.insert(series.to_owned(), value);
        assert_eq!(earlier, None, "twice: {series}");
    }

    pub(crate) fn value(&self, series: &str) -> u64 {
        let value = self.values.get(series).copied();
        value.unwrap_or_else(|| panic!("no {series}: {}", self.text))
    }

    /// Every counter that moved since `earlier`, and by how much.
    pub(crate) fn moved_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        // Gauges fall, too.
        let is_counter = |series: &str| {
            let name = series.split('{').next().unwrap_or_default();
            self.counters.contains(name)
        };
        let counters = self.values.iter().filter(|(series, _)| is_counter(series));
        let moved = counters.map(|(series, value)| {
            let before = earlier.values.get(series).copied().unwrap_or(0);
            (series.clone(), value - before)
        });
        moved.filter(|(_, by)| *by != 0).collect()
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_name(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':');
    text.chars().all(is_part) && text.starts_with(|letter: char| !letter.is_ascii_digit())
}

/// `name="value",…`, in whose values backslash, quote and line break are escaped.
fn check_labels(mut rest: &str) {
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name) && !name.contains(':'), "{name}");
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next().expect("the end of a value") {
                (at, '"') => break at,
                (_, '\\') => {
                    let escaped = letters.next().map(|(_, letter)| letter);
                    assert!(matches!(escaped, Some('\\' | '"' | 'n')), "{quoted}");
                }
                _ => {}
            }
        };
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}
