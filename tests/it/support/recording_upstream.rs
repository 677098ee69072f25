//! A server behind the guard that writes down every byte it gets, and answers what a script says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::eventually;
use super::receive_queue::wait_until_read;

/// It listens until the process ends.
pub(crate) struct RecordingUpstream {
    pub port: u16,
    shared: Arc<Shared>,
    go_on: Sender<()>,
}

type Script = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

struct Shared {
    script: Box<Script>,
    /// Heads that have come.
    begun: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// Requests whose script is at its end.
    done: AtomicUsize,
    /// Connections that the guard has closed.
    closed: Mutex<Vec<usize>>,
    signals: Mutex<Receiver<()>>,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counts connections.
    pub connection: usize,
    /// With the empty line at its end.
    pub head: String,
    /// Decoded, if it was chunked.
    pub body: String,
}

/// What to do about a request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(String),
    /// Sends it so many times, or until the guard has hung up.
    Repeat(String, usize),
    /// Waits until the guard has read what was sent so far, so that it reads the rest separately.
    Taken,
    /// Waits for [`RecordingUpstream::go_on`].
    Pause,
    Close,
}

impl Seen {
    pub(crate) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.request_line().split(' ').nth(1).unwrap_or_default()
    }

    /// All values of a header whose name is exactly this, in lower case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

/// A whole answer with a body of JSON.
pub(crate) fn json_answer(further: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{further}\r\n{body}"
    ))]
}

impl RecordingUpstream {
    pub(crate) fn start(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (go_on, signals) = channel();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            begun: AtomicUsize::default(),
            seen: Mutex::default(),
            done: AtomicUsize::default(),
            closed: Mutex::default(),
            signals: Mutex::new(signals),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let shared = Arc::clone(&serving);
                let stream = stream.unwrap();
                std::thread::spawn(move || shared.serve(connection, &stream));
            }
        });
        Self {
            port,
            shared,
            go_on,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }

    /// How many requests have begun, whole or not.
    pub(crate) fn begun(&self) -> usize {
        self.shared.begun.load(Ordering::Acquire)
    }

    /// How many requests have got all that the script has for them.
    pub(crate) fn done(&self) -> usize {
        self.shared.done.load(Ordering::Acquire)
    }

    /// Ends one [`Step::Pause`].
    pub(crate) fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }

    /// How many connections the guard has closed.
    pub(crate) fn closed(&self) -> usize {
        self.shared.closed.lock().unwrap().len()
    }

    /// Whether the guard closes that connection, soon.
    pub(crate) fn sees_close_of(&self, connection: usize) -> bool {
        eventually(Duration::from_secs(10), || {
            self.shared.closed.lock().unwrap().contains(&connection)
        })
    }
}

impl Shared {
    fn serve(&self, connection: usize, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(head) = read_head(&mut reader) {
            self.begun.fetch_add(1, Ordering::AcqRel);
            let mut seen = Seen {
                connection,
                head,
                body: String::new(),
            };
            // Answered before the body is read, which is left on the wire.
            let early = seen.header("x-early").is_some();
            if !early {
                let Some(body) = read_body(&mut reader, &seen) else {
                    break;
                };
                seen.body = body;
            }
            self.seen.lock().unwrap().push(seen.clone());
            let stays = self.act(&seen, stream);
            self.done.fetch_add(1, Ordering::AcqRel);
            if !stays {
                let _ = stream.shutdown(Shutdown::Write);
            }
            if early || !stays {
                let _ = reader.read_to_end(&mut Vec::new());
                break;
            }
        }
        self.closed.lock().unwrap().push(connection);
    }

    /// Whether the connection stays.
    fn act(&self, seen: &Seen, mut stream: &TcpStream) -> bool {
        for step in (self.script)(seen) {
            match step {
                Step::Send(text) => _ = stream.write_all(text.as_bytes()),
                Step::Repeat(text, count) => {
                    let mut all = std::iter::repeat_n(text.as_bytes(), count);
                    let _ = all.try_for_each(|text| stream.write_all(text));
                }
                Step::Taken => wait_until_read(stream),
                Step::Pause => _ = self.signals.lock().unwrap().recv(),
                Step::Close => return false,
            }
        }
        true
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// `None` unless it is whole, and framed to the letter.
fn read_body(reader: &mut impl BufRead, seen: &Seen) -> Option<String> {
    let mut body = Vec::new();
    if seen.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = hexadecimal(size.strip_suffix("\r\n")?)?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if !chunk.ends_with(b"\r\n") {
                return None;
            }
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = seen.header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).ok()?;
    }
    String::from_utf8(body).ok()
}

fn hexadecimal(digits: &str) -> Option<usize> {
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    usize::from_str_radix(digits, 16).ok().filter(|_| is_plain)
}
