//! Configuration: from what was typed to what the guard runs with.
//!
//! Two types stand for the two questions. [`RawConfig`] is what was asked for: flags, variables,
//! systemd credentials and the file laid over each other, everything optional, each setting with
//! its source. [`Config`] is what it means: typed, complete and valid, so that nothing is judged
//! again later. [`ConfigError`] names the flag, variable or line at fault and says what to write.
//!
//! All names, defaults and help texts come from one table ([`options`]). Keys of the TOML file are
//! the names of the flags (`max-children = 4`), and the wrapped server is `command`, an array, or
//! `url`. [`Reader`] reads it all again while the guard runs.

mod arguments;
mod error;
mod layers;
mod listening;
mod listing;
pub mod migration;
pub mod options;
mod raw;
mod reload;
mod resolve;
mod roots;
mod server_name;
mod sign_in;
mod surroundings;
mod tls;
mod value;
mod wrapped;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use arguments::{Invocation, SHELL, command as command_line, from_args};
pub use error::ConfigError;
pub use listening::Listening;
pub use listing::listing;
pub use raw::{Given, RawConfig, Server, Setting, Source};
pub use reload::{Reader, Reread};
pub use surroundings::{FileText, Surroundings};
pub use tls::{CertificateSource, Tls};

use crate::grant::Lifetimes;
use crate::http::ExternalUrl;
use crate::{identity, oauth, telemetry, upstream};

/// Everything the guard runs with. Complete and valid.
#[derive(Clone)]
pub struct Config {
    pub external_url: ExternalUrl,
    pub listening: Listening,
    /// TLS of the guard's own.
    pub tls: Option<Tls>,
    pub limits: Limits,
    /// How long a stop waits for what is under way.
    pub shutdown_grace: Duration,
    pub trusted_proxies: Vec<IpNet>,
    /// Browser origins beside the guard's own, as `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// Who may sign in, and how.
    pub identity: identity::Settings,
    /// The same in words, a line for each way to sign in.
    pub welcome: Vec<String>,
    /// The providers with which whoever has an account may come in (`--allow-any-user`).
    pub open_to_anybody: Vec<String>,
    /// Further roots of trust for connections to the CA, identity providers and upstreams, as PEM
    /// (`--tls-ca-file`).
    pub extra_roots: Option<Vec<u8>>,
    pub lifetimes: Lifetimes,
    pub oauth: oauth::Settings,
    pub upstream: upstream::Upstream,
    /// Where the guarded MCP endpoint stands below the external URL.
    pub mcp_path: String,
    pub timeouts: Timeouts,
    /// GET with `text/event-stream` is answered 405.
    pub http_streaming_only: bool,
    pub store: StoreSettings,
    pub log: telemetry::Settings,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// How much the guard takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_size: usize,
    pub connections: usize,
    /// From one IPv4 address or IPv6 /64.
    pub connections_per_address: usize,
    pub streams_per_user: usize,
    /// To the MCP endpoint, in a second.
    pub requests_per_user: u32,
}

/// How long the wrapped server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To start.
    pub start: Duration,
    /// To answer a request, or to report progress.
    pub request: Duration,
    /// How long a session without traffic and streams is kept.
    pub session_idle: Duration,
}

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// In this directory, which may not exist yet.
    Sqlite(PathBuf),
    /// In the process, and gone with it.
    Memory,
}
