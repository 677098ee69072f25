//! Finds the `endpoint` event in a stream as it passes. Only whole events are looked at, and none
//! once it was found: from there on the bytes pass untouched.

use bytes::{Bytes, BytesMut};

/// What sends more than this before the first event ends is no HTTP+SSE server.
const LONGEST: usize = 64 * 1024;

/// A stream's bytes, until the event was found.
pub(super) struct EndpointEvents {
    held: BytesMut,
    found: bool,
    /// What stands in place of an address; `None` refuses it.
    rewrite: Rewrite,
}

type Rewrite = Box<dyn Fn(&str) -> Option<String>>;

/// The server announced an address that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl EndpointEvents {
    pub(super) fn new(rewrite: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self {
            held: BytesMut::new(),
            found: false,
            rewrite: Box::new(rewrite),
        }
    }

    /// Takes what came, and gives what may go on: every event that is whole.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<Bytes, Refused> {
        if self.found {
            return Ok(bytes);
        }
        self.held.extend_from_slice(&bytes);
        let mut passed = BytesMut::new();
        while let Some(end) = end_of_event(&self.held).filter(|_| !self.found) {
            let event = self.held.split_to(end);
            match address(&event) {
                None => passed.extend_from_slice(&event),
                Some(address) => {
                    let address = std::str::from_utf8(&address).map_err(|_| Refused)?;
                    let ours = (self.rewrite)(address).ok_or(Refused)?;
                    passed.extend_from_slice(b"event: endpoint\ndata: ");
                    passed.extend_from_slice(ours.as_bytes());
                    passed.extend_from_slice(b"\n\n");
                    self.found = true;
                }
            }
        }
        if self.held.len() > LONGEST {
            self.found = true;
        }
        if self.found {
            passed.unsplit(std::mem::take(&mut self.held));
        }
        Ok(passed.freeze())
    }
}

/// Behind the first empty line. Lines end with CR LF, LF or CR (HTML Living Standard §9.2.5).
fn end_of_event(bytes: &[u8]) -> Option<usize> {
    let mut line_is_empty = true;
    let mut after_cr = false;
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if after_cr => {}
            b'\n' | b'\r' if line_is_empty => return Some(index + 1),
            b'\n' | b'\r' => line_is_empty = true,
            _ => line_is_empty = false,
        }
        after_cr = byte == b'\r';
    }
    None
}

/// The data of an `endpoint` event; `None` for other events.
fn address(event: &[u8]) -> Option<Vec<u8>> {
    let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    let mut data: Option<Vec<u8>> = None;
    let mut name: &[u8] = b"";
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value,
            b"data" => match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => data.extend([b"\n", value].concat()),
            },
            _ => {}
        }
    }
    data.filter(|_| name == b"endpoint")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> EndpointEvents {
        EndpointEvents::new(|address| (address != "evil").then(|| format!("/ours{address}")))
    }

    /// All that comes out when `text` comes in pieces of `size`.
    fn passed(text: &[u8], size: usize) -> Result<String, Refused> {
        let mut events = events();
        let mut all = Vec::new();
        for piece in text.chunks(size) {
            all.extend_from_slice(&events.push(Bytes::copy_from_slice(piece))?);
        }
        Ok(String::from_utf8(all).unwrap())
    }

    #[test]
    fn the_address_is_replaced_wherever_the_stream_is_cut() {
        let ours = "event: endpoint\ndata: /ours/m?s=1\n\n";
        for (before, event, behind) in [
            (
                "",
                "event: endpoint\ndata: /m?s=1\n\n",
                "data: x\n\nevent: endpoint\ndata: y\n\n",
            ),
            (": ping\n\n", "event:endpoint\r\ndata:/m?s=1\r\n\r\n", ""),
            ("retry: 5\n\n", "data: /m?s=1\revent: endpoint\r\r", "data"),
            (
                "data: {}\n\n",
                "\u{feff}event: endpoint\ndata: /m?s=1\n\n",
                "\n",
            ),
        ] {
            let text = format!("{before}{event}{behind}");
            for size in 1..=text.len() {
                // The line feed behind a carriage return may come later, as an empty line more.
                let expected = format!("{before}{ours}{behind}");
                let passed = passed(text.as_bytes(), size).unwrap();
                assert_eq!(
                    passed.replace("\n\n\n", "\n\n"),
                    expected.replace("\n\n\n", "\n\n")
                );
            }
        }
    }

    #[test]
    fn a124_an_address_that_is_refused_ends_the_stream() {
        let text = b"event: endpoint\ndata: evil\n\n";
        for size in 1..=text.len() {
            assert_eq!(passed(text, size), Err(Refused));
        }
        assert_eq!(passed(b"event: endpoint\ndata: \xff\n\n", 99), Err(Refused));
    }

    #[test]
    fn a_large_event_is_passed_on_before_it_ends() {
        let text = "x".repeat(2 * LONGEST);
        assert_eq!(passed(text.as_bytes(), 1000).unwrap(), text);
    }

    proptest! {
        #[test]
        fn a_stream_without_the_event_passes_unchanged(
            lines in prop::collection::vec("(data|event|id|:)?[a-z: ]{0,9}(\n|\r\n|\n\n)", 0..20),
            size in 1_usize..50,
        ) {
            let text = format!("{}\n\n", lines.concat().replace("endpoint", ""));
            prop_assert_eq!(passed(text.as_bytes(), size).unwrap(), text);
        }
    }
}
