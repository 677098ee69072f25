//! A server behind the guard that speaks HTTPS, with a certificate of an authority of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto};

/// It listens until the process ends.
pub(crate) struct TlsUpstream {
    pub port: u16,
    /// The authority's certificate, as PEM.
    pub authority: String,
    seen: Arc<Mutex<Vec<(usize, Version, String)>>>,
}

impl TlsUpstream {
    /// `protocol`: what it agrees to by ALPN.
    pub(crate) fn start(protocol: &'static str) -> Self {
        let (authority, config) = certificates(protocol);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let record = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(accept(listener, config, protocol, record));
        });
        Self {
            port,
            authority,
            seen,
        }
    }

    /// Connection, version and `host`, target of every request.
    pub(crate) fn seen(&self) -> Vec<(usize, Version, String)> {
        self.seen.lock().unwrap().clone()
    }
}

type Record = Arc<Mutex<Vec<(usize, Version, String)>>>;

async fn accept(
    listener: std::net::TcpListener,
    config: Arc<ServerConfig>,
    protocol: &'static str,
    record: Record,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let acceptor = TlsAcceptor::from(config);
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let serving = serve(
            stream,
            acceptor.clone(),
            protocol,
            connection,
            Arc::clone(&record),
        );
        tokio::spawn(serving);
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    protocol: &'static str,
    connection: usize,
    record: Record,
) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let answer = service_fn(move |request: Request<Incoming>| {
        let target = format!(
            "{} {:?} {}",
            request.uri(),
            request.headers().get("host"),
            request.method()
        );
        let version = request.version();
        record.lock().unwrap().push((connection, version, target));
        let never_ends = request.uri().path() == "/stream";
        async move {
            let body = Events {
                first: Some(Bytes::from_static(b"data: 1\n\n")),
                never_ends,
            };
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, Infallible>(response.body(body).unwrap())
        }
    });
    let io = TokioIo::new(stream);
    if protocol == "h2" {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(io, answer).await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, answer).await;
    }
}

struct Events {
    first: Option<Bytes>,
    never_ends: bool,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None if self.never_ends => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn certificates(protocol: &str) -> (String, Arc<ServerConfig>) {
    let authority_key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(parameters, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(leaf)],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    (authority.pem(), Arc::new(config))
}
