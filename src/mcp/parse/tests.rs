use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Message, ParseError> {
    parse(Bytes::copy_from_slice(text.as_bytes()))
}

/// A request with these `params`.
fn with_params(params: &str) -> Result<Message, ParseError> {
    read(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#
    ))
}

fn refused(text: &str) -> bool {
    matches!(read(text), Err(ParseError::NotMessage(_)))
}

fn not_json(text: &str) -> bool {
    matches!(read(text), Err(ParseError::NotJson(_)))
}

#[test]
fn each_kind_of_message_is_told_from_the_others() {
    let is_error = |is_error| Kind::Response { is_error };
    for (members, kind) in [
        (r#""id":1,"method":"ping""#, Kind::Request),
        (r#""method":"ping","params":null,"id":"a""#, Kind::Request),
        (
            r#""method":"notifications/initialized""#,
            Kind::Notification,
        ),
        (r#""id":1,"result":{}"#, is_error(false)),
        (r#""id":1,"result":null"#, is_error(false)),
        (r#""id":1,"error":{"code":1,"message":""}"#, is_error(true)),
        (r#""id":null,"error":{}"#, is_error(true)),
        (r#""error":{}"#, is_error(true)),
    ] {
        let message = read(&format!(r#"{{{members},"jsonrpc":"2.0"}}"#));
        assert_eq!(message.map(|message| message.kind()), Ok(kind), "{members}");
    }
}

#[test]
fn members_that_contradict_each_other_are_refused() {
    for members in [
        r#""id":1"#,
        r#""id":null,"method":"ping""#,
        r#""id":true,"method":"ping""#,
        r#""id":[1],"method":"ping""#,
        r#""id":{},"result":{}"#,
        r#""id":null,"result":{}"#,
        r#""result":{}"#,
        r#""id":1,"result":{},"error":{}"#,
        r#""id":1,"result":{},"method":"ping""#,
        r#""id":1,"error":{},"method":"ping""#,
        r#""id":1,"result":{},"params":{}"#,
        r#""id":1,"method":null"#,
        r#""id":1,"method":7"#,
        r#""id":1,"method":"p\u0069ng""#,
        r#""id":1,"method":"notifications/cancelled","params":{"requestId":1}"#,
        "\"id\":1,\"method\":\"pi\u{7f}ng\"",
        "\"id\":1,\"method\":\"pi\u{85}ng\"",
        r#""id":1,"method":"tools/call","params":["name"]"#,
        r#""id":1,"method":"tools/call","params":"name""#,
        r#""id":1,"method":"tools/call","params":{"_meta":[]}"#,
        r#""id":1,"method":"tools/call","params":{"_meta":{"progressToken":{}}}"#,
        r#""method":"notifications/progress","params":{"progressToken":true}"#,
        r#""method":"notifications/cancelled","params":{"requestId":[1]}"#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0",{members}}}"#);
        assert!(refused(&text), "{text}");
    }
}

#[test]
fn only_json_rpc_2_is_spoken() {
    for version in [
        "",
        r#""jsonrpc":2.0,"#,
        r#""jsonrpc":"1.0","#,
        r#""jsonrpc":null,"#,
    ] {
        assert!(
            refused(&format!(r#"{{{version}"id":1,"method":"ping"}}"#)),
            "{version}"
        );
    }
    assert!(refused(r#"{"jsonrpc":"2\u002e0","id":1,"method":"ping"}"#));
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}x"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#,
        r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":nul}}"#,
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}",
    ] {
        assert!(not_json(text), "{text}");
    }
    let invalid = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}");
    assert!(matches!(parse(invalid), Err(ParseError::NotJson(_))));
    assert!(refused("7") && refused("\"{}\"") && refused("null"));
    assert_eq!(read(" [").err(), Some(ParseError::Batch));
}

#[test]
fn a131_two_messages_in_one_body_are_refused() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert!(not_json(&format!("{ping}\n{ping}")));
    assert!(read(&format!("\r\n{ping}\r\n")).is_ok());
}

#[test]
fn a101_duplicate_and_look_alike_keys_are_refused_where_we_read() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"\u0078":2}"#,
        "{\"j\u{17f}onrpc\":\"2.0\",\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"a","protocolversion":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"a","protocolVersion":"b"}}"#,
    ] {
        assert!(refused(text), "{text}");
    }
    for params in [
        r#"{"name":"a","Name":"b"}"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"a","n\u0061me":"b"}"#,
        r#"{"URI":"a"}"#,
        r#"{"_Meta":{}}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"_meta":{"progressToken":1,"progresstoken":2}}"#,
        "{\"_meta\":{\"progressTo\u{212a}en\":2}}",
        r#"{"_meta":{"a":1,"a":2}}"#,
    ] {
        assert!(
            matches!(with_params(params), Err(ParseError::NotMessage(_))),
            "{params}"
        );
    }
}

#[test]
fn arguments_and_results_may_hold_any_keys() {
    assert!(
        with_params(r#"{"arguments":{"Name":1,"ID":2,"Id":3,"a":1,"a":2,"\u006dethod":1}}"#)
            .is_ok()
    );
    assert!(with_params(r#"{"_meta":{"x/Name":1},"cursor":"a","ID":1}"#).is_ok());
    assert!(read(r#"{"jsonrpc":"2.0","id":1,"result":{"Name":1,"ID":2,"a":1,"a":2}}"#).is_ok());
    assert!(with_params(r#"{"arguments":"\ud800"}"#).is_ok());
}

#[test]
fn a_name_with_a_lone_surrogate_has_no_one_meaning() {
    assert!(with_params(r#"{"name":"\ud800"}"#).is_err());
    assert!(with_params(r#"{"\ud800":1}"#).is_err());
}

#[test]
fn members_are_found_wherever_they_stand() {
    let text = r#" { "params" : {"uri":"file:\/\/\u00e9","arguments":{"name":"inner","uri":[]},
            "_meta" : { "progressToken" : "t\u0041" , "io.modelcontextprotocol/protocolVersion":"x"},
            "name" : "a\"b", "protocolVersion":"2025-06-18"} , "method": "initialize",
            "id" : 1e0, "jsonrpc":"2.0" } "#;
    let message = read(text).unwrap();
    assert_eq!(message.id().unwrap().as_bytes(), b"1e0");
    assert_eq!(message.method(), Some("initialize"));
    assert_eq!(message.name().as_deref(), Some("a\"b"));
    assert_eq!(message.uri().as_deref(), Some("file://é"));
    assert_eq!(
        message.progress_token().unwrap().as_bytes(),
        br#""t\u0041""#
    );
    assert_eq!(message.protocol_version().as_deref(), Some("2025-06-18"));
    assert!(message.is_modern() && message.cancelled_id().is_none());
}

#[test]
fn tokens_and_cancelled_ids_are_read_only_where_they_mean_that() {
    let fields = |method: &str, id: &str| {
        let params = r#"{"progressToken":5,"requestId":"6","_meta":{"progressToken":7}}"#;
        let text = format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":{params}}}"#);
        let message = read(&text).unwrap();
        let text = |id: Option<super::super::RawId>| {
            id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
        };
        (text(message.progress_token()), text(message.cancelled_id()))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(fields("tools/call", r#""id":1,"#), (some("7"), None));
    assert_eq!(fields("notifications/progress", ""), (some("5"), None));
    assert_eq!(fields("notifications/cancelled", ""), (None, some("\"6\"")));
    assert_eq!(fields("notifications/message", ""), (None, None));
    let null = with_params(r#"{"_meta":{"progressToken":null}}"#).unwrap();
    assert_eq!(null.progress_token(), None);
}

#[test]
fn the_agreed_version_is_read_from_the_answer() {
    let answer = read(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-03-26"}}"#);
    assert_eq!(
        answer.unwrap().protocol_version().as_deref(),
        Some("2025-03-26")
    );
    let list = read(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"protocolVersion":"x"}]}}"#);
    assert_eq!(list.unwrap().protocol_version(), None);
}

#[test]
fn ids_and_methods_are_bounded() {
    let request = |id: usize, method: usize| {
        let (id, method) = ("i".repeat(id), "m".repeat(method));
        read(&format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}"}}"#
        ))
    };
    assert!(request(4094, 256).is_ok());
    assert!(request(4095, 1).is_err());
    assert!(request(1, 257).is_err());
}

#[test]
fn a119_depth_counts_from_the_message_itself() {
    let arguments = |depth: usize| {
        with_params(&format!(
            r#"{{"arguments":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    assert!(arguments(62).is_ok());
    assert!(arguments(63).is_err());
}

#[test]
fn a119_pathological_messages_take_linear_time() {
    use std::fmt::Write;
    let mut keys = String::new();
    for key in 0..1_000_000 {
        let _ = write!(keys, "\"k{key}\":1,");
    }
    let million = format!(r#"{{{keys}"z":1}}"#);
    let texts = [
        ("[", "[".repeat(1_000_000), false),
        ("{", r#"{"a":"#.repeat(1_000_000), false),
        ("million keys", million.clone(), false),
        (
            "million arguments",
            format!(r#"{{"arguments":{million}}}"#),
            true,
        ),
        (
            "nul",
            format!(r#"{{"name":"{}"}}"#, r"\u0000".repeat(700_000)),
            true,
        ),
        (
            "nul key",
            format!(r#"{{"{}":1}}"#, r"\u0000".repeat(700_000)),
            true,
        ),
        (
            "digits",
            format!(r#"{{"a":{}}}"#, "1".repeat(4 << 20)),
            true,
        ),
        (
            "é",
            format!(r#"{{"name":"{}"}}"#, "é".repeat(2 << 20)),
            true,
        ),
        ("1e400", r#"{"arguments":1e400}"#.to_owned(), true),
    ];
    for (name, params, accepted) in texts {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
        let bytes = Bytes::from(text);
        let start = Instant::now();
        assert_eq!(parse(bytes).is_ok(), accepted, "{name}");
        // Some 20 times what an optimised build takes: to notice a quadratic search, no more.
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
    }
}

#[test]
fn a_batch_has_1_to_50_messages_and_no_batch() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let batch = |members: &[&str]| parse_batch(&Bytes::from(format!("[{}]", members.join(" , "))));
    for count in [1, 2, 50] {
        let messages = batch(&vec![ping; count]).unwrap();
        assert_eq!(messages.len(), count);
        assert!(messages.iter().all(|message| message.bytes() == ping));
    }
    for members in [
        vec![],
        vec![ping; 51],
        vec![ping, "[]"],
        vec!["1"],
        vec![ping, "{}"],
    ] {
        assert!(
            matches!(batch(&members), Err(ParseError::NotMessage(_))),
            "{members:?}"
        );
    }
    for text in [
        "[",
        "[1",
        "",
        "{}",
        "[{}",
        r#"[{"jsonrpc":"2.0","method":"m"}]x"#,
    ] {
        assert!(
            parse_batch(&Bytes::from_static(text.as_bytes())).is_err(),
            "{text}"
        );
    }
    let start = Instant::now();
    assert!(parse_batch(&Bytes::from("[".repeat(1_000_000))).is_err());
    assert!(start.elapsed() < Duration::from_secs(5));
}

proptest! {
    #[test]
    fn what_we_accept_serde_accepts_with_the_same_meaning(
        text in r#"(\{"jsonrpc":"2\.0",("id":(1|"1"|null|1\.0),)?("method":"(a|é|\\n)"|"result":\{\}|"error":1)(,"params":\{("name":"[a\\"]{0,2}")?(,?"_meta":\{"progressToken":[12]\})?\})?\}|.{0,20})"#,
    ) {
        let Ok(message) = read(&text) else { return Ok(()) };
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(message.method(), value["method"].as_str());
        let name = message.name();
        prop_assert_eq!(name.as_deref(), value["params"]["name"].as_str());
        let id = message.id().map(|id| serde_json::from_slice(id.as_bytes()).unwrap());
        prop_assert_eq!(id.unwrap_or(serde_json::Value::Null), value["id"].clone());
    }

    #[test]
    fn nothing_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(parse(bytes.clone()).is_err() || std::str::from_utf8(&bytes).is_ok());
        let _ = parse_batch(&bytes);
    }
}
