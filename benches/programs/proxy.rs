//! What the guard in front of a URL is held against: a reverse proxy of hyper alone, without any
//! gate. Current-thread workers, each with its own connections to the upstream, last used first.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::workers;

/// Connections without a request on them.
type Spare = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

pub(crate) fn run(port: &str, upstream: &str, how_many: &str) -> anyhow::Result<()> {
    let upstream: &'static str = upstream.to_owned().leak();
    workers::serve(port, how_many, move || {
        let spare = Spare::default();
        move || {
            let spare = Rc::clone(&spare);
            service_fn(move |request| forward(request, upstream, Rc::clone(&spare)))
        }
    })
}

async fn forward(
    request: Request<Incoming>,
    upstream: &str,
    spare: Spare,
) -> anyhow::Result<Response<Incoming>> {
    let mut connection = loop {
        let last = spare.borrow_mut().pop();
        match last {
            Some(connection) if connection.is_closed() => {}
            Some(connection) => break connection,
            None => break connect(upstream).await?,
        }
    };
    let response = connection.send_request(request).await?;
    // Ready again when the answer has been read: the next user waits for that.
    tokio::task::spawn_local(async move {
        if connection.ready().await.is_ok() {
            spare.borrow_mut().push(connection);
        }
    });
    Ok(response)
}

async fn connect(upstream: &str) -> anyhow::Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = driver.await;
    });
    Ok(connection)
}
