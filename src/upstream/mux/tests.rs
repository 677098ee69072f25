use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const ANN: SessionKey = SessionKey(1);
const BEN: SessionKey = SessionKey(2);

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn request(id: &str) -> Message {
    parse(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#
    ))
}

fn with_token(id: &str, token: &str) -> Message {
    parse(&format!(
        "{{\"jsonrpc\":\"2.0\",\n\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"_meta\":{{\"progressToken\":{token}}}}}}}"
    ))
}

fn result(id: &str, of: &str) -> Message {
    parse(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"of":{of}}}}}"#
    ))
}

fn progress(token: &str) -> Message {
    parse(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    ))
}

fn cancelled(id: &str) -> Message {
    parse(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ))
}

fn id(text: &str) -> RawId {
    request(text).id().unwrap()
}

/// Sends a request; the id it has on the wire.
fn send(mux: &mut Mux, session: SessionKey, exchange: u64, message: &Message) -> String {
    let mut out = BytesMut::new();
    let sent = mux.request(session, ExchangeId(exchange), message, &mut out);
    assert_eq!(sent, Ok(()));
    let line = only_line(&out);
    String::from_utf8(line.id().unwrap().as_bytes().to_vec()).unwrap()
}

/// What a child reads: exactly one line.
fn only_line(out: &BytesMut) -> Message {
    let line = out.strip_suffix(b"\n").unwrap();
    assert!(!line.contains(&b'\n'));
    Message::parse(Bytes::copy_from_slice(line)).unwrap()
}

fn is_stray(incoming: &Incoming) -> bool {
    matches!(incoming, Incoming::Stray(_))
}

/// The owner and the raw id of an answer.
fn last(incoming: Incoming) -> (SessionKey, ExchangeId, RawId) {
    match incoming {
        Incoming::Last(session, exchange, message) => (session, exchange, message.id().unwrap()),
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a098_the_same_id_in_two_sessions_stays_two_requests() {
    let mut mux = Mux::new();
    let long = format!("\"{}\"", "x".repeat(1024));
    for text in [
        "1",
        "\"1\"",
        "1.0",
        "1e0",
        "9007199254740993",
        long.as_str(),
    ] {
        let ann = send(&mut mux, ANN, 10, &request(text));
        let ben = send(&mut mux, BEN, 10, &request(text));
        assert_ne!(ann, ben);
        let answer = last(mux.incoming(result(&ben, "\"ben\"")));
        assert_eq!(answer, (BEN, ExchangeId(10), id(text)));
        let answer = last(mux.incoming(result(&ann, "\"ann\"")));
        assert_eq!(answer, (ANN, ExchangeId(10), id(text)));
    }
    assert_eq!(mux.in_flight(), 0);
}

#[test]
fn a098_an_id_in_flight_cannot_be_used_again_by_its_session() {
    let mut mux = Mux::new();
    let wire = send(&mut mux, ANN, 1, &request("1"));
    let mut out = BytesMut::new();
    let again = mux.request(ANN, ExchangeId(2), &request("1"), &mut out);
    assert_eq!(again, Err(SendError::DuplicateId));
    assert!(out.is_empty() && mux.in_flight() == 1);
    send(&mut mux, ANN, 3, &request("\"1\""));
    send(&mut mux, ANN, 4, &request("1.0"));
    last(mux.incoming(result(&wire, "1")));
    send(&mut mux, ANN, 5, &request("1"));
}

#[test]
fn a138_late_duplicate_and_forged_answers_are_strays() {
    let mut mux = Mux::new();
    let wire = send(&mut mux, ANN, 1, &request("1"));
    let number: u64 = wire.parse().unwrap();
    for forged in [
        format!("\"{wire}\""),
        format!("{wire}.0"),
        format!("{wire}e0"),
        format!("-{wire}"),
        (number + 1).to_string(),
        "0".to_owned(),
        "-0".to_owned(),
        "18446744073709551617".to_owned(),
    ] {
        assert!(is_stray(&mux.incoming(result(&forged, "1"))), "{forged}");
    }
    assert!(is_stray(
        &mux.incoming(parse(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#))
    ));
    last(mux.incoming(result(&wire, "1")));
    assert!(is_stray(&mux.incoming(result(&wire, "1"))));
}

#[test]
fn every_byte_but_the_id_passes_as_it_came() {
    let mut mux = Mux::new();
    let mut out = BytesMut::new();
    let text = "{ \"id\" :\"a\",\"x\":1.50e3,\n\"method\":\"m\",\"jsonrpc\":\"2.0\"}";
    mux.request(ANN, ExchangeId(1), &parse(text), &mut out)
        .unwrap();
    let expected = "{ \"id\" :1,\"x\":1.50e3,\"method\":\"m\",\"jsonrpc\":\"2.0\"}\n";
    assert_eq!(out, expected);
    let answer =
        "{\"result\":{\"n\":30000000000000000000000000000001}, \"id\":1,\"jsonrpc\":\"2.0\"}";
    let Incoming::Last(_, _, restored) = mux.incoming(parse(answer)) else {
        panic!("no answer");
    };
    assert_eq!(
        restored.bytes(),
        answer.replace(":1,", ":\"a\",").as_bytes()
    );
}

#[test]
fn a098_progress_reaches_its_owner_with_its_token_until_the_answer() {
    let mut mux = Mux::new();
    let ann = send(&mut mux, ANN, 1, &with_token("1", "\"t\""));
    let ben = send(&mut mux, BEN, 2, &with_token("1", "\"t\""));
    let silent = send(&mut mux, BEN, 3, &request("2"));
    for (wire, session) in [(&ben, BEN), (&ann, ANN), (&ben, BEN)] {
        let Incoming::More(owner, _, message) = mux.incoming(progress(wire)) else {
            panic!("no progress");
        };
        assert_eq!(owner, session);
        assert_eq!(message.progress_token().unwrap().as_bytes(), b"\"t\"");
    }
    for stray in [&silent, "\"t\"", &format!("\"{ann}\""), "null", "99"] {
        assert!(is_stray(&mux.incoming(progress(stray))), "{stray}");
    }
    last(mux.incoming(result(&ann, "1")));
    assert!(is_stray(&mux.incoming(progress(&ann))));
}

#[test]
fn the_token_on_the_wire_is_the_wire_id() {
    let mut mux = Mux::new();
    let mut out = BytesMut::new();
    let message = with_token("\"i\"", "\"t\"");
    mux.request(ANN, ExchangeId(1), &message, &mut out).unwrap();
    let line = only_line(&out);
    assert_eq!(line.id(), line.progress_token());
}

#[test]
fn a_client_cancels_its_own_requests_alone() {
    let mut mux = Mux::new();
    let wire = send(&mut mux, ANN, 1, &request("\"a\""));
    let mut out = BytesMut::new();
    assert!(!mux.notification(BEN, &cancelled("\"a\""), &mut out));
    assert!(!mux.notification(ANN, &cancelled(&wire), &mut out));
    assert!(!mux.notification(ANN, &cancelled("null"), &mut out));
    assert!(out.is_empty());
    assert!(mux.notification(ANN, &cancelled("\"a\""), &mut out));
    assert_eq!(
        only_line(&out).cancelled_id().unwrap().as_bytes(),
        wire.as_bytes()
    );
    assert_eq!(
        last(mux.incoming(result(&wire, "1"))),
        (ANN, ExchangeId(1), id("\"a\""))
    );
}

#[test]
fn initialize_is_never_cancelled() {
    let mut mux = Mux::new();
    let mut out = BytesMut::new();
    send(
        &mut mux,
        ANN,
        1,
        &parse(r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#),
    );
    assert!(!mux.notification(ANN, &cancelled("0"), &mut out));
    mux.cancel(ANN, ExchangeId(1), "timeout", &mut out);
    assert!(out.is_empty() && mux.in_flight() == 0);
}

#[test]
fn other_notifications_pass_on_one_line() {
    let mut mux = Mux::new();
    let mut out = BytesMut::new();
    assert!(mux.notification(ANN, &progress("\"server's\""), &mut out));
    assert_eq!(only_line(&out).bytes(), progress("\"server's\"").bytes());
    assert!(!mux.notification(ANN, &request("1"), &mut out));
}

#[test]
fn what_is_given_up_is_cancelled_and_its_late_answer_is_a_stray() {
    let mut mux = Mux::new();
    let wire = send(&mut mux, ANN, 7, &request("1"));
    let mut out = BytesMut::new();
    mux.cancel(BEN, ExchangeId(7), "no", &mut out);
    mux.cancel(ANN, ExchangeId(8), "no", &mut out);
    assert!(out.is_empty());
    mux.cancel(ANN, ExchangeId(7), "too \"slow\"\n", &mut out);
    let line = only_line(&out);
    assert_eq!(line.cancelled_id().unwrap().as_bytes(), wire.as_bytes());
    assert!(is_stray(&mux.incoming(result(&wire, "1"))));
    mux.cancel(ANN, ExchangeId(7), "again", &mut out);
    only_line(&out);
    send(&mut mux, ANN, 7, &request("1"));
}

#[test]
fn a099_only_the_session_that_was_asked_answers_and_only_once() {
    let mut mux = Mux::new();
    let mut out = BytesMut::new();
    assert!(mux.ask(ANN, &id("5")) && !mux.ask(BEN, &id("5")));
    assert!(mux.ask(BEN, &id("\"5\"")));
    for (session, text) in [(BEN, "5"), (ANN, "\"5\""), (ANN, "5.0"), (ANN, "6")] {
        let answered = mux.answer(session, &result(text, "1"), &mut out);
        assert_eq!(answered, Err(SendError::NotAsked), "{text}");
    }
    assert_eq!(
        mux.answer(ANN, &request("5"), &mut out),
        Err(SendError::NotAsked)
    );
    assert!(out.is_empty());
    assert_eq!(mux.answer(ANN, &result("5", "1"), &mut out), Ok(()));
    assert_eq!(only_line(&out).bytes(), result("5", "1").bytes());
    assert_eq!(
        mux.answer(ANN, &result("5", "1"), &mut out),
        Err(SendError::NotAsked)
    );
}

#[test]
fn a_refused_question_gets_an_error_and_no_answer_after_it() {
    let mut mux = Mux::new();
    let mut out = BytesMut::new();
    mux.ask(ANN, &id("5"));
    mux.refuse(BEN, &id("5"), "not yours", &mut out);
    assert!(out.is_empty());
    mux.refuse(ANN, &id("5"), "no stream", &mut out);
    mux.refuse(ANN, &id("5"), "no stream", &mut out);
    let line = only_line(&out);
    assert_eq!(
        (line.kind(), line.id()),
        (Kind::Response { is_error: true }, Some(id("5")))
    );
    assert_eq!(
        mux.answer(ANN, &result("5", "1"), &mut out),
        Err(SendError::NotAsked)
    );
}

#[test]
fn the_child_takes_back_its_own_questions_alone() {
    let mut mux = Mux::new();
    let wire = send(&mut mux, ANN, 1, &request("1"));
    mux.ask(BEN, &id("\"q\""));
    assert!(is_stray(&mux.incoming(cancelled(&wire))));
    assert!(matches!(
        mux.incoming(cancelled("\"q\"")),
        Incoming::ToAsked(BEN, _)
    ));
    assert!(is_stray(&mux.incoming(cancelled("\"q\""))));
    let late = mux.answer(BEN, &result("\"q\"", "1"), &mut BytesMut::new());
    assert_eq!(late, Err(SendError::NotAsked));
    assert_eq!(mux.in_flight(), 1);
}

#[test]
fn what_belongs_to_no_request_is_unowned() {
    let mut mux = Mux::new();
    let log = parse(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
    for message in [request("1"), log] {
        assert!(matches!(mux.incoming(message), Incoming::Unowned(_)));
    }
}

#[test]
fn a_session_that_leaves_takes_its_requests_and_questions_with_it() {
    let mut mux = Mux::new();
    let ann = send(&mut mux, ANN, 1, &request("1"));
    let ben = send(&mut mux, BEN, 2, &request("1"));
    mux.ask(ANN, &id("8"));
    mux.ask(BEN, &id("9"));
    assert_eq!(mux.only_session(), None);
    let mut out = BytesMut::new();
    mux.leave(ANN, &mut out);
    let lines: Vec<Message> = out[..]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Message::parse(Bytes::copy_from_slice(line)).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].cancelled_id().unwrap().as_bytes(), ann.as_bytes());
    assert_eq!(lines[1].id(), Some(id("8")));
    assert!(is_stray(&mux.incoming(result(&ann, "1"))));
    assert_eq!(mux.only_session(), Some(BEN));
    last(mux.incoming(result(&ben, "1")));
    assert_eq!((mux.only_session(), mux.in_flight()), (None, 0));
    assert!(mux.answer(BEN, &result("9", "1"), &mut out).is_ok());
}

const IDS: [&str; 7] = [
    "1",
    "\"1\"",
    "1.0",
    "1e0",
    "9007199254740993",
    "\"\\u0031\"",
    "-1",
];

/// One step of a run: which session, which id, and what happens.
#[derive(Clone, Debug)]
enum Step {
    Send(SessionKey, usize),
    Answer(prop::sample::Index),
    Progress(prop::sample::Index),
    Cancel(prop::sample::Index),
    Forge(u64),
    Leave(SessionKey),
}

fn step() -> impl Strategy<Value = Step> {
    let session = prop_oneof![Just(ANN), Just(BEN)];
    prop_oneof![
        8 => (session.clone(), 0..IDS.len()).prop_map(|(who, id)| Step::Send(who, id)),
        5 => any::<prop::sample::Index>().prop_map(Step::Answer),
        3 => any::<prop::sample::Index>().prop_map(Step::Progress),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => (1000_u64..).prop_map(Step::Forge),
        1 => session.prop_map(Step::Leave),
    ]
}

proptest! {
    /// The model is a list of (session, exchange, id, wire id); the token is the id too.
    #[test]
    fn a098_every_answer_reaches_its_owner(steps in prop::collection::vec(step(), 1..200)) {
        let mut mux = Mux::new();
        let mut flying: Vec<(SessionKey, ExchangeId, RawId, String)> = Vec::new();
        let mut gone: Vec<String> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let mut out = BytesMut::new();
            match step {
                Step::Send(session, at) => {
                    let message = with_token(IDS[at], IDS[at]);
                    let exchange = ExchangeId(number as u64);
                    let sent = mux.request(session, exchange, &message, &mut out);
                    let own = id(IDS[at]);
                    let known = flying.iter().any(|one| one.0 == session && one.2 == own);
                    prop_assert_eq!(sent.is_err(), known);
                    if !known {
                        let wire = only_line(&out).id().unwrap();
                        let wire = String::from_utf8(wire.as_bytes().to_vec()).unwrap();
                        flying.push((session, exchange, own, wire));
                    }
                }
                Step::Answer(at) if !flying.is_empty() => {
                    let (session, exchange, own, wire) = flying.swap_remove(at.index(flying.len()));
                    let answer = last(mux.incoming(result(&wire, "1")));
                    prop_assert_eq!(answer, (session, exchange, own));
                    gone.push(wire);
                }
                Step::Progress(at) if !flying.is_empty() => {
                    let (session, exchange, own, wire) = &flying[at.index(flying.len())];
                    let Incoming::More(to, of, message) = mux.incoming(progress(wire)) else {
                        return Err(TestCaseError::fail("no progress"));
                    };
                    prop_assert_eq!((&to, &of), (session, exchange));
                    let token = message.progress_token();
                    prop_assert_eq!(token.as_ref(), Some(own));
                }
                Step::Cancel(at) if !flying.is_empty() => {
                    let (session, exchange, _, wire) = flying.swap_remove(at.index(flying.len()));
                    mux.cancel(session, exchange, "timeout", &mut out);
                    let told = only_line(&out).cancelled_id().unwrap();
                    prop_assert_eq!(told.as_bytes(), wire.as_bytes());
                    gone.push(wire);
                }
                Step::Forge(wire) => prop_assert!(is_stray(&mux.incoming(result(&wire.to_string(), "1")))),
                Step::Leave(session) => {
                    mux.leave(session, &mut out);
                    gone.extend(flying.extract_if(.., |one| one.0 == session).map(|one| one.3));
                }
                _ => {}
            }
            if let Some(wire) = gone.last() {
                prop_assert!(is_stray(&mux.incoming(result(wire, "1"))));
                prop_assert!(is_stray(&mux.incoming(progress(wire))));
            }
            prop_assert_eq!(mux.in_flight(), flying.len());
            let one = flying.first().map(|one| one.0);
            let alone = one.filter(|&session| flying.iter().all(|one| one.0 == session));
            prop_assert_eq!(mux.only_session(), alone);
        }
    }
}
