//! Many idle sessions, each with its GET stream open. Says `ready` on a line of JSON when
//! all are open, and holds them until standard input, after the request's head, ends.

use std::io::{BufRead, Read};

use anyhow::{Context, bail};
use serde_json::json;

use crate::http_client::{Connection, header, post};
use crate::tell;

const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#
);
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

pub(crate) fn run(address: &str, how_many: &str) -> anyhow::Result<()> {
    let how_many: usize = how_many.parse().context("HOW_MANY")?;
    let mut input = std::io::stdin().lock();
    let head = read_head(&mut input)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let streams = runtime.block_on(async {
        let mut streams = Vec::with_capacity(how_many);
        for _ in 0..how_many {
            streams.push(open(address, &head).await?);
        }
        anyhow::Ok(streams)
    })?;
    tell(&json!({ "ready": streams.len() }))?;
    input.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The header lines, up to an empty one.
pub(crate) fn read_head(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut head = String::new();
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            break;
        }
        head.push_str(line.trim());
        head.push_str("\r\n");
    }
    Ok(head)
}

async fn open(address: &str, head: &str) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&post(head, INITIALIZE)).await?;
    let session = header(answer.head.as_bytes(), b"mcp-session-id:");
    let Some(session) = session.filter(|_| answer.status == 200) else {
        bail!("{} {}", answer.head, String::from_utf8_lossy(answer.body));
    };
    let session = std::str::from_utf8(session)?;
    let head = format!("{head}mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n");
    let answer = connection.exchange(&post(&head, INITIALIZED)).await?;
    if answer.status != 202 {
        bail!("{} to notifications/initialized", answer.status);
    }
    let get = format!("GET /mcp HTTP/1.1\r\n{head}accept: text/event-stream\r\n\r\n");
    match connection.open_stream(get.as_bytes()).await? {
        200 => Ok(connection),
        status => bail!("{status} to the GET stream"),
    }
}
