//! Line framing of stdio (one message per LF-terminated line), under any chunking and with a bound
//! on a line's length.

use bytes::{Bytes, BytesMut};

/// Splits a byte stream into lines.
pub struct LineSplitter {
    _buffer: BytesMut,
    _limit: usize,
    _dropping: bool,
}

/// What the splitter found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// One line without its LF and a CR before it. Shares the read buffer.
    Whole(Bytes),
    /// A line that passed the limit was dropped up to its LF; its first 200 bytes.
    TooLong(Bytes),
}

impl LineSplitter {
    pub fn new(limit: usize) -> Self {
        Self {
            _buffer: BytesMut::new(),
            _limit: limit,
            _dropping: false,
        }
    }

    /// Where to read into: at least 8 KiB of spare room.
    pub fn buffer(&mut self) -> &mut BytesMut {
        todo!()
    }

    /// The next line of what was read so far.
    pub fn next_line(&mut self) -> Option<Line> {
        todo!()
    }
}
