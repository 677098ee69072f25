//! The service manager that started the guard, in `sd_notify(3)`'s protocol: a datagram of
//! `VARIABLE=value` lines to the socket in `NOTIFY_SOCKET`, a file's path or, behind an `@`, an
//! abstract name.
//!
//! What is said is said in vain where nobody listens. It is never worth a failure: a manager that
//! hears nothing draws its own conclusions.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A manager that takes nothing for so long is not waited for: signals and chores wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// systemd drops a message of more than 4096 bytes as a whole; a letter has four at most.
const LONGEST_STATUS: usize = 500;

/// More is never waited between two signs of life, so that no sum of times overflows.
const LONGEST_BEAT: Duration = Duration::from_hours(24);

/// Where to tell what, if anywhere.
pub(super) struct ServiceManager {
    line: Option<Line>,
    /// How often to say [`ServiceManager::alive`], if that is waited for.
    pub(super) beat: Option<Duration>,
}

struct Line {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl ServiceManager {
    /// The one that this process was started by. The variables stay, for to take them away is
    /// `unsafe`; no child gets them (`upstream::environment`).
    pub(super) fn of_process() -> Self {
        Self::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let line = variable("NOTIFY_SOCKET").and_then(|address| {
            let trouble = |error| tracing::warn!(?error, ?address, "NOTIFY_SOCKET is of no use");
            Line::to(&address).map_err(trouble).ok()
        });
        let beat = line.as_ref().and_then(|_| beat(variable));
        Self { line, beat }
    }

    /// Whether anybody is told.
    pub(super) const fn listens(&self) -> bool {
        self.line.is_some()
    }

    /// The start, or a reload, is done.
    pub(super) fn ready(&self, status: &str) {
        self.say("READY=1", status);
    }

    /// [`Self::ready`] will follow. The time tells it from the one of an earlier reload.
    pub(super) fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::try_from(now).unwrap_or_default().as_micros();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"), status);
    }

    /// The end has begun, and may take so long. Never shortens what the manager would wait anyway.
    pub(super) fn stopping(&self, within: Duration, status: &str) {
        let within = within.as_micros();
        let stopping = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={within}");
        self.say(&stopping, status);
    }

    /// To be said every [`Self::beat`], for as long as it is true.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    pub(super) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}\n", one_line(status)));
    }

    fn say(&self, variables: &str, status: &str) {
        self.send(&format!("{variables}\nSTATUS={}\n", one_line(status)));
    }

    fn send(&self, message: &str) {
        let Some(line) = &self.line else { return };
        let sent = line
            .socket
            .send_to_addr(message.as_bytes(), &line.manager)
            .map(drop);
        if let Err(error) = sent {
            tracing::warn!(?error, "the service manager could not be told");
        }
    }
}

impl Line {
    fn to(address: &OsStr) -> io::Result<Self> {
        let manager = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            // Those of virtual machines are for their own process 1.
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, manager })
    }
}

/// Half of what the manager waits, as `sd_watchdog_enabled(3)` has it.
fn beat(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    let is_for_us = variable("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(std::process::id().into());
    let patience = number("WATCHDOG_USEC").filter(|patience| is_for_us && *patience > 0)?;
    Some((Duration::from_micros(patience) / 2).min(LONGEST_BEAT))
}

/// A line break would begin another variable.
fn one_line(status: &str) -> String {
    status
        .chars()
        .take(LONGEST_STATUS)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
impl ServiceManager {
    /// One with an abstract name of this test's own, and its ear.
    pub(super) fn in_test(beat: Option<Duration>) -> (Self, UnixDatagram) {
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let name = format!("mcp-guard-test-{process}-{thread:?}");
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let variable = |asked: &str| (asked == "NOTIFY_SOCKET").then(|| format!("@{name}").into());
        let manager = Self {
            beat,
            ..Self::from_variables(variable)
        };
        (manager, socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut message = [0; 8192];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let variable = |name: &str| (name == "NOTIFY_SOCKET").then(|| path.clone().into());
        let by_path = (ServiceManager::from_variables(variable), socket);
        for (manager, socket) in [by_path, ServiceManager::in_test(None)] {
            assert!(manager.listens());
            manager.ready("Serving");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=Serving\n");
            manager.stopping(Duration::from_secs(50), "Stopping");
            let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=50000000\nSTATUS=Stopping\n";
            assert_eq!(heard(&socket), stopping);
        }
    }

    #[test]
    fn no_status_can_say_more_than_a_status() {
        let (manager, socket) = ServiceManager::in_test(None);
        manager.status("a\nREADY=1\r\u{9b}b");
        assert_eq!(heard(&socket), "STATUS=a READY=1  b\n");
        manager.ready(&"\u{1f980}".repeat(4000));
        let message = heard(&socket);
        assert!(message.starts_with("READY=1\n") && message.len() < 4096);
    }

    #[test]
    fn who_is_not_asked_or_cannot_be_reached_is_not_told() {
        let nobody = ServiceManager::from_variables(|_| None);
        assert!(!nobody.listens());
        nobody.ready("in vain");
        for address in ["vsock:2:1234", "relative", "@"] {
            let variable = |name: &str| (name == "NOTIFY_SOCKET").then(|| address.into());
            let manager = ServiceManager::from_variables(variable);
            assert!(manager.listens() == (address == "@"), "{address}");
            manager.alive();
        }
        let gone = |name: &str| (name == "NOTIFY_SOCKET").then(|| "/nowhere/notify".into());
        ServiceManager::from_variables(gone).ready("in vain");
    }

    #[test]
    fn signs_of_life_are_given_twice_as_often_as_they_are_waited_for() {
        let ours = std::process::id().to_string();
        let infinite = u64::MAX.to_string();
        let half = |patience, pid: Option<&str>| {
            beat(|name| match name {
                "WATCHDOG_USEC" => Some(OsString::from(patience)),
                "WATCHDOG_PID" => pid.map(OsString::from),
                _ => None,
            })
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(half("2000000", None), second);
        assert_eq!(half("2000000", Some(&ours)), second);
        assert_eq!(half(infinite.as_str(), None), Some(LONGEST_BEAT));
        for (patience, pid) in [
            ("2000000", "1"),
            ("2000000", "x"),
            ("0", ours.as_str()),
            ("x", &ours),
        ] {
            assert_eq!(half(patience, Some(pid)), None, "{patience} {pid}");
        }
    }
}
