//! As the guard has them: current-thread workers that each accept from their own clone of one
//! listening socket.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::Context;
use tokio::task::LocalSet;

/// Runs `work` on as many threads as `how_many` says, all of which listen on `port`.
pub(crate) fn run<W, F>(port: &str, how_many: &str, work: W) -> anyhow::Result<()>
where
    W: Fn(TcpListener) -> F + Send + Clone + 'static,
    F: Future<Output = anyhow::Result<()>>,
{
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().context("PORT")?));
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut threads = Vec::new();
    for _ in 0..how_many.parse().context("WORKERS")? {
        let listener = listener.try_clone()?;
        let work = work.clone();
        threads.push(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            LocalSet::new().block_on(&runtime, work(listener))
        }));
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
    }
    Ok(())
}
