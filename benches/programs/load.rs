//! Load: a fixed number of calls in flight over as many keep-alive connections, for a fixed
//! time. Each call has an id of its own, and its answer must carry that id, unless all answers are
//! said to be the same.

use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use memchr::memmem;
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use crate::http_client::{Connection, post};
use crate::tell;
use crate::tls::Server;

/// Longer than any measurement asks for.
const LONGEST: Duration = Duration::from_secs(10);

/// All ids have as many digits as this one, so that every request is as long as the next.
const FIRST_ID: u64 = 10_000_000;

const MESSAGE: &str = "The quick brown fox jumps over the lazy dog, and then once more.";

pub(crate) fn run(
    address: &str,
    in_flight: &str,
    milliseconds: &str,
    answers: &str,
    secure: Option<Server>,
) -> anyhow::Result<()> {
    let own_id = answers == "own-id";
    let in_flight: usize = in_flight.parse().context("IN_FLIGHT")?;
    let time = Duration::from_millis(milliseconds.parse().context("MILLISECONDS")?).min(LONGEST);
    let mut head = String::new();
    std::io::stdin().read_to_string(&mut head)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut nanoseconds = LocalSet::new().block_on(
        &runtime,
        drive(address, secure, head, in_flight, time, own_id),
    )?;
    nanoseconds.sort_unstable();
    let calls = nanoseconds.len();
    let rank = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let index = (calls as f64 * part) as usize;
        nanoseconds.get(index).copied().unwrap_or_default() / 1000
    };
    #[expect(clippy::cast_precision_loss)]
    let rate = calls as f64 / time.as_secs_f64();
    tell(&json!({ "calls": calls, "rate": rate, "p50_us": rank(0.5), "p99_us": rank(0.99) }))
}

async fn drive(
    address: &str,
    secure: Option<Server>,
    head: String,
    in_flight: usize,
    time: Duration,
    own_id: bool,
) -> anyhow::Result<Vec<u64>> {
    let head: &'static str = head.leak();
    let next_id: &'static Cell<u64> = Box::leak(Box::new(Cell::new(FIRST_ID)));
    let mut connections = Vec::new();
    for _ in 0..in_flight {
        connections.push(Connection::open_to(address, secure.as_ref()).await?);
    }
    let deadline = Instant::now() + time;
    let mut callers = JoinSet::new();
    for connection in connections {
        callers.spawn_local(call_until(deadline, connection, head, next_id, own_id));
    }
    let mut nanoseconds = Vec::new();
    while let Some(taken) = callers.join_next().await {
        nanoseconds.append(&mut taken??);
    }
    Ok(nanoseconds)
}

async fn call_until(
    deadline: Instant,
    mut connection: Connection,
    head: &str,
    next_id: &Cell<u64>,
    own_id: bool,
) -> anyhow::Result<Vec<u64>> {
    let mut request = call(head, FIRST_ID);
    let id_at = memmem::find(&request, FIRST_ID.to_string().as_bytes()).context("no id")?;
    let mut taken = Vec::new();
    loop {
        let id = next_id.replace(next_id.get() + 1).to_string();
        let old = request.get_mut(id_at..id_at + id.len()).context("id")?;
        old.copy_from_slice(id.as_bytes());
        let begin = Instant::now();
        let answer = connection.exchange(&request).await?;
        let ours = !own_id || memmem::find(answer.body, id.as_bytes()).is_some();
        if answer.status != 200 || !ours || memmem::find(answer.body, b"\"result\"").is_none() {
            bail!("{} {}", answer.head, String::from_utf8_lossy(answer.body));
        }
        let now = Instant::now();
        if now > deadline {
            return Ok(taken);
        }
        taken.push(u64::try_from((now - begin).as_nanos())?);
    }
}

fn call(head: &str, id: u64) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{MESSAGE}"}}}}}}"#
    );
    post(head, &body)
}
