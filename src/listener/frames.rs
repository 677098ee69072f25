//! A look at the frames of an HTTP/2 connection as they come in (RFC 9113 §4.1), so that a client
//! cannot keep the guard busy with frames that ask for nothing (threat case A-121). The library
//! below bounds resets and CONTINUATION, but answers PING and SETTINGS for ever.
//!
//! Cheap frames are paid for with coins. Coins come with time, with requests, and with bytes that
//! go out, which well-behaved clients acknowledge by `WINDOW_UPDATE`.

use tokio::time::Instant;

/// What begins every HTTP/2 connection (RFC 9113 §3.4), in bytes.
const PREFACE: usize = 24;
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// At most so many coins are kept.
const PURSE: u64 = 5000;
const PER_SECOND: u64 = 500;
const PER_REQUEST: u64 = 20;
/// A coin for so many bytes sent.
const BYTES_SENT: u64 = 512;

/// The client asks for nothing, and that too often.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many HTTP/2 frames without a request")]
pub(super) struct Flood;

/// What one connection's client has sent.
pub(super) struct Frames {
    preface_left: usize,
    header: [u8; HEADER],
    header_seen: usize,
    payload_left: usize,
    seen: u64,
    coins: u64,
    sent: u64,
    counted_at: Instant,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            preface_left: PREFACE,
            header: [0; HEADER],
            header_seen: 0,
            payload_left: 0,
            seen: 0,
            coins: PURSE,
            sent: 0,
            counted_at: Instant::now(),
        }
    }

    /// Whether the client has begun to speak HTTP/2: preface and a frame.
    pub(super) const fn has_begun(&self) -> bool {
        self.seen > 0
    }

    /// Takes note of bytes that went out.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    /// Looks at bytes that came in.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = self.skip(bytes.len());
            if skipped > 0 {
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = (HEADER - self.header_seen).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            for (to, from) in self.header.iter_mut().skip(self.header_seen).zip(part) {
                *to = *from;
            }
            self.header_seen += wanted;
            bytes = rest;
            if self.header_seen == HEADER {
                self.frame()?;
            }
        }
        Ok(())
    }

    /// How many of the next bytes are preface or payload.
    fn skip(&mut self, available: usize) -> usize {
        let left = if self.preface_left > 0 {
            &mut self.preface_left
        } else {
            &mut self.payload_left
        };
        let skipped = available.min(*left);
        *left -= skipped;
        skipped
    }

    fn frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, ..] = self.header;
        self.header_seen = 0;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.seen += 1;
        match kind {
            DATA if self.payload_left > 0 => Ok(()),
            HEADERS => {
                self.coins = PURSE.min(self.coins + PER_REQUEST);
                Ok(())
            }
            _ => self.pay(),
        }
    }

    fn pay(&mut self) -> Result<(), Flood> {
        if self.coins == 0 {
            self.earn();
        }
        self.coins = self.coins.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }

    /// Looked at only when the purse is empty: a busy connection does not read the clock for it.
    fn earn(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.counted_at);
        let for_time = u64::try_from(passed.as_millis()).unwrap_or(PURSE) * PER_SECOND / 1000;
        if for_time > 0 {
            self.counted_at = now;
        }
        let for_bytes = self.sent / BYTES_SENT;
        self.sent %= BYTES_SENT;
        self.coins = PURSE.min(for_time + for_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: u8 = 6;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, 0, 0, 0, 0, 0];
        bytes.resize(HEADER + length, 0);
        bytes
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        frames
            .received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        assert!(!frames.has_begun());
        frames.received(&frame(SETTINGS, 18)).unwrap();
        assert!(frames.has_begun());
        frames
    }

    fn flood(frames: &mut Frames, wire: &[u8], times: u64) -> u64 {
        (0..times)
            .take_while(|_| frames.received(wire).is_ok())
            .count() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn a121_frames_that_ask_for_nothing_are_bounded() {
        // Without payload: what a refused frame leaves behind would be taken for another's head.
        for kind in [PING, SETTINGS, CONTINUATION, DATA, 200] {
            let mut frames = begun();
            let taken = flood(&mut frames, &frame(kind, 0), 100_000);
            assert!(taken < PURSE, "{taken} of {kind}");
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(flood(&mut frames, &frame(kind, 0), 100_000), 2 * PER_SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_bodies_are_no_flood() {
        let mut frames = begun();
        for _ in 0..20_000 {
            frames.received(&frame(HEADERS, 50)).unwrap();
            frames.received(&frame(DATA, 1000)).unwrap();
            frames.received(&frame(DATA, 0)).unwrap();
            frames.received(&frame(PING, 8)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_receives_much_may_acknowledge_much() {
        let mut frames = begun();
        for _ in 0..50_000 {
            frames.sent(1024);
            frames.received(&frame(8, 4)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_found_however_the_bytes_are_cut() {
        let mut wire = Vec::new();
        for (kind, length) in [(HEADERS, 700), (DATA, 20_000), (PING, 8)] {
            wire.extend(frame(kind, length));
        }
        for size in [1, 2, 7, 9, 10, 1000] {
            let mut frames = begun();
            for part in wire.chunks(size) {
                frames.received(part).unwrap();
            }
            assert_eq!(frames.seen, 4, "{size}");
            assert_eq!((frames.header_seen, frames.payload_left), (0, 0));
        }
    }
}
