//! What is queued for a child's stdin.
//!
//! Senders append lines under the wire's lock; the writer takes everything at once and writes it in
//! one go. Bounded in bytes, so a child that does not read costs a bounded amount of memory and
//! holds up nobody.

use std::mem;

use bytes::BytesMut;

/// Bytes that may be waiting, those that are being written included. A longer message still goes
/// out if nothing else is waiting.
const LIMIT: usize = 16 * 1024 * 1024;
/// Buffers beyond this are not kept once they are empty.
const KEPT: usize = 256 * 1024;

#[derive(Default)]
pub(super) struct Outbox {
    /// Lines that are to be written, each with its LF.
    pub(super) lines: BytesMut,
    writing: usize,
}

impl Outbox {
    /// Whether `more` bytes may be added.
    pub(super) fn has_room(&self, more: usize) -> bool {
        let waiting = self.lines.len() + self.writing;
        waiting == 0 || waiting + more <= LIMIT
    }

    /// Swaps what is waiting into `batch`, whose content has been written. `false` if there is
    /// nothing.
    pub(super) fn take(&mut self, batch: &mut BytesMut) -> bool {
        batch.clear();
        if batch.capacity() > KEPT {
            *batch = BytesMut::new();
        }
        mem::swap(&mut self.lines, batch);
        self.writing = batch.len();
        self.writing > 0
    }

    /// Adds a message that is one line.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        self.lines.extend_from_slice(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_queued_becomes_one_write() {
        let mut outbox = Outbox::default();
        outbox.push(b"one");
        outbox.push(b"two");
        let mut batch = BytesMut::new();
        assert!(outbox.take(&mut batch));
        assert_eq!(&batch[..], b"one\ntwo\n");
        assert!(!outbox.take(&mut batch));
        assert!(batch.is_empty());
    }

    #[test]
    fn a133_what_is_being_written_counts_until_it_is_written() {
        let mut outbox = Outbox::default();
        assert!(outbox.has_room(2 * LIMIT));
        outbox.push(&vec![b'x'; LIMIT / 2]);
        let mut batch = BytesMut::new();
        assert!(outbox.take(&mut batch));
        assert!(outbox.has_room(LIMIT / 4));
        assert!(!outbox.has_room(LIMIT / 2));
        outbox.take(&mut batch);
        assert!(outbox.has_room(LIMIT));
        assert!(batch.capacity() <= KEPT);
    }
}
