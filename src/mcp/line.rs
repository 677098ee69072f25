//! Line framing of stdio (one message per LF-terminated line), under any chunking and with a bound
//! on a line's length (A-132).

use bytes::{Bytes, BytesMut};

/// Spare room for each read.
const ROOM: usize = 8 * 1024;

/// What is allocated at a time: small messages then share a buffer.
const CHUNK: usize = 2 * ROOM;

/// A larger buffer than this is given back as soon as it is empty, so that an idle wire is cheap.
const KEPT: usize = 64 * 1024;

/// How much of a line that is too long is kept, for the log.
const SHOWN: usize = 200;

/// Splits a byte stream into lines. What follows the last LF is no line yet.
pub struct LineSplitter {
    buffer: BytesMut,
    /// Bytes at the front of the buffer that hold no LF.
    scanned: usize,
    /// Bytes of a line, its LF and CR not counted.
    limit: usize,
    /// The start of a line that passed the limit and has not ended.
    dropping: Option<Bytes>,
    /// The largest that the buffer has been.
    grown: usize,
}

/// What the splitter found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// One line without its LF and a CR before it. Shares the read buffer.
    Whole(Bytes),
    /// A line that passed the limit was dropped up to its LF; its first 200 bytes
    /// (fewer under a smaller limit).
    TooLong(Bytes),
}

impl LineSplitter {
    /// `limit`: bytes of a line without its LF and CR.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            limit,
            dropping: None,
            grown: 0,
        }
    }

    /// Where to read into: at least 8 KiB of spare room. Call it when [`Self::next_line`] has
    /// nothing more; then it holds at most a line of the limit and what one read adds.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.buffer.is_empty() && self.grown > KEPT {
            self.buffer = BytesMut::new();
            self.grown = 0;
        }
        if self.buffer.capacity() - self.buffer.len() < ROOM {
            self.buffer.reserve(CHUNK);
        }
        self.grown = self.grown.max(self.buffer.capacity());
        &mut self.buffer
    }

    /// The next line of what was read so far.
    pub fn next_line(&mut self) -> Option<Line> {
        let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unseen) else {
            self.no_line_yet();
            return None;
        };
        let mut line = self.buffer.split_to(self.scanned + found + 1);
        self.scanned = 0;
        line.truncate(line.len() - 1);
        if let Some(start) = self.dropping.take() {
            return Some(Line::TooLong(start));
        }
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            return Some(Line::TooLong(self.start_of(&line)));
        }
        Some(Line::Whole(line.freeze()))
    }

    fn no_line_yet(&mut self) {
        self.scanned = self.buffer.len();
        // One byte more than the limit may be the CR of a line that just fits.
        let is_too_long = self.buffer.len() > self.limit.saturating_add(1);
        if self.dropping.is_none() && is_too_long {
            self.dropping = Some(self.start_of(&self.buffer));
        }
        if self.dropping.is_some() {
            self.buffer.clear();
            self.scanned = 0;
        }
    }

    /// Within the limit, so that it does not depend on how much had arrived.
    fn start_of(&self, line: &[u8]) -> Bytes {
        let shown = SHOWN.min(self.limit);
        Bytes::copy_from_slice(line.get(..shown).unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(limit: usize, chunks: &[&[u8]]) -> Vec<Line> {
        let mut splitter = LineSplitter::new(limit);
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.buffer().extend_from_slice(chunk);
            lines.extend(std::iter::from_fn(|| splitter.next_line()));
        }
        lines
    }

    /// What the splitter must find, said simply.
    fn naive(limit: usize, text: &[u8]) -> Vec<Line> {
        let mut parts: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        parts.pop();
        let line = |part: &[u8]| {
            let line = part.strip_suffix(b"\r").unwrap_or(part);
            if line.len() > limit {
                return Line::TooLong(Bytes::copy_from_slice(&part[..limit.min(200)]));
            }
            Line::Whole(Bytes::copy_from_slice(line))
        };
        parts.into_iter().map(line).collect()
    }

    #[test]
    fn lines_end_at_lf_with_or_without_cr() {
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        let found = split(99, &[b"a\nb\r\n\n\r\nc\rd\r\r\nrest"]);
        assert_eq!(found, ["a", "b", "", "", "c\rd\r"].map(whole));
    }

    #[test]
    fn a131_other_line_separators_do_not_end_a_line() {
        let text = "a\u{2028}b\u{2029}c\u{85}d\u{b}\u{c}e";
        let found = split(99, &[text.as_bytes(), b"\n"]);
        assert_eq!(found, [Line::Whole(Bytes::from(text))]);
    }

    #[test]
    fn a132_a_giant_line_is_dropped_in_bounded_memory_and_the_next_one_is_read() {
        let mut splitter = LineSplitter::new(100_000);
        for _ in 0..1_000 {
            splitter.buffer().extend_from_slice(&[b'x'; ROOM]);
            assert_eq!(splitter.next_line(), None);
            assert!(splitter.buffer().capacity() < 400_000);
        }
        splitter.buffer().extend_from_slice(b"tail\nok\n");
        assert_eq!(
            splitter.next_line(),
            Some(Line::TooLong(Bytes::from(vec![b'x'; 200])))
        );
        assert_eq!(
            splitter.next_line(),
            Some(Line::Whole(Bytes::from_static(b"ok")))
        );
    }

    #[test]
    fn a132_an_idle_wire_gives_a_large_buffer_back() {
        let mut splitter = LineSplitter::new(usize::MAX);
        splitter.buffer().extend_from_slice(&vec![b'x'; 4 << 20]);
        assert_eq!(splitter.next_line(), None);
        splitter.buffer().extend_from_slice(b"\n");
        assert!(matches!(splitter.next_line(), Some(Line::Whole(line)) if line.len() == 4 << 20));
        assert_eq!(splitter.next_line(), None);
        assert!(splitter.buffer().capacity() <= KEPT);
    }

    #[test]
    fn a_line_is_not_copied() {
        let mut splitter = LineSplitter::new(99);
        splitter.buffer().extend_from_slice(b"hello\n");
        let start = splitter.buffer.as_ptr();
        let line = splitter.next_line();
        assert!(matches!(line, Some(Line::Whole(line)) if line.as_ptr() == start));
    }

    proptest! {
        #[test]
        fn a132_chunking_changes_nothing(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..600),
            cuts in proptest::collection::vec(1_usize..40, 1..50),
            limit in 0_usize..30,
        ) {
            let mut chunks = Vec::new();
            let mut rest = text.as_slice();
            for cut in cuts.iter().cycle() {
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(split(limit, &chunks), naive(limit, &text));
        }

        #[test]
        fn a132_long_lines_resynchronise(
            lengths in proptest::collection::vec(0_usize..40_000, 1..8),
            cut in 1_usize..20_000,
        ) {
            let text: Vec<u8> = lengths.iter().flat_map(|&length| [vec![b'x'; length], vec![b'\n']].concat()).collect();
            let chunks: Vec<&[u8]> = text.chunks(cut).collect();
            prop_assert_eq!(split(10_000, &chunks), naive(10_000, &text));
        }
    }
}
