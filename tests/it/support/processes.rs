//! What runs on this machine.

use std::fs;

/// Whether a process runs. A zombie has ended; whoever started it has not looked yet.
pub(crate) fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('Z')
    })
}

/// How many processes a process has started that are still there.
pub(crate) fn count_children(pid: u32) -> usize {
    let parent = format!("PPid:\t{pid}");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let status = processes.filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
    status
        .filter(|status| status.lines().any(|line| line == parent))
        .count()
}
