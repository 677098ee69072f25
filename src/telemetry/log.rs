//! The way of a line from whoever logs it to stderr: through a bounded queue and a thread. If
//! stderr blocks, the oldest lines are dropped and counted; nobody waits (R-33).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most bytes that wait to be written.
const MAX_QUEUED: usize = 1 << 20;

/// Longest line, in bytes; the rest is cut off, and a JSON line that was cut says so instead.
const MAX_LINE: usize = 64 * 1024;

/// How long the last lines may take to get out.
const FAREWELL: Duration = Duration::from_secs(1);

/// Lines on their way.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    closed: bool,
    written: bool,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// A line to be written into.
    pub(super) fn line(self: &Arc<Self>, shape: Shape) -> Line {
        Line {
            queue: Arc::clone(self),
            shape,
            bytes: Vec::new(),
        }
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        state.bytes += line.len();
        state.lines.push_back(line);
        while state.bytes > MAX_QUEUED {
            let Some(oldest) = state.lines.pop_front() else {
                break;
            };
            state.bytes -= oldest.len();
            state.dropped += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Everything that waits, and how much was dropped since last asked. `None` at the end.
    fn take(&self) -> Option<(Vec<u8>, u64)> {
        let mut state = self.lock();
        while state.lines.is_empty() && !state.closed {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.lines.is_empty() {
            return None;
        }
        Some((state.drain(), std::mem::take(&mut state.dropped)))
    }

    /// A state is whole whenever its lock is free: nothing in here panics half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn drain(&self) -> Vec<u8> {
        self.lock().drain()
    }
}

impl State {
    fn drain(&mut self) -> Vec<u8> {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        lines.into_iter().flatten().collect()
    }
}

/// How a line is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Json,
    Text,
    /// Text with colours.
    Terminal,
}

/// One event. What is written becomes one line when it is dropped, whatever it contains. The
/// formatter escapes only some of it: a field recorded with `%` passes as it is, so all of it is
/// escaped here, and the colours come after.
pub(super) struct Line {
    queue: Arc<Queue>,
    shape: Shape,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.push(one_line(&self.bytes, self.shape));
        }
    }
}

fn one_line(written: &[u8], shape: Shape) -> Vec<u8> {
    let text = written.strip_suffix(b"\n").unwrap_or(written);
    let mut line = escaped(&String::from_utf8_lossy(text), shape);
    if line.len() > MAX_LINE {
        cut(&mut line, shape);
    }
    if shape == Shape::Terminal {
        line = coloured(&line).unwrap_or(line);
    }
    line.push('\n');
    line.into_bytes()
}

/// Without a character that moves the cursor, ends the line or turns the direction of writing.
fn escaped(text: &str, shape: Shape) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if !is_unsafe(character) {
            line.push(character);
        } else if shape == Shape::Json {
            // All of them have four digits, and can stand in strings only.
            // Writing into a String does not fail.
            let _ = write!(line, "\\u{:04x}", u32::from(character));
        } else {
            line.extend(character.escape_default());
        }
    }
    line
}

const fn is_unsafe(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Half a JSON object is none.
fn cut(line: &mut String, shape: Shape) {
    if shape == Shape::Json {
        let length = line.len();
        *line =
            format!(r#"{{"level":"WARN","message":"a log line was too long","length":{length}}}"#);
        return;
    }
    while line.len() > MAX_LINE {
        line.pop();
    }
}

/// The time dimmed and the level in its colour.
fn coloured(line: &str) -> Option<String> {
    let (time, rest) = line.split_once(' ')?;
    let (level, message) = rest.trim_start().split_once(' ')?;
    let colour = match level {
        "ERROR" => 31,
        "WARN" => 33,
        "INFO" => 32,
        "DEBUG" => 34,
        "TRACE" => 35,
        _ => return None,
    };
    Some(format!(
        "\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m {message}"
    ))
}

/// The thread that writes. Dropping it waits for the last lines, for a moment only.
#[must_use = "logs may be lost unless this is dropped last"]
pub struct Sink {
    queue: Arc<Queue>,
    _thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Without a thread to spare, lines are dropped like those that nobody reads.
    pub(super) fn start(queue: Arc<Queue>, out: impl Write + Send + 'static) -> Self {
        let lines = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("log".into());
        Self {
            queue,
            _thread: thread.spawn(move || write_lines(&lines, out)).ok(),
        }
    }
}

fn write_lines(queue: &Queue, mut out: impl Write) {
    while let Some((lines, dropped)) = queue.take() {
        // A reader that has gone away is no reason to stop (R-33).
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "log lines were lost: whoever reads them is too slow"
            );
        }
    }
    queue.lock().written = true;
    queue.changed.notify_all();
}

impl Drop for Sink {
    fn drop(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        let mut state = self.queue.lock();
        state.closed = true;
        self.queue.changed.notify_all();
        while !state.written {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.queue.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes lines only as they are asked for.
    struct Blocked(mpsc::SyncSender<Vec<u8>>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(queue: &Arc<Queue>, text: &str) {
        queue.line(Shape::Text).write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn r33_a_blocked_reader_blocks_nobody_and_costs_the_oldest_lines() {
        let queue = Queue::new();
        let (sender, receiver) = mpsc::sync_channel(0);
        let sink = Sink::start(Arc::clone(&queue), Blocked(sender));
        let long = "x".repeat(1000);
        for number in 0..5000 {
            log(&queue, &format!("{number} {long}\n"));
        }
        assert!(queue.lock().bytes <= MAX_QUEUED);
        let reader =
            std::thread::spawn(move || receiver.into_iter().flatten().collect::<Vec<u8>>());
        drop(sink);
        let read = String::from_utf8(reader.join().unwrap()).unwrap();
        assert!(read.contains("\n4999 x"));
        assert!(!read.contains("\n2000 x"));
    }

    #[test]
    fn r33_dropped_lines_are_counted() {
        let queue = Queue::new();
        let line = "x".repeat(MAX_QUEUED / 20);
        for _ in 0..25 {
            log(&queue, &line);
        }
        let (lines, dropped) = queue.take().unwrap();
        assert_eq!(dropped, 25 - 19);
        assert_eq!(lines.len(), 19 * (line.len() + 1));
        log(&queue, "next");
        assert_eq!(queue.take().unwrap(), (b"next\n".to_vec(), 0));
    }

    #[test]
    fn r33_a_reader_that_has_gone_stops_nothing() {
        let queue = Queue::new();
        let (sender, receiver) = mpsc::sync_channel(0);
        drop(receiver);
        let sink = Sink::start(Arc::clone(&queue), Blocked(sender));
        for _ in 0..100 {
            log(&queue, "hello\n");
        }
        drop(sink);
        assert!(queue.lock().lines.is_empty());
    }

    #[test]
    fn lines_logged_before_the_end_get_out() {
        let queue = Queue::new();
        let (sender, receiver) = mpsc::sync_channel(1000);
        let sink = Sink::start(Arc::clone(&queue), Blocked(sender));
        for _ in 0..100 {
            log(&queue, "hello\n");
        }
        drop(sink);
        let read: Vec<u8> = receiver.try_iter().flatten().collect();
        assert_eq!(read, b"hello\n".repeat(100));
    }

    #[test]
    fn a155_one_event_is_one_line() {
        let text = |bytes| String::from_utf8(one_line(bytes, Shape::Text)).unwrap();
        assert_eq!(text(b"a\nb\r\x00c\n"), "a\\nb\\r\\u{0}c\n");
        assert_eq!(text("é\u{9b}x\x1b[1m".as_bytes()), "é\\u{9b}x\\u{1b}[1m\n");
        assert_eq!(text(b"\xff\n"), "\u{fffd}\n");
        assert_eq!(
            one_line("\"\u{9b}\"".as_bytes(), Shape::Json),
            b"\"\\u009b\"\n"
        );
    }

    #[test]
    fn a_line_has_an_end() {
        let cut = one_line("é".repeat(MAX_LINE).as_bytes(), Shape::Text);
        assert!(cut.len() <= MAX_LINE + 1);
        assert!(String::from_utf8(cut).unwrap().ends_with("é\n"));
        let object = format!("{{\"message\":\"{}\"}}", "x".repeat(MAX_LINE));
        let cut = one_line(object.as_bytes(), Shape::Json);
        let object: serde_json::Value = serde_json::from_slice(&cut).unwrap();
        assert_eq!(object["level"], "WARN");
    }

    #[test]
    fn a_terminal_gets_colours() {
        let line = one_line(b"12:00  INFO hello INFO\n", Shape::Terminal);
        let expected = "\x1b[2m12:00\x1b[0m \x1b[32m INFO\x1b[0m hello INFO\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}
