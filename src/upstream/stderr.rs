//! A child's stderr as log events.
//!
//! It is always read, since a full pipe would block the child (C3). A line is cut at 8 KiB, a child
//! gets 100 lines a second, and the text is a field that is escaped, so that nothing a child writes
//! can pass for a line of our own log.

use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::info;

use super::throttle::Throttle;

/// Below our own name, or the filter of the log would take it for a library's.
pub(super) const TARGET: &str = "mcp_guard::child";
const LINE_LIMIT: usize = 8 * 1024;
const LINES_PER_SECOND: u32 = 100;

/// Logs lines under [`TARGET`] until the pipe ends. `child` is the child's number.
pub(super) async fn log(stderr: impl AsyncRead + Unpin, child: u64) {
    let mut throttle = Throttle::new(LINES_PER_SECOND, Instant::now());
    let tell = |line: &Excerpt| match throttle.allow(Instant::now()) {
        Some(0) => info!(target: TARGET, child, stderr = line.text()),
        Some(held_back) => info!(target: TARGET, child, held_back, stderr = line.text()),
        None => {}
    };
    read_lines(stderr, tell).await;
    if throttle.held_back() > 0 {
        info!(target: TARGET, child, held_back = throttle.held_back(), "stderr ended");
    }
}

async fn read_lines(stderr: impl AsyncRead + Unpin, mut tell: impl FnMut(&Excerpt)) {
    let mut stderr = BufReader::with_capacity(LINE_LIMIT, stderr);
    let mut line = Excerpt::default();
    while let Ok(bytes) = stderr.fill_buf().await {
        if bytes.is_empty() {
            break;
        }
        let end = memchr::memchr(b'\n', bytes);
        let (part, _) = bytes.split_at(end.unwrap_or(bytes.len()));
        line.push(part);
        let used = part.len() + usize::from(end.is_some());
        stderr.consume(used);
        if end.is_some() {
            line.finish(&mut tell);
        }
    }
    line.finish(&mut tell);
}

/// The first 8 KiB of a line.
#[derive(Default)]
struct Excerpt {
    bytes: Vec<u8>,
    cut: bool,
}

impl Excerpt {
    fn push(&mut self, part: &[u8]) {
        let room = LINE_LIMIT - self.bytes.len();
        self.cut |= part.len() > room;
        self.bytes.extend(part.iter().take(room));
    }

    /// Blank lines are not worth telling.
    fn finish(&mut self, tell: &mut impl FnMut(&Self)) {
        if !self.bytes.trim_ascii().is_empty() {
            tell(self);
        }
        self.bytes.clear();
        self.cut = false;
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(self.bytes.trim_ascii_end()).into_owned();
        if self.cut {
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(input, |line| lines.push(line.text())).await;
        lines
    }

    #[tokio::test]
    async fn lines_are_told_one_by_one_and_the_last_without_its_end() {
        let found = lines(b"one\r\n\n  \ntwo\nthree").await;
        assert_eq!(found, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a136_a_line_is_cut_at_its_limit_and_the_next_is_whole() {
        let mut input = vec![b'a'; 3 * LINE_LIMIT];
        input.extend_from_slice(b"\nnext\n");
        let found = lines(&input).await;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].len(), LINE_LIMIT + '…'.len_utf8());
        assert_eq!(found[1], "next");
    }

    #[tokio::test]
    async fn a136_bytes_that_are_no_text_are_replaced() {
        assert_eq!(lines(b"\xff\xfeok\n").await, ["\u{fffd}\u{fffd}ok"]);
    }
}
