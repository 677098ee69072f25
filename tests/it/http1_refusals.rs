//! What a wrapped server answers over HTTP/1.1 that is no answer, or could be read in two ways: a 502
//! that names the request, which is asked for once; and nothing more is read from that connection.

use serde_json::json;

use crate::edge::peak_kib;
use crate::http1_answers::{
    CHUNKED, Stage, assert_whole_and_kept, at_once, chunked, closing, in_pieces, ok, shown, sized,
};
use crate::proxy::{CALL, RESULT, send, status_and_id};
use crate::support::Step;

/// Every answer is a 502 that names the request, was asked for once, and its connection is closed.
fn assert_refused(answers: &[Vec<Step>]) {
    let stage = Stage::with(answers);
    for (nth, steps) in answers.iter().enumerate() {
        let shown = shown(steps);
        let target = format!("/{nth}");
        let reply = stage.caller.request("POST", &target, &[], CALL);
        assert_eq!(status_and_id(&reply), (502, json!("seven")), "{shown}");
        let used = stage.upstream.last().connection;
        assert!(stage.upstream.sees_close_of(used), "{shown}");
        assert_eq!(stage.count(nth), 1, "{shown}");
    }
}

#[test]
fn interim_answers_do_not_go_on_for_ever() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    ] {
        let at_once = vec![Step::Repeat(interim.to_owned(), 1000), send(&sized(""))];
        let one_by_one = (0..50).flat_map(|_| [send(interim), Step::Taken]);
        assert_refused(&[at_once, one_by_one.chain([send(&sized(""))]).collect()]);
    }
}

#[test]
fn a106_a_length_that_is_none_is_refused() {
    let answers = [
        "+5",
        "-1",
        "5x",
        "",
        "0x5",
        "5 5",
        "5,6",
        ",",
        "99999999999999999999",
        "5.0",
    ]
    .map(|length| at_once(&ok(&format!("Content-Length: {length}\r\n"), "hello")));
    assert_refused(&answers);
    let two = "Content-Length: 5\r\nContent-Length: 6\r\n";
    assert_refused(&[at_once(&ok(two, "hello!"))]);
}

#[test]
fn a106_the_same_length_twice_leaves_nothing_for_the_next_answer() {
    let length = RESULT.len();
    let answers = [
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
    ]
    .map(|fields| at_once(&ok(&fields, RESULT)));
    let stage = Stage::with(&answers);
    let mut connection = stage.connect();
    for (nth, steps) in answers.iter().enumerate() {
        stage.ask(&mut connection, nth);
        let answer = connection.answer();
        let is_whole = (answer.status, answer.body.as_str()) == (200, RESULT);
        assert!(is_whole || answer.status == 502, "{}", shown(steps));
        assert!(stage.next(&mut connection).0, "{}", shown(steps));
    }
}

#[test]
fn a106_two_framings_are_refused() {
    let length = RESULT.len();
    let fields = [
        format!("Content-Length: {length}\r\n{CHUNKED}"),
        format!("{CHUNKED}Content-Length: {length}\r\n"),
    ];
    assert_refused(&fields.map(|fields| at_once(&ok(&fields, &chunked()))));
}

#[test]
fn a107_other_codings_than_chunked_are_refused() {
    let answers: Vec<_> = [
        "gzip, chunked",
        "identity",
        "identity, chunked",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked, gzip",
        "xchunked",
        "",
    ]
    .iter()
    .map(|coding| ok(&format!("Transfer-Encoding: {coding}\r\n"), &chunked()))
    .map(|text| closing(at_once(&text)))
    .collect();
    assert_refused(&answers);
}

#[test]
fn a107_an_old_server_cannot_send_chunks() {
    let text = format!("HTTP/1.0 200 OK\r\n{CHUNKED}\r\n{}", chunked());
    assert_refused(&[at_once(&text)]);
}

#[test]
fn r12_what_is_no_head_is_refused() {
    let answers: Vec<_> = [
        "{\"jsonrpc\":\"2.0\",\"id\":\"seven\",\"result\":{}}\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.x 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : space\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\0: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded: b\r\n\r\n",
    ]
    .iter()
    .map(|text| at_once(text))
    .collect();
    assert_refused(&answers);
}

#[test]
fn a_hundred_header_lines_are_the_most() {
    let fields = |count: usize| sized(&"X: 1\r\n".repeat(count - 1));
    for (count, is_whole) in [(100, true), (101, false)] {
        let text = fields(count);
        let (begin, end) = text.split_at(500);
        let answers = [at_once(&text), in_pieces(&[begin, end])];
        if is_whole {
            assert_whole_and_kept(&answers);
        } else {
            assert_refused(&answers);
        }
    }
}

#[test]
fn a_head_without_end_is_refused_and_takes_no_memory() {
    let kib = 1024;
    let answers = [
        vec![
            send("HTTP/1.1 200 OK\r\nX: "),
            Step::Repeat("a".repeat(64 * kib), kib),
        ],
        vec![
            send("HTTP/1.1 200 OK\r\n"),
            Step::Repeat("X: 1\r\n".repeat(10 * kib), kib),
        ],
        vec![Step::Repeat("a".repeat(64 * kib), kib)],
    ];
    let stage = Stage::with(&answers);
    let before = peak_kib(&stage.guard);
    for (nth, steps) in answers.iter().enumerate() {
        let shown = shown(&steps[..1]);
        let target = format!("/{nth}");
        let reply = stage.caller.request("POST", &target, &[], CALL);
        assert_eq!(status_and_id(&reply), (502, json!("seven")), "{shown}");
        assert!(stage.upstream.sees_close_of(nth), "{shown}");
        let grown = peak_kib(&stage.guard) - before;
        assert!(grown < 16 * kib, "{grown} KiB: {shown}");
    }
}

#[test]
fn r12_a_request_that_found_its_connection_closing_is_not_sent_again() {
    let answers = [
        closing(vec![]),
        closing(at_once("HTTP/1.1 2")),
        closing(at_once("HTTP/1.1 100 Continue\r\n\r\n")),
    ];
    for (nth, steps) in answers.iter().enumerate() {
        let stage = Stage::with(&answers);
        let mut connection = stage.connect();
        assert_eq!(stage.next(&mut connection), (true, 0));
        stage.ask(&mut connection, nth);
        let reply = connection.answer();
        assert_eq!(status_and_id(&reply), (502, json!("seven")));
        assert_eq!(stage.upstream.last().connection, 0);
        assert_eq!(stage.count(nth), 1, "{}", shown(steps));
        assert_eq!(stage.next(&mut connection), (true, 1));
    }
}
