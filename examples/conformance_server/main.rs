//! A small MCP server over stdio, made to be wrapped by tests.
//!
//! It carries the fixed names that the MCP conformance suite calls (tools, prompts,
//! resources) and behaves as the suite describes them for the revisions 2024-11-05 to
//! 2025-11-25. Standard input and output are newline-delimited JSON; nothing else is
//! written to standard output. A call that waits (for a delay or for the client's own
//! answer) runs on its own thread, so that the reader always reads on.

mod peer;
mod prompts;
mod resources;
mod tool_call;
mod tools;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::thread;

use serde_json::{Map, Value, json};

use crate::peer::{Peer, RpcError};

/// Revisions that open with `initialize`, newest last.
const LEGACY_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const NEWEST: &str = "2025-11-25";

fn main() -> io::Result<()> {
    let peer = Arc::new(Peer::on_stdout());
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&line) {
            // Only 2025-03-26 has batches; each member is answered by itself.
            Ok(Value::Array(batch)) => {
                for message in batch {
                    receive(&peer, message)?;
                }
            }
            Ok(message) => receive(&peer, message)?,
            Err(_) => peer.fail(&Value::Null, &RpcError::parse())?,
        }
    }
    Ok(())
}

fn receive(peer: &Arc<Peer>, mut message: Value) -> io::Result<()> {
    let id = message.get("id").cloned();
    let Some(method) = message
        .get("method")
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        if let Some(id) = id {
            peer.settle(&id, message);
        }
        return Ok(());
    };
    // A notification asks for nothing, and none of them changes what this server says.
    let Some(id) = id else { return Ok(()) };
    let params = message.get_mut("params").map_or_else(empty, Value::take);
    if method == "tools/call" && tool_call::waits(&params) {
        let peer = Arc::clone(peer);
        thread::spawn(move || {
            let outcome = tool_call::run(&peer, &params);
            // A closed pipe means that the one who asked is gone.
            let _ = peer.answer(&id, outcome);
        });
        return Ok(());
    }
    let outcome = handle(peer, &method, &params);
    peer.answer(&id, outcome)
}

fn handle(peer: &Peer, method: &str, params: &Value) -> Result<Value, RpcError> {
    match method {
        "initialize" => Ok(initialize(peer, params)),
        "ping" | "resources/subscribe" | "resources/unsubscribe" => Ok(empty()),
        "logging/setLevel" => {
            peer.set_log_level(
                params
                    .get("level")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            );
            Ok(empty())
        }
        "tools/list" => Ok(tools::list()),
        "tools/call" => tool_call::run(peer, params),
        "resources/list" => Ok(resources::list()),
        "resources/templates/list" => Ok(resources::templates()),
        "resources/read" => resources::read(params),
        "prompts/list" => Ok(prompts::list()),
        "prompts/get" => prompts::get(params),
        "completion/complete" => Ok(prompts::complete(params)),
        _ => Err(RpcError::method_not_found(method)),
    }
}

fn initialize(peer: &Peer, params: &Value) -> Value {
    peer.set_client_capabilities(params.get("capabilities").cloned().unwrap_or_else(empty));
    let asked = params
        .get("protocolVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let revision = if LEGACY_REVISIONS.contains(&asked) {
        asked
    } else {
        NEWEST
    };
    json!({
        "protocolVersion": revision,
        "capabilities": {
            "tools": { "listChanged": true },
            "resources": { "subscribe": true, "listChanged": true },
            "prompts": { "listChanged": true },
            "logging": {},
            "completions": {},
        },
        "serverInfo": { "name": "mcp-guard-conformance-server", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn empty() -> Value {
    Value::Object(Map::new())
}
