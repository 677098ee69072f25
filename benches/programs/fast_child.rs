//! An MCP server over stdio that costs as little as one can: every line that one read
//! brought is answered in one write. What is measured around it is the bridge.

use std::io::{self, Read, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

/// As much as a pipe holds.
const READ: usize = 64 * 1024;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut chunk = vec![0; READ];
    let mut pending = Vec::with_capacity(2 * READ);
    let mut answers = Vec::with_capacity(2 * READ);
    loop {
        let read = input.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        pending.extend(chunk.iter().take(read));
        let complete = memchr::memrchr(b'\n', &pending).map_or(0, |last| last + 1);
        for line in pending
            .drain(..complete)
            .as_slice()
            .split(|byte| *byte == b'\n')
        {
            answer(line, &mut answers);
        }
        output.write_all(&answers)?;
        output.flush()?;
        answers.clear();
    }
}

fn answer(line: &[u8], answers: &mut Vec<u8>) {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(line) else {
        return;
    };
    let Some(id) = request.id else { return };
    let mut put = |text: &str| answers.extend_from_slice(text.as_bytes());
    put(r#"{"jsonrpc":"2.0","id":"#);
    put(id.get());
    match request.method.unwrap_or_default() {
        "initialize" => put(concat!(
            r#","result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"#,
            r#""serverInfo":{"name":"fast-child","version":"1"}}}"#
        )),
        "tools/list" => put(concat!(
            r#","result":{"tools":[{"name":"echo","inputSchema":{"type":"object","#,
            r#""properties":{"message":{"type":"string"}}}}]}}"#
        )),
        "tools/call" => {
            let arguments = request.params.and_then(|params| params.arguments);
            let message = arguments.and_then(|arguments| arguments.message);
            put(r#","result":{"content":[{"type":"text","text":"#);
            put(message.map_or("\"\"", RawValue::get));
            put("}]}}");
        }
        "ping" => put(r#","result":{}}"#),
        _ => put(r#","error":{"code":-32601,"message":"Method not found"}}"#),
    }
    put("\n");
}
