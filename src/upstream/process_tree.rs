//! Who descends from a process, as `/proc` tells it.

use std::collections::HashMap;
use std::fs;

use rustix::process::Pid;

/// All living descendants of `root`, nearest first, without itself. Processes that start or end
/// meanwhile may be missing or listed: callers ask again until nothing is left.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in processes() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_pid()];
    while let Some(parent) = next.pop() {
        let young = children.remove(&parent).unwrap_or_default();
        found.extend(young.iter().copied().filter_map(Pid::from_raw));
        next.extend(young);
    }
    found
}

/// Every process with its parent.
fn processes() -> impl Iterator<Item = (i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, parent(&stat)?))
    })
}

/// The parent in `pid (name) state parent …`; the name may hold blanks and brackets.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_cannot_forge_its_parent() {
        assert_eq!(parent("12 (a) S 1 (b)) S 34 5 6"), Some(34));
        assert_eq!(parent("12 (cat) Z 7 1"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn a_started_process_is_a_descendant() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let me = rustix::process::getpid();
        assert!(descendants(me).contains(&Pid::from_child(&child)));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
