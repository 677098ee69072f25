//! The wrapped server, as a URL: HTTP with MCP's streamable transport, or with the old HTTP+SSE one.

mod dial;
mod download;
mod http1;
mod http2;
mod pool;
mod redirect;
mod server;
mod trouble;
mod upload;

pub use download::{BrokenOff, Download};
pub use redirect::{NotFollowed, Redirects};
pub use server::{Outgoing, Server};
pub use trouble::Trouble;
pub use upload::Upload;

use hyper::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use url::Url;

/// How to reach a server that speaks HTTP.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The MCP endpoint. Its path is the public path as well; the rest of its origin is mirrored.
    pub url: Url,
    /// `--proxy-bearer-token`: what the guard shows to the server instead of the client's token.
    pub bearer_token: Option<SecretString>,
    /// `--proxy-headers`, set on every request in place of the client's.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `--identity-headers`.
    pub identity_headers: bool,
    /// `--header-mapping`: JSON pointer (RFC 6901) into the identity's claims, and the header.
    pub header_mapping: Vec<(String, HeaderName)>,
    /// `--identity-jwt`.
    pub identity_jwt: bool,
    /// Roots to trust besides the usual ones, as PEM (`--tls-ca-file`).
    pub extra_roots: Option<Vec<u8>>,
}
