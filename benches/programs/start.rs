//! From exec to the first accepted connection.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use crate::tell;

const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_micros(200);

pub(crate) fn run(address: &str, times: &str, command: &[&str]) -> anyhow::Result<()> {
    let (program, args) = command.split_first().context("COMMAND")?;
    let mut milliseconds = Vec::new();
    for _ in 0..times.parse().context("TIMES")? {
        milliseconds.push(once(address, program, args)?);
    }
    let first = milliseconds.first().copied();
    milliseconds.sort_by(f64::total_cmp);
    let median = milliseconds.get(milliseconds.len() / 2);
    tell(&json!({ "first_ms": first, "median_ms": median }))
}

fn once(address: &str, program: &str, args: &[&str]) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let taken = loop {
        if TcpStream::connect(address).is_ok() {
            break Ok(begin.elapsed());
        }
        if begin.elapsed() > PATIENCE {
            break Err("nobody listens");
        }
        if child.try_wait()?.is_some() {
            break Err("it ended");
        }
        thread::sleep(BETWEEN_TRIES);
    };
    child.kill()?;
    child.wait()?;
    match taken {
        Ok(taken) => Ok(taken.as_secs_f64() * 1000.0),
        Err(why) => bail!("{program}: {why}"),
    }
}
