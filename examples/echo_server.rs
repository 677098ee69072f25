//! A small legacy MCP server over stdio, for tests and demonstrations: it does what it is told.
//!
//! Tools: `echo` (returns its arguments), `environment` (its environment), `pid`, `sleep`
//! (`millis`), `progress` (`steps`, with progress notifications), `log` (a logging notification
//! before the answer), `ask` (asks the client through `sampling/createMessage` and returns what it
//! said), `notify` (a `list_changed` notification), `noise` (lines on stdout that are no messages),
//! `crash`, `silence` (never answers), `daemon` (leaves a process behind that ignores hang-ups).
//!
//! `--slow-start MILLIS` delays the answer to `initialize`; `--deaf` ignores SIGTERM and the end of
//! stdin, so that only SIGKILL ends it.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a fixture: `Value`'s index does not panic, and a poisoned lock may end it"
)]

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

type Questions = Arc<Mutex<HashMap<String, mpsc::Sender<Value>>>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let slow_start = arguments
        .iter()
        .position(|argument| argument == "--slow-start")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .map_or(Duration::ZERO, Duration::from_millis);
    let deaf = arguments.iter().any(|argument| argument == "--deaf");
    if deaf {
        let ignore = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let _ = signal_hook::flag::register(signal_hook::consts::SIGTERM, ignore);
    }
    let questions = Questions::default();
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = line
            .map_err(drop)
            .and_then(|line| serde_json::from_str::<Value>(&line).map_err(drop))
        else {
            continue;
        };
        let questions = Arc::clone(&questions);
        std::thread::spawn(move || receive(&message, slow_start, &questions));
    }
    if deaf {
        loop {
            std::thread::park();
        }
    }
}

fn receive(message: &Value, slow_start: Duration, questions: &Questions) {
    let id = &message["id"];
    let Some(method) = message["method"].as_str() else {
        let waiting = questions.lock().unwrap().remove(&id.to_string());
        if let Some(waiting) = waiting {
            let _ = waiting.send(message.clone());
        }
        return;
    };
    if id.is_null() {
        eprintln!("notification {method}");
        return;
    }
    let result = match method {
        "initialize" => {
            std::thread::sleep(slow_start);
            json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {"listChanged": true}, "logging": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            })
        }
        "ping" => json!({}),
        "tools/list" => json!({"tools": tools()}),
        "tools/call" => match call(&message["params"], questions) {
            Some(text) => json!({"content": [{"type": "text", "text": text}]}),
            None => return,
        },
        _ => {
            let error = json!({"code": -32601, "message": "no such method"});
            return say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    };
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

fn tools() -> Vec<Value> {
    [
        "echo",
        "environment",
        "pid",
        "sleep",
        "progress",
        "log",
        "ask",
        "notify",
        "noise",
        "crash",
        "silence",
        "daemon",
    ]
    .iter()
    .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}))
    .collect()
}

/// The text a tool answers with; `None` if it does not answer.
fn call(params: &Value, questions: &Questions) -> Option<String> {
    let arguments = &params["arguments"];
    match params["name"].as_str().unwrap_or_default() {
        "echo" => return Some(arguments.to_string()),
        "environment" => {
            let all: Vec<String> = std::env::vars()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            return Some(all.join("\n"));
        }
        "pid" => return Some(std::process::id().to_string()),
        "sleep" => std::thread::sleep(Duration::from_millis(
            arguments["millis"].as_u64().unwrap_or(0),
        )),
        "progress" => progress(params),
        "log" => say(&json!({
            "jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "info", "data": arguments["text"]},
        })),
        "ask" => return ask(arguments, questions),
        "notify" => say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})),
        "noise" => print!("this is not JSON\n\n\u{1b}[31mnor this\r\n{{\"half\": \n"),
        "crash" => std::process::abort(),
        "silence" => return None,
        "daemon" => return daemon(),
        unknown => return Some(format!("no tool {unknown}")),
    }
    Some("done".to_owned())
}

fn progress(params: &Value) {
    let token = &params["_meta"]["progressToken"];
    let steps = params["arguments"]["steps"].as_u64().unwrap_or(3);
    for step in 1..=steps {
        say(&json!({
            "jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": step, "total": steps},
        }));
    }
}

fn ask(arguments: &Value, questions: &Questions) -> Option<String> {
    let id = format!("question-{}", arguments["number"]);
    let (answer, answered) = mpsc::channel();
    questions
        .lock()
        .unwrap()
        .insert(json!(id).to_string(), answer);
    say(&json!({
        "jsonrpc": "2.0", "id": id, "method": "sampling/createMessage",
        "params": {"messages": [], "maxTokens": 1},
    }));
    let answer = answered.recv_timeout(Duration::from_mins(1)).ok()?;
    Some(json!({"result": answer["result"], "error": answer["error"]}).to_string())
}

/// Starts a process in a session of its own, as a careless tool would.
fn daemon() -> Option<String> {
    let child = Command::new("setsid")
        .args(["sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    Some(child.id().to_string())
}

fn say(message: &Value) {
    let mut line = message.to_string();
    line.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes());
    let _ = out.flush();
}
