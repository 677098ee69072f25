//! What a peer on this machine has not read yet, as the kernel has it.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A guard that has fallen silent is for the test to notice, by what the client gets.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until the peer has read all that was sent over this connection, or is gone.
pub(super) fn wait_until_read(stream: &TcpStream) {
    let (Ok(own), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_read(own.port(), peer.port()) && Instant::now() < deadline {
        // Much shorter than anything that waits for it: whole answers are sent byte by byte.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// By `/proc/net/tcp`, both ends' lines: `n: LOCAL:PORT REMOTE:PORT STATE UNSENT:UNREAD …`
fn is_read(own: u16, peer: u16) -> bool {
    let (own, peer) = (format!(":{own:04X}"), format!(":{peer:04X}"));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().all(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let mut word = || words.next().unwrap_or_default();
        let (local, remote, _state, queues) = (word(), word(), word(), word());
        let (unsent, unread) = queues.split_once(':').unwrap_or_default();
        let has_arrived = !(local.ends_with(&own) && remote.ends_with(&peer));
        let is_taken = !(local.ends_with(&peer) && remote.ends_with(&own));
        (has_arrived || unsent == "00000000") && (is_taken || unread == "00000000")
    })
}
