//! What a wrapped server may answer over HTTP/1.1, byte for byte, and what comes of it: an answer
//! that arrives whole, or one that is cut off; and whether its connection carries another request,
//! which it does only after an answer that ended beyond doubt (threat case A-125).

use std::time::Duration;

use crate::proxy::{CALL, Caller, RESULT, chunk, in_front_of, send};
use crate::support::{Connection, Guard, RecordingUpstream, Step, eventually, json_answer};

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// A guard in front of a server that answers `/0`, `/1` and so on as a table has it, and anything
/// else with [`RESULT`].
pub(crate) struct Stage {
    pub(crate) upstream: RecordingUpstream,
    pub(crate) guard: Guard,
    pub(crate) caller: Caller,
}

impl Stage {
    pub(crate) fn with(answers: &[Vec<Step>]) -> Self {
        let answers = answers.to_vec();
        let upstream =
            RecordingUpstream::start(move |seen| match seen.target()[1..].parse::<usize>() {
                Ok(nth) => Vec::clone(&answers[nth]),
                Err(_) => json_answer("", RESULT),
            });
        let guard = in_front_of(&upstream);
        let caller = Caller::new(&guard);
        Self {
            upstream,
            guard,
            caller,
        }
    }

    /// A client's connection. All that comes over it has one worker's connections to choose from.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.guard.port)
    }

    /// Asks for the nth answer.
    pub(crate) fn ask(&self, connection: &mut Connection, nth: usize) {
        let target = format!("/{nth}");
        self.caller.send_on(connection, "POST", &target, &[], CALL);
    }

    /// Asks for the nth answer, which is [`RESULT`].
    fn ask_for_all(&self, connection: &mut Connection, nth: usize, shown: &str) {
        self.ask(connection, nth);
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, RESULT),
            "{shown}"
        );
    }

    /// Whether the next request gets its own answer, and which of the server's connections carries
    /// it.
    pub(crate) fn next(&self, connection: &mut Connection) -> (bool, usize) {
        self.caller.send_on(connection, "POST", "/mcp", &[], CALL);
        let answer = connection.answer();
        let is_its_own = (answer.status, answer.body.as_str()) == (200, RESULT);
        (is_its_own, self.upstream.last().connection)
    }

    pub(crate) fn count(&self, nth: usize) -> usize {
        let target = format!("/{nth}");
        let seen = self.upstream.seen();
        seen.iter().filter(|seen| seen.target() == target).count()
    }
}

/// Every answer is [`RESULT`], and leaves its connection to the next request.
pub(crate) fn assert_whole_and_kept(answers: &[Vec<Step>]) {
    let stage = Stage::with(answers);
    let mut connection = stage.connect();
    for (nth, steps) in answers.iter().enumerate() {
        let shown = shown(steps);
        stage.ask_for_all(&mut connection, nth, &shown);
        assert_eq!(stage.next(&mut connection), (true, 0), "{shown}");
    }
}

/// Every answer is [`RESULT`], and the next request goes over another connection.
fn assert_whole_and_last(answers: &[Vec<Step>]) {
    let stage = Stage::with(answers);
    let mut connection = stage.connect();
    for (nth, steps) in answers.iter().enumerate() {
        let shown = shown(steps);
        stage.ask_for_all(&mut connection, nth, &shown);
        let used = stage.upstream.last().connection;
        assert_eq!(stage.next(&mut connection), (true, used + 1), "{shown}");
        assert!(stage.upstream.sees_close_of(used), "{shown}");
    }
}

/// Every answer begins, or is a 502, and never ends as if it were whole; its connection is closed.
fn assert_cut(answers: &[Vec<Step>]) {
    let stage = Stage::with(answers);
    for (nth, steps) in answers.iter().enumerate() {
        let shown = shown(steps);
        let further = [("Connection", "close")];
        let target = format!("/{nth}");
        let mut connection = stage.caller.send("POST", &target, &further, CALL);
        let head = connection.head();
        let rest = connection.rest();
        let is_cut = match (head.status, head.header("content-length")) {
            (502, _) => true,
            (_, Some(length)) => rest.len() < length.parse().unwrap(),
            (_, None) => head.header("transfer-encoding").is_some() && !rest.ends_with("0\r\n\r\n"),
        };
        assert!(is_cut, "{shown}: {head:?} {rest:?}");
        let used = stage.upstream.last().connection;
        assert!(stage.upstream.sees_close_of(used), "{shown}");
        assert_eq!(stage.count(nth), 1, "{shown}");
    }
}

/// What is sent, for whoever reads of a failure.
pub(crate) fn shown(steps: &[Step]) -> String {
    let texts = steps.iter().filter_map(|step| match step {
        Step::Send(text) | Step::Repeat(text, _) => Some(text.as_str()),
        Step::Taken | Step::Pause | Step::Close => None,
    });
    let text: String = texts.flat_map(str::chars).take(400).collect();
    format!("{text:?} in {} steps", steps.len())
}

pub(crate) fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

/// With one Content-Length.
pub(crate) fn sized(fields: &str) -> String {
    ok(
        &format!("Content-Length: {}\r\n{fields}", RESULT.len()),
        RESULT,
    )
}

/// [`RESULT`] in one chunk, and the end.
pub(crate) fn chunked() -> String {
    format!("{}0\r\n\r\n", chunk(RESULT))
}

pub(crate) fn at_once(text: &str) -> Vec<Step> {
    vec![send(text)]
}

/// One piece after the other is read.
pub(crate) fn in_pieces(pieces: &[&str]) -> Vec<Step> {
    let sent = pieces.iter().flat_map(|piece| [send(piece), Step::Taken]);
    sent.collect()
}

fn byte_by_byte(text: &str) -> Vec<Step> {
    let bytes: Vec<String> = text.chars().map(String::from).collect();
    in_pieces(&bytes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// And closes the connection.
pub(crate) fn closing(mut steps: Vec<Step>) -> Vec<Step> {
    steps.push(Step::Close);
    steps
}

/// In one piece, and with the body byte by byte.
fn both_ways(head: &str, body: &str) -> [Vec<Step>; 2] {
    let text = format!("{head}{body}");
    [
        at_once(&text),
        [in_pieces(&[head]), byte_by_byte(body)].concat(),
    ]
}

#[test]
fn an_answer_arrives_whole_in_however_many_pieces_it_comes() {
    let text = sized("Content-Type: application/json\r\n");
    let (head, body) = text.split_at(text.len() - RESULT.len());
    let (status_line, fields) = head.split_at(9);
    assert_whole_and_kept(&[
        at_once(&text),
        byte_by_byte(&text),
        [
            byte_by_byte(head),
            in_pieces(&[&body[..5], &body[5..6], &body[6..]]),
        ]
        .concat(),
        in_pieces(&[head, &body[..1], &body[1..30], &body[30..]]),
        in_pieces(&[status_line, fields, body]),
        in_pieces(&[&head[..head.len() - 1], "\n", body]),
        in_pieces(&[&text[..text.len() - 1], &text[text.len() - 1..]]),
    ]);
}

#[test]
fn a_large_answer_arrives_byte_for_byte() {
    let large: String = (0..1 << 20)
        .map(|n: u32| char::from(b'!' + u8::try_from(n.wrapping_mul(7919) % 94).unwrap()))
        .collect();
    let length = large.len();
    // In chunks that end with no buffer of anybody's.
    let chunks: String = (0..)
        .scan(large.as_str(), |rest, n| {
            let (first, others) = rest.split_at(rest.len().min(n * 331 % 20_011 + 1));
            *rest = others;
            (!first.is_empty()).then(|| chunk(first))
        })
        .collect();
    let answers = [
        at_once(&ok(&format!("Content-Length: {length}\r\n"), &large)),
        at_once(&ok(CHUNKED, &format!("{chunks}0\r\n\r\n"))),
        closing(at_once(&ok("", &large))),
    ];
    let stage = Stage::with(&answers);
    let mut connection = stage.connect();
    for nth in 0..answers.len() {
        stage.ask(&mut connection, nth);
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{nth}");
        // Both would fill the screen.
        assert!(answer.body == large, "{nth}: {} bytes", answer.body.len());
        assert_eq!(stage.upstream.last().connection, 0, "{nth}");
    }
    assert_eq!(stage.next(&mut connection), (true, 1));
}

#[test]
fn r14_half_an_answer_is_never_taken_for_a_whole_one() {
    let text = sized("");
    let (head, body) = text.split_at(text.len() - RESULT.len());
    let half = &body[..body.len() / 2];
    assert_cut(&[
        closing(at_once(&format!("{head}{half}"))),
        closing(in_pieces(&[head, half])),
        closing(byte_by_byte(&text[..text.len() - 1])),
    ]);
}

/// A client whose connection ends without a word may try again what has run.
#[test]
fn r14_an_answer_that_breaks_off_behind_its_head_has_a_head() {
    let text = sized("");
    let head = &text[..text.len() - RESULT.len()];
    // Whether the end is there when the head is read is chance.
    assert_cut(&vec![closing(at_once(head)); 50]);
}

#[test]
fn chunks_arrive_whole_however_they_are_written() {
    let size = RESULT.len();
    let (begin, end) = RESULT.split_at(10);
    let bodies = [
        chunked(),
        format!("{}{}0\r\n\r\n", chunk(begin), chunk(end)),
        format!("{size:X}\r\n{RESULT}\r\n0\r\n\r\n"),
        format!("0000{size:x}\r\n{RESULT}\r\n000\r\n\r\n"),
        format!("{size:x};a=b;c=\"d;e\"\r\n{RESULT}\r\n0;f\r\n\r\n"),
        format!("{}0\r\nX-After: 1\r\nX-More: 2\r\n\r\n", chunk(RESULT)),
    ];
    let answers: Vec<_> = bodies
        .iter()
        .flat_map(|body| both_ways(&ok("Transfer-Encoding: Chunked\r\n", ""), body))
        .collect();
    assert_whole_and_kept(&answers);
}

#[test]
fn a112_trailers_go_no_further() {
    let head = ok(&format!("Trailer: X-After\r\n{CHUNKED}"), "");
    let body = format!("{}0\r\nX-After: 1\r\nX-More: 2\r\n\r\n", chunk(RESULT));
    let stage = Stage::with(&both_ways(&head, &body));
    for target in ["/0", "/1"] {
        let further = [("Connection", "close"), ("TE", "trailers")];
        let mut connection = stage.caller.send("POST", target, &further, CALL);
        let head = connection.head();
        assert_eq!((head.status, head.header("trailer")), (200, None));
        let mut body = String::new();
        while let Some(data) = connection.chunk() {
            body.push_str(&data);
        }
        assert_eq!((body.as_str(), connection.rest().as_str()), (RESULT, ""));
    }
}

#[test]
fn r14_chunks_that_are_malformed_or_break_off_are_no_whole_answer() {
    let broken = [
        "zz\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2;a=\nb\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}XX0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\r\n0\r\n: no name\r\n\r\n",
    ];
    let broken_off = [
        "",
        "2",
        "2\r\n",
        "2\r\n{",
        "2\r\n{}",
        "2\r\n{}\r\n0",
        "0\r\n",
    ];
    let in_the_middle = |body: &&str| ok(CHUNKED, &format!("{}{body}", chunk("[]")));
    let answers: Vec<_> = broken
        .iter()
        .flat_map(|body| [at_once(&ok(CHUNKED, body)), at_once(&in_the_middle(body))])
        .chain(
            broken_off
                .iter()
                .map(|body| closing(at_once(&in_the_middle(body)))),
        )
        .collect();
    assert_cut(&answers);
}

#[test]
fn an_answer_without_a_length_lasts_until_its_connection_ends() {
    let old = |fields: &str| format!("HTTP/1.0 200 OK\r\n{fields}\r\n{RESULT}");
    let length = RESULT.len();
    assert_whole_and_last(&[
        closing(at_once(&ok("", RESULT))),
        closing(byte_by_byte(&ok("", RESULT))),
        closing(at_once(&old(""))),
        // It ends before its connection does, which nobody has promised to keep open.
        at_once(&old(&format!("Content-Length: {length}\r\n"))),
    ]);
}

#[test]
fn a_server_that_means_to_close_is_not_asked_again() {
    let answers: Vec<_> = ["close", "Close", "keep-alive, close", "x-other, close"]
        .iter()
        .map(|value| at_once(&sized(&format!("Connection: {value}\r\n"))))
        .collect();
    assert_whole_and_last(&answers);
    let head = ok(&format!("Connection: close\r\n{CHUNKED}"), "");
    assert_whole_and_last(&both_ways(&head, &chunked()));
}

#[test]
fn a125_whatever_follows_an_answer_spoils_its_connection() {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    let text = sized("");
    let (most, last) = text.split_at(text.len() - 1);
    let in_chunks = ok(CHUNKED, &chunked());
    assert_whole_and_last(&[
        at_once(&format!("{in_chunks}{extra}")),
        in_pieces(&[most, &format!("{last}{extra}")]),
        [in_pieces(&[most]), vec![send(&format!("{last}\r\n"))]].concat(),
        at_once(&format!("{text}x")),
    ]);
}

#[test]
fn a125_what_comes_while_a_connection_rests_is_nobodys_answer() {
    let extra = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    let stage = Stage::with(&[vec![send(&sized("")), Step::Pause, send(extra)]]);
    let mut connection = stage.connect();
    stage.ask(&mut connection, 0);
    assert_eq!(connection.answer().body, RESULT);
    stage.upstream.go_on();
    assert!(eventually(PATIENCE, || stage.upstream.done() == 1));
    assert_eq!(stage.next(&mut connection), (true, 1));
    assert!(stage.upstream.sees_close_of(0));
}

/// What ends with its head, whatever that says: methods, and statuses that answer them.
const WITHOUT_BODY: [(&str, &str); 3] = [
    ("POST", "204 No Content"),
    ("POST", "304 Not Modified"),
    ("HEAD", "200 OK"),
];

#[test]
fn answers_that_have_no_body_say_what_they_like_of_its_length() {
    for framing in ["Content-Length: 1234\r\n", CHUNKED] {
        assert_without_body(0, |status| format!("HTTP/1.1 {status}\r\n{framing}\r\n"));
    }
}

#[test]
fn a125_a_body_where_there_can_be_none_spoils_its_connection() {
    for body in [
        "Content-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_without_body(1, |status| format!("HTTP/1.1 {status}\r\n{body}"));
    }
}

/// Answers of this text arrive without a body, each at the cost of so many connections.
fn assert_without_body(cost: usize, text: impl Fn(&str) -> String) {
    let texts = WITHOUT_BODY.map(|(_, status)| text(status));
    let stage = Stage::with(&texts.each_ref().map(|text| at_once(text)));
    let mut connection = stage.connect();
    for (nth, (method, status)) in WITHOUT_BODY.iter().enumerate() {
        let (text, target) = (&texts[nth], format!("/{nth}"));
        let caller = &stage.caller;
        caller.send_on(&mut connection, method, &target, &[], "");
        assert_eq!(connection.head().status.to_string(), status[..3]);
        // A body that came along would stand in front of this answer.
        let used = (nth + 1) * cost;
        assert_eq!(stage.next(&mut connection), (true, used), "{text:?}");
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let interim = ["100 Continue", "102 Processing", "199 Whatever"]
        .map(|status| format!("HTTP/1.1 {status}\r\n\r\n"));
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nLink: </y>\r\n\r\n";
    let several = format!("{early}{}{early}", interim.concat());
    let last = sized("");
    let [first, second, third] = interim.map(|interim| at_once(&format!("{interim}{last}")));
    assert_whole_and_kept(&[
        first,
        second,
        third,
        at_once(&format!("{early}{last}")),
        at_once(&format!("{several}{last}")),
        in_pieces(&[early, &last]),
        [byte_by_byte(&several), in_pieces(&[&last])].concat(),
    ]);
}
