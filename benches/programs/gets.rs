//! Many GET streams of one user, each on a connection of its own. Says `ready` on a line of JSON when
//! the first event of each is here, and holds them until standard input, after the request's head,
//! ends.

use std::io::Read;

use anyhow::{Context, bail};
use serde_json::json;

use crate::http_client::Connection;
use crate::streams::read_head;
use crate::tell;

pub(crate) fn run(address: &str, how_many: &str) -> anyhow::Result<()> {
    let how_many: usize = how_many.parse().context("HOW_MANY")?;
    let mut input = std::io::stdin().lock();
    let head = read_head(&mut input)?;
    let get = format!("GET /mcp HTTP/1.1\r\n{head}accept: text/event-stream\r\n\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let streams = runtime.block_on(async {
        let mut streams = Vec::with_capacity(how_many);
        for _ in 0..how_many {
            let mut connection = Connection::small(address).await?;
            match connection.open_stream(get.as_bytes()).await? {
                200 => streams.push(connection),
                status => bail!("{status} to the GET stream"),
            }
        }
        anyhow::Ok(streams)
    })?;
    tell(&json!({ "ready": streams.len() }))?;
    input.read_to_end(&mut Vec::new())?;
    Ok(())
}
