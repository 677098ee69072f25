//! Version 2 of the PROXY protocol: what a proxy that passes bytes on says, before the first of
//! them, about whose they are (threat case A-114). It stands before TLS, so the guard can end TLS
//! itself behind a balancer that knows nothing of it.
//!
//! Only trusted proxies may say so, and with `--proxy-protocol` nobody else may connect: a header is
//! never optional, or whoever finds the port would write one of their own. Version 1 is refused; it
//! has no length, and every proxy that speaks it speaks version 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncReadExt as _;

use super::stream::Plain;

/// The whole header of a connection that its opener makes for itself.
pub const LOCAL_HEADER: &[u8; HEAD] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_1: &[u8] = b"PROXY ";
const HEAD: usize = 16;
/// Addresses and what else a proxy adds; some tell of the client's TLS.
const MAX_LENGTH: usize = 4096;

/// The proxies that introduce clients.
pub(super) struct Proxies {
    trusted: Vec<IpNet>,
    refused: AtomicU64,
}

/// Why a connection is closed unheard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it comes from an address that is not in --trusted-proxies")]
    Stranger,
    #[error("it begins with version 1 of the PROXY protocol; the proxy has to send version 2")]
    Version1,
    #[error("it does not begin with a PROXY protocol header; the proxy has to send version 2")]
    NoHeader,
    #[error("its PROXY protocol header is malformed")]
    Malformed,
    #[error("its PROXY protocol header did not come in time")]
    Silent,
}

impl Proxies {
    pub(super) const fn new(trusted: Vec<IpNet>) -> Self {
        Self {
            trusted,
            refused: AtomicU64::new(0),
        }
    }

    /// Whose connection this is, which `proxy` has opened. `None`: the proxy's own, or that of
    /// somebody without an address; or it is refused, and there is nothing more to do.
    pub(super) async fn introduced(
        &self,
        socket: &mut Plain,
        proxy: IpAddr,
        patience: Duration,
    ) -> Result<Option<IpAddr>, Refused> {
        let outcome = if self.trusted.iter().any(|net| net.contains(&proxy)) {
            let header = tokio::time::timeout(patience, read(socket));
            header.await.unwrap_or(Err(Refused::Silent))
        } else {
            Err(Refused::Stranger)
        };
        if let Err(why) = outcome {
            // A flood shall not fill the log.
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            if refused.is_power_of_two() {
                tracing::warn!(peer = %proxy, %why, refused, "a connection was refused");
            }
        }
        outcome
    }
}

/// Reads the header and not a byte more: what follows belongs to TLS or HTTP.
async fn read(socket: &mut Plain) -> Result<Option<IpAddr>, Refused> {
    let mut head = [0; HEAD];
    let mut filled = 0;
    while filled < HEAD {
        let room = head.get_mut(filled..).unwrap_or_default();
        // An end and an error are the same: there is nobody.
        match socket.read(room).await.unwrap_or(0) {
            0 => return Err(Refused::Silent),
            count => filled += count,
        }
        check_signature(head.get(..filled).unwrap_or_default())?;
    }
    let [.., high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(Refused::Malformed);
    }
    let mut rest = vec![0; length];
    let read = socket.read_exact(&mut rest).await;
    read.map_err(|_| Refused::Silent)?;
    source(&head, &rest)
}

/// As early as a byte is wrong: a version 1 header may be shorter than ours, and what follows it is
/// the client's turn to send.
fn check_signature(begun: &[u8]) -> Result<(), Refused> {
    if begun.iter().zip(SIGNATURE).all(|(a, b)| a == b) {
        return Ok(());
    }
    if begun.iter().zip(VERSION_1).all(|(a, b)| a == b) {
        return Err(Refused::Version1);
    }
    Err(Refused::NoHeader)
}

/// The address of whoever the proxy speaks for.
fn source(head: &[u8; HEAD], rest: &[u8]) -> Result<Option<IpAddr>, Refused> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const UNKNOWN: u8 = 0x00;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    const UNIX_STREAM: u8 = 0x31;

    let [.., command, family, _, _] = *head;
    let address = match (command, family) {
        // The proxy looks whether we are alive.
        (LOCAL, _) | (PROXY, UNKNOWN | UNIX_STREAM) => return Ok(None),
        (PROXY, TCP_OVER_IPV4) if rest.len() >= 12 => {
            rest.first_chunk::<4>().map(|v4| Ipv4Addr::from(*v4).into())
        }
        (PROXY, TCP_OVER_IPV6) if rest.len() >= 36 => rest
            .first_chunk::<16>()
            .map(|v6| Ipv6Addr::from(*v6).into()),
        _ => None,
    };
    let address = address.ok_or(Refused::Malformed)?;
    Ok(Some(IpAddr::to_canonical(&address)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn tcp4(source: [u8; 4]) -> Vec<u8> {
        header(
            0x21,
            0x11,
            &[&source[..], &[10, 0, 0, 1, 1, 2, 3, 4]].concat(),
        )
    }

    /// What is made of these bytes, and what of them is left.
    async fn read_all(wire: &[u8]) -> (Result<Option<IpAddr>, Refused>, Vec<u8>) {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(wire).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut socket = Plain::Unix(tokio::net::UnixStream::from_std(server).unwrap());
        let outcome = read(&mut socket).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (outcome, rest)
    }

    #[tokio::test]
    async fn a114_the_header_names_the_client_and_takes_nothing_else() {
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let tcp6 = |source: &str| {
            let rest = [&v6(source)[..], &v6("::1"), &[1, 2, 3, 4], b"\x20\0\x03abc"].concat();
            header(0x21, 0x21, &rest)
        };
        for (header, expected) in [
            (tcp4([192, 0, 2, 7]), Some("192.0.2.7")),
            (tcp6("2001:db8::7"), Some("2001:db8::7")),
            (tcp6("::ffff:192.0.2.7"), Some("192.0.2.7")),
            (header(0x20, 0x11, &[1; 12]), None),
            (LOCAL_HEADER.to_vec(), None),
            (header(0x21, 0, b"whatever"), None),
            (header(0x21, 0x31, &[0; 216]), None),
        ] {
            let (outcome, rest) = read_all(&[&header[..], b"GET /"].concat()).await;
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!((outcome, &rest[..]), (Ok(expected), &b"GET /"[..]));
        }
    }

    #[tokio::test]
    async fn a114_whatever_else_a_connection_begins_with_is_refused() {
        for (wire, expected) in [
            (
                &b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"[..],
                Refused::Version1,
            ),
            (b"PROXY UNKNOWN\r\n", Refused::Version1),
            (b"GET / HTTP/1.1\r\n", Refused::NoHeader),
            (b"\x16\x03\x01", Refused::NoHeader),
            (b"\r\n\r\n\0\r\nQUIX", Refused::NoHeader),
            (b"", Refused::Silent),
            (b"\r\n\r\n", Refused::Silent),
            (&header(0x21, 0x11, &[1; 11]), Refused::Malformed),
            (&header(0x21, 0x21, &[1; 35]), Refused::Malformed),
            (&header(0x21, 0x12, &[1; 12]), Refused::Malformed),
            (&header(0x22, 0x11, &[1; 12]), Refused::Malformed),
            (&header(0x11, 0x11, &[1; 12]), Refused::Malformed),
            (&header(0x21, 0x11, &[1; 5000]), Refused::Malformed),
            (&tcp4([192, 0, 2, 7])[..20], Refused::Silent),
        ] {
            assert_eq!(read_all(wire).await.0, Err(expected), "{wire:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a116_a_header_that_does_not_come_is_not_waited_for() {
        let (_client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut socket = Plain::Unix(tokio::net::UnixStream::from_std(server).unwrap());
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let patience = Duration::from_secs(10);
        let stranger = proxies.introduced(&mut socket, [192, 0, 2, 7].into(), patience);
        assert_eq!(stranger.await, Err(Refused::Stranger));
        let silent = proxies.introduced(&mut socket, [10, 0, 0, 7].into(), patience);
        assert_eq!(silent.await, Err(Refused::Silent));
    }
}
