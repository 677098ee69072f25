//! Streams of events: when an answer becomes one, what travels on it, and how a client that lost
//! its connection gets the rest.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Connection, Event, Guard, eventually, two_users};

#[test]
fn a_quick_answer_is_plain_json() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let answer = client.post(&Client::tool("echo", &json!({})));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn a_slow_answer_begins_as_a_stream() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let answer = client.post(&Client::tool("sleep", &json!({"millis": 600})));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    let events = Event::all(&answer.body);
    assert_eq!(events[0].data, "", "the first event primes: {answer:?}");
    assert!(!events[0].id.is_empty());
    assert_eq!(events[1].message()["id"], 1);
}

#[test]
fn older_clients_get_no_event_with_empty_data() {
    let guard = Guard::start();
    let token = Client::connect(&guard).token;
    let client = Client::open(&guard, &token, "2025-06-18");
    let answer = client.post(&Client::tool("sleep", &json!({"millis": 600})));
    let events = Event::all(&answer.body);
    assert_eq!(events.len(), 1, "{answer:?}");
    assert_eq!(events[0].message()["id"], 1);
}

#[test]
fn progress_travels_with_the_request_it_belongs_to() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "progress", "arguments": {"steps": 3}, "_meta": {"progressToken": "mine"}}});
    let answer = client.post(&call);
    let messages = messages(&answer.body);
    assert_eq!(messages.len(), 4, "{answer:?}");
    for (step, message) in messages[..3].iter().enumerate() {
        assert_eq!(message["params"]["progressToken"], "mine");
        assert_eq!(message["params"]["progress"], step + 1);
    }
    assert_eq!(messages[3]["id"], 7);
}

#[test]
fn a_log_message_travels_with_the_only_request_in_flight() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let answer = client.post(&Client::tool("log", &json!({"text": "hello"})));
    let messages = messages(&answer.body);
    assert_eq!(messages[0]["method"], "notifications/message");
    assert_eq!(messages[1]["id"], 1);
}

#[test]
fn a_question_of_the_servers_is_asked_and_answered() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let mut call = client.send(
        "POST",
        &Client::tool("ask", &json!({"number": 1})).to_string(),
    );
    assert_eq!(
        call.head().header("content-type"),
        Some("text/event-stream")
    );
    let question = next_message(&mut call);
    assert_eq!(question["method"], "sampling/createMessage");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}});
    assert_eq!(client.post(&answer).status, 202);
    let result = next_message(&mut call);
    let text = result["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("assistant"), "{text}");
    assert_eq!(call.chunk(), None, "the answer ends the stream");
}

#[test]
fn changes_to_lists_go_to_the_listening_stream() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let mut listening = client.send("GET", "");
    assert_eq!(listening.head().status, 200);
    assert_eq!(client.call("notify", &json!({})), "done");
    let message = next_message(&mut listening);
    assert_eq!(message["method"], "notifications/tools/list_changed");
}

#[test]
fn what_came_while_nobody_listened_is_not_lost() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    client.call("notify", &json!({}));
    let mut listening = client.send("GET", "");
    listening.head();
    assert_eq!(
        next_message(&mut listening)["method"],
        "notifications/tools/list_changed"
    );
}

#[test]
fn a_second_listening_stream_takes_the_place_of_the_first() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let mut first = client.send("GET", "");
    first.head();
    let mut second = client.send("GET", "");
    assert_eq!(second.head().status, 200);
    while first.chunk().is_some() {}
    client.call("notify", &json!({}));
    assert_eq!(
        next_message(&mut second)["method"],
        "notifications/tools/list_changed"
    );
}

#[test]
fn r11_a_lost_connection_is_not_a_cancellation() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let mut call = client.send(
        "POST",
        &Client::tool("sleep", &json!({"millis": 1500})).to_string(),
    );
    call.head();
    let priming = Event::all(&call.chunk().unwrap()).remove(0);
    drop(call);
    let mut resumed = client.send_with("GET", "", &[("Last-Event-ID", &priming.id)]);
    assert_eq!(resumed.head().status, 200);
    assert_eq!(next_message(&mut resumed)["id"], 1);
    assert_eq!(resumed.chunk(), None);
}

#[test]
fn an_event_is_not_sent_twice_to_a_client_that_has_it() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "progress", "arguments": {"steps": 3}, "_meta": {"progressToken": 1}}});
    let events = Event::all(&client.post(&call).body);
    let second = events
        .iter()
        .filter(|event| !event.data.is_empty())
        .nth(1)
        .unwrap();
    let mut resumed = client.send_with("GET", "", &[("Last-Event-ID", &second.id)]);
    let rest = resumed.answer();
    let rest = messages(&rest.body);
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[0]["params"]["progress"], 3);
    assert_eq!(rest[1]["id"], 7);
}

#[test]
fn an_event_id_of_nobody_is_refused() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    for id in ["0-ffffffffffffffff", "77-1", "0-77", "nonsense", ""] {
        assert_eq!(
            client
                .send_with("GET", "", &[("Last-Event-ID", id)])
                .answer()
                .status,
            400,
            "{id}"
        );
    }
}

#[test]
fn a097_what_one_user_missed_is_not_told_to_another() {
    let (guard, alice, bob) = two_users(&[]);
    let alice = Client::open(&guard, &alice, "2025-11-25");
    let mut call = alice.send(
        "POST",
        &Client::tool("sleep", &json!({"millis": 800})).to_string(),
    );
    call.head();
    let priming = Event::all(&call.chunk().unwrap()).remove(0);
    drop(call);
    let bobs_own = Client::open(&guard, &bob, "2025-11-25");
    let thief = Client {
        port: guard.port,
        token: bob,
        session: alice.session.clone(),
    };
    let theirs = [("Last-Event-ID", priming.id.as_str())];
    assert_eq!(thief.send_with("GET", "", &theirs).answer().status, 404);
    assert_eq!(bobs_own.send_with("GET", "", &theirs).answer().status, 400);
    let mut resumed = alice.send_with("GET", "", &theirs);
    resumed.head();
    assert_eq!(next_message(&mut resumed)["id"], 1);
}

#[test]
fn a120_a_user_cannot_hold_open_any_number_of_streams() {
    let guard = Guard::plan().with(&["--max-streams-per-user", "2"]).start();
    let clients: Vec<Client> = {
        let first = Client::connect(&guard);
        let token = first.token.clone();
        let more = (0..2).map(|_| Client::open(&guard, &token, "2025-11-25"));
        std::iter::once(first).chain(more).collect()
    };
    let open: Vec<Connection> = clients[..2].iter().map(listen).collect();
    let refused = clients[2].send("GET", "").answer();
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    drop(open);
    assert!(eventually(Duration::from_secs(40), || clients[2]
        .send("GET", "")
        .head()
        .status
        == 200));
}

#[test]
fn a_cancelled_request_ends_its_stream_without_an_answer() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let mut call = client.send("POST", &Client::tool("silence", &json!({})).to_string());
    call.head();
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(client.post(&cancel).status, 202);
    let mut rest = String::new();
    while let Some(chunk) = call.chunk() {
        rest.push_str(&chunk);
    }
    assert!(messages(&rest).is_empty(), "{rest}");
}

#[test]
fn r08_a_request_that_is_never_answered_times_out_with_an_error() {
    let guard = Guard::plan().with(&["--request-timeout", "1s"]).start();
    let client = Client::connect(&guard);
    let answer = client.post(&Client::tool("silence", &json!({})));
    let error = messages(&answer.body).pop().unwrap();
    assert_eq!(error["error"]["code"], -32603);
    assert_eq!(error["id"], 1);
    assert_eq!(client.call("echo", &json!(2)), "2");
}

#[test]
fn a_get_that_wants_no_events_is_told_so() {
    let guard = Guard::start();
    let client = Client::connect(&guard);
    let mut connection = Connection::open(guard.port);
    let authorization = format!("Bearer {}", client.token);
    let mut headers = vec![
        ("Authorization", authorization.as_str()),
        ("Mcp-Session-Id", &client.session),
    ];
    headers.push(("Accept", "application/json"));
    assert_eq!(connection.exchange("GET", "/mcp", &headers, "").status, 406);
}

#[test]
fn with_http_streaming_only_there_is_no_listening_stream() {
    let guard = Guard::plan().with(&["--http-streaming-only"]).start();
    let client = Client::connect(&guard);
    assert_eq!(client.send("GET", "").answer().status, 405);
    assert_eq!(client.call("echo", &json!(1)), "1");
}

fn listen(client: &Client) -> Connection {
    let mut connection = client.send("GET", "");
    assert_eq!(connection.head().status, 200);
    connection
}

/// The next message on a stream; primings and comments are passed over.
fn next_message(connection: &mut Connection) -> Value {
    loop {
        let chunk = connection.chunk().expect("the stream goes on");
        if let Some(message) = messages(&chunk).pop() {
            return message;
        }
    }
}

fn messages(text: &str) -> Vec<Value> {
    let events = Event::all(text).into_iter();
    events
        .filter(|event| !event.data.is_empty())
        .map(|event| event.message())
        .collect()
}
