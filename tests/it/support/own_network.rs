//! A network of a test's own, with loopback, no port taken, the right to take each of them, and names
//! as the test wants them. Made of Linux's namespaces (`unshare`): nobody need be root for it, and
//! whatever is started in there ends with it.

use std::fs;
use std::process::{Command, Output, Stdio};

/// In the environment of tests that are inside.
const INSIDE: &str = "MCP_GUARD_TEST_IS_INSIDE";

/// The first argument is a file of names.
const PREPARE: &str = "ip link set lo up && mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

/// Whether this process is in such a network. If not, runs the test of this name again in one, and
/// fails if it does. One line, and nothing more, where there is no such thing, which is a failure in
/// continuous integration.
pub(crate) fn is_own_network(test: &str, names: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let trial = inside(names, &["true"]);
    if !trial.status.success() {
        assert!(
            std::env::var_os("CI").is_none(),
            "there is no network of one's own: {trial:?}"
        );
        eprintln!("skipped: no network of one's own can be had (unshare, ip)");
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let output = inside(
        names,
        &[this.to_str().unwrap(), "--exact", test, "--nocapture"],
    );
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{complained}"
    );
    false
}

fn inside(names: &[&str], command: &[&str]) -> Output {
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let line = format!("127.0.0.1 localhost {}\n", names.join(" "));
    fs::write(hosts.path(), line).unwrap();
    Command::new("timeout")
        .args(["--kill-after=5", "300", "unshare", "--map-root-user"])
        .args(["--net", "--mount", "--pid", "--kill-child"])
        .args(["sh", "-c", PREPARE, "sh"])
        .arg(hosts.path())
        .args(command)
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
