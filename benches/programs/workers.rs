//! As the guard has them: current-thread workers that each accept from their own clone of one
//! listening socket.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::Context;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::LocalSet;

type Failure = Box<dyn Error + Send + Sync>;

/// Serves HTTP/1.1 on `port`, on as many threads as `how_many` says. `worker` is called on each, and
/// what it gives makes a service for each connection.
pub(crate) fn serve<W, C, S, B>(port: &str, how_many: &str, worker: W) -> anyhow::Result<()>
where
    W: Fn() -> C + Send + Clone + 'static,
    C: Fn() -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + 'static,
    S::Error: Into<Failure>,
    B: Body + 'static,
    B::Error: Into<Failure>,
{
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().context("PORT")?));
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut threads = Vec::new();
    for _ in 0..how_many.parse().context("WORKERS")? {
        let listener = listener.try_clone()?;
        let worker = worker.clone();
        threads.push(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            LocalSet::new().block_on(&runtime, accept(listener, worker()))
        }));
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
    }
    Ok(())
}

async fn accept<C, S, B>(listener: TcpListener, connection: C) -> anyhow::Result<()>
where
    C: Fn() -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + 'static,
    S::Error: Into<Failure>,
    B: Body + 'static,
    B::Error: Into<Failure>,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), connection());
        tokio::task::spawn_local(async move {
            // Load and proxies hang up when they are done.
            let _ = served.await;
        });
    }
}
