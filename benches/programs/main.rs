//! The programs that `benches/run` measures with, in one binary: the first argument says
//! which. None that stands on a side of a ratio uses the guard's own code; `parts` measures just
//! that.

mod baseline;
mod fast_child;
mod gets;
mod http_client;
mod load;
mod parts;
mod proxy;
mod start;
mod streams;
mod tls;
mod upstream;
mod workers;

use std::process::ExitCode;

const USAGE: &str = "\
usage: programs fast-child
       programs baseline PORT WORKERS
       programs load ADDRESS IN_FLIGHT MILLISECONDS own-id|one-for-all [NAME ROOTS] < request-head
       programs handshakes ADDRESS IN_FLIGHT MILLISECONDS NAME ROOTS
       programs dead ADDRESS HOW_MANY
       programs upstream PORT WORKERS
       programs proxy PORT UPSTREAM WORKERS
       programs streams ADDRESS HOW_MANY < request-head
       programs gets ADDRESS HOW_MANY < request-head
       programs parts TIMES
       programs start ADDRESS TIMES -- COMMAND...";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["fast-child"] => fast_child::run(),
        ["baseline", port, workers] => baseline::run(port, workers),
        ["load", address, in_flight, milliseconds, answers] => {
            load::run(address, in_flight, milliseconds, answers, None)
        }
        [
            "load",
            address,
            in_flight,
            milliseconds,
            answers,
            name,
            roots,
        ] => {
            let server = tls::Server::new(name, roots);
            server.and_then(|it| load::run(address, in_flight, milliseconds, answers, Some(it)))
        }
        ["handshakes", address, in_flight, milliseconds, name, roots] => {
            tls::handshakes(address, in_flight, milliseconds, name, roots)
        }
        ["dead", address, how_many] => tls::dead(address, how_many),
        ["upstream", port, workers] => upstream::run(port, workers),
        ["proxy", port, upstream, workers] => proxy::run(port, upstream, workers),
        ["streams", address, how_many] => streams::run(address, how_many),
        ["gets", address, how_many] => gets::run(address, how_many),
        ["parts", times] => parts::run(times),
        ["start", address, times, "--", command @ ..] => start::run(address, times, command),
        // `cargo bench` calls every benchmark like this; the script is what measures.
        ["--bench"] => Err(anyhow::anyhow!("run benches/run")),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn report(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// One line of JSON, for the script that started this.
fn tell(result: &serde_json::Value) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{result}")?)
}
