//! The guard as a process, a browser that fills in forms, an MCP client, and HTTP down to the byte.

mod acme_ca;
mod authority;
mod browser;
mod caddy;
mod client;
mod guard;
mod http;
mod markdown;
mod metrics;
mod own_network;
mod pebble;
mod processes;
mod recording_upstream;
mod secure;
mod site;
mod sources;
mod tls_upstream;
mod users;

pub(crate) use acme_ca::AcmeCa;
pub(crate) use authority::Authority;
pub(crate) use browser::{Browser, Form};
pub(crate) use caddy::Caddy;
pub(crate) use client::{Client, Event, OAuthClient, Tokens, query_of};
pub(crate) use guard::{AS_SYSTEMD, Guard, NAME, PASSWORD, Plan, eventually, free_port};
pub(crate) use http::{Answer, Connection};
pub(crate) use markdown::{Block, Document, documents};
pub(crate) use metrics::{Scrape, admin_address, admin_port};
pub(crate) use own_network::is_own_network;
pub(crate) use pebble::{Pebble, ProofPorts};
pub(crate) use processes::{alive, count_children};
pub(crate) use recording_upstream::{RecordingUpstream, Seen, Step, json_answer};
pub(crate) use secure::{forget_tls, speak_tls};
pub(crate) use site::{Site, next_message};
pub(crate) use sources::rust_files;
pub(crate) use tls_upstream::TlsUpstream;
pub(crate) use users::{two_users, two_users_of};
