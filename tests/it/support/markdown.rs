//! As much of Markdown as the project's own documents use.

use std::fs;
use std::path::{Path, PathBuf};

/// One document.
pub(crate) struct Document {
    /// Below the project's folder.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block<'d> {
    /// The heading that it stands under.
    pub(crate) section: &'d str,
    /// Whether nothing stands between it and the block before.
    pub(crate) follows: bool,
    pub(crate) language: &'d str,
    pub(crate) text: String,
}

/// All documents of the project.
pub(crate) fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_docs = fs::read_dir(root.join("docs")).unwrap();
    let in_docs = in_docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benches/README.md",
        "tests/interop/README.md",
    ]
    .into_iter()
    .map(PathBuf::from)
    .chain(in_docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")))
    .map(|path| Document::read(&path))
    .collect()
}

impl Document {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
        Self {
            path: path.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        }
    }

    pub(crate) fn named(path: &str) -> Self {
        Self::read(Path::new(path))
    }

    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        let (mut section, mut follows) = ("", false);
        for line in self.text.lines() {
            match (&mut open, line.strip_prefix("```")) {
                (Some(_), Some(_)) => {
                    blocks.extend(open.take());
                    follows = true;
                }
                (Some(block), None) => block.text.extend([line, "\n"]),
                (None, Some(language)) => {
                    open = Some(Block {
                        section,
                        follows,
                        language,
                        text: String::new(),
                    });
                }
                (None, None) => {
                    follows &= line.is_empty();
                    if line.starts_with('#') {
                        section = line.trim_start_matches('#').trim();
                    }
                }
            }
        }
        assert!(open.is_none(), "{}: an open fence", self.path.display());
        blocks
    }

    /// The lines outside fenced blocks.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut fenced = false;
        self.text.lines().filter(move |line| {
            fenced ^= line.starts_with("```");
            !fenced && !line.starts_with("```")
        })
    }

    /// Where links and pictures lead, those in HTML included.
    pub(crate) fn links(&self) -> Vec<String> {
        let marks = [
            ("](", ')'),
            ("src=\"", '"'),
            ("srcset=\"", '"'),
            ("href=\"", '"'),
        ];
        let mut links = Vec::new();
        for line in self.prose() {
            for (start, end) in marks {
                let found = line.split(start).skip(1);
                links.extend(
                    found
                        .filter_map(|rest| rest.split(end).next())
                        .map(str::to_owned),
                );
            }
        }
        links
    }

    /// The names that headings have in links.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                let kept = title
                    .chars()
                    .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }

    /// The rows of all tables, cell by cell, without their heads and rulers.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        let mut rows: Vec<Vec<&str>> = Vec::new();
        for line in self.prose().filter(|line| line.starts_with('|')) {
            if line.starts_with("|---") {
                rows.pop();
                continue;
            }
            let inner = line.trim_matches('|');
            rows.push(inner.split('|').map(str::trim).collect());
        }
        rows
    }
}
