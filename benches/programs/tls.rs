//! TLS from the client's side: whole handshakes, one after another on each of some places; and
//! connections to a port of TLS on which nothing is ever said.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::tell;

/// Whom a connection is made to.
#[derive(Clone)]
pub(crate) struct Server {
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Server {
    /// TLS 1.3, without tickets: each handshake is a whole one.
    pub(crate) fn new(name: &str, roots: &str) -> anyhow::Result<Self> {
        let mut trusted = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(roots).context("ROOTS")? {
            trusted.add(root?)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            name: ServerName::try_from(name.to_owned())?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
    ) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let connected = self.connector.connect(self.name.clone(), stream).await;
        connected.context("handshake")
    }
}

pub(crate) fn handshakes(
    address: &str,
    in_flight: &str,
    milliseconds: &str,
    name: &str,
    roots: &str,
) -> anyhow::Result<()> {
    let in_flight: usize = in_flight.parse().context("IN_FLIGHT")?;
    let time = Duration::from_millis(milliseconds.parse().context("MILLISECONDS")?);
    let server = Server::new(name, roots)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let deadline = Instant::now() + time;
    let calls = LocalSet::new().block_on(&runtime, async {
        let mut places = JoinSet::new();
        for _ in 0..in_flight {
            places.spawn_local(shake_until(deadline, address.to_owned(), server.clone()));
        }
        let mut all = 0_u64;
        while let Some(shaken) = places.join_next().await {
            all += shaken??;
        }
        anyhow::Ok(all)
    })?;
    #[expect(clippy::cast_precision_loss)]
    let rate = calls as f64 / time.as_secs_f64();
    tell(&json!({ "calls": calls, "rate": rate }))
}

async fn shake_until(deadline: Instant, address: String, server: Server) -> anyhow::Result<u64> {
    let mut shaken = 0;
    loop {
        let stream = server.connect(TcpStream::connect(&address).await?).await?;
        // The port is free again at once: tens of thousands would wait in TIME_WAIT.
        stream.get_ref().0.set_zero_linger()?;
        if Instant::now() > deadline {
            return Ok(shaken);
        }
        shaken += 1;
    }
}

/// Holds so many, each opened anew when the server gives it up, until standard input ends.
pub(crate) fn dead(address: &str, how_many: &str) -> anyhow::Result<()> {
    let how_many: usize = how_many.parse().context("HOW_MANY")?;
    let address = address.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
    runtime.block_on(async {
        for _ in 0..how_many {
            let first = TcpStream::connect(&address).await?;
            tokio::spawn(keep_silent(address.clone(), first));
        }
        tell(&json!({ "ready": how_many }))?;
        Ok(ended.await?)
    })
}

async fn keep_silent(address: String, mut stream: TcpStream) -> anyhow::Result<()> {
    loop {
        if stream.read(&mut [0; 16]).await.unwrap_or(0) > 0 {
            bail!("a server that speaks first");
        }
        stream = TcpStream::connect(&address).await?;
    }
}
