//! The other end of the pipe: writes whole lines, and waits for the answers to the
//! requests that this server makes of its client (sampling, elicitation).

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// How long the client may take over a sampling or elicitation request.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// Severities of RFC 5424 as MCP spells them, the least urgent first.
const LOG_LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

pub(crate) struct RpcError {
    code: i32,
    message: String,
}

impl RpcError {
    pub(crate) fn parse() -> Self {
        Self {
            code: -32700,
            message: "Parse error".to_owned(),
        }
    }

    pub(crate) fn method_not_found(method: &str) -> Self {
        Self {
            code: -32601,
            message: format!("Method not found: {method}"),
        }
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self {
            code: -32602,
            message: message.into(),
        }
    }

    /// MCP's own code for `resources/read` of something that is not there.
    pub(crate) fn resource_not_found(uri: &str) -> Self {
        Self {
            code: -32002,
            message: format!("Resource not found: {uri}"),
        }
    }
}

pub(crate) struct Peer {
    out: Mutex<io::Stdout>,
    waiting: Mutex<HashMap<String, Sender<Value>>>,
    next_request: AtomicU64,
    capabilities: Mutex<Value>,
    log_level: Mutex<usize>,
}

impl Peer {
    pub(crate) fn on_stdout() -> Self {
        Self {
            out: Mutex::new(io::stdout()),
            waiting: Mutex::default(),
            next_request: AtomicU64::new(1),
            capabilities: Mutex::default(),
            log_level: Mutex::default(),
        }
    }

    pub(crate) fn set_client_capabilities(&self, capabilities: Value) {
        *lock(&self.capabilities) = capabilities;
    }

    pub(crate) fn client_can(&self, capability: &str) -> bool {
        lock(&self.capabilities).get(capability).is_some()
    }

    /// An unknown level lets everything through, as the initial state does.
    pub(crate) fn set_log_level(&self, level: &str) {
        let rank = LOG_LEVELS.iter().position(|known| *known == level);
        *lock(&self.log_level) = rank.unwrap_or_default();
    }

    pub(crate) fn log(&self, level: &str, text: &str) -> io::Result<()> {
        let rank = LOG_LEVELS
            .iter()
            .position(|known| *known == level)
            .unwrap_or_default();
        if rank < *lock(&self.log_level) {
            return Ok(());
        }
        self.notify(
            "notifications/message",
            &json!({ "level": level, "data": text }),
        )
    }

    pub(crate) fn notify(&self, method: &str, params: &Value) -> io::Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    pub(crate) fn answer(&self, id: &Value, outcome: Result<Value, RpcError>) -> io::Result<()> {
        match outcome {
            Ok(result) => self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result })),
            Err(error) => self.fail(id, &error),
        }
    }

    pub(crate) fn fail(&self, id: &Value, error: &RpcError) -> io::Result<()> {
        let error = json!({ "code": error.code, "message": error.message });
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "error": error }))
    }

    /// Asks the client and waits for its result.
    ///
    /// # Errors
    /// A text for the tool's own result: the client refused, hung, or went away.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value, String> {
        let id = format!(
            "server-{}",
            self.next_request.fetch_add(1, Ordering::Relaxed)
        );
        let (answered, answer) = mpsc::channel();
        lock(&self.waiting).insert(id.clone(), answered);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = match self.send(&request) {
            Ok(()) => answer.recv_timeout(ANSWER_WITHIN).ok(),
            Err(_) => None,
        };
        lock(&self.waiting).remove(&id);
        let mut answer = answer.ok_or_else(|| format!("no answer to {method}"))?;
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(format!("{method} was refused: {answer}")),
        }
    }

    /// Hands a client's answer to the call that waits for it; others are dropped.
    pub(crate) fn settle(&self, id: &Value, answer: Value) {
        let waiting = id.as_str().and_then(|id| lock(&self.waiting).remove(id));
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }

    fn send(&self, message: &Value) -> io::Result<()> {
        let mut line = message.to_string();
        line.push('\n');
        let mut out = lock(&self.out);
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
