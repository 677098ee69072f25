//! mcp-guard puts one MCP server, given as the command that starts it, safely on the internet.
//!
//! One process, four roles: the front door ([`listener`]), the OAuth 2.1 authorization server
//! ([`oauth`], [`identity`], [`pages`]), the protected resource ([`resource`]) and the gateway that
//! moves MCP messages between a client's transport and the wrapped server ([`gateway`], [`mcp`],
//! [`upstream`]). Beneath them lie [`grant`], [`store`], [`crypto`] and [`http`]; above them
//! [`config`], [`cli`] and [`app`], which alone knows everything.
//!
//! `tests/it/house.rs` holds every `use crate::` line against the table of who may import whom.

pub mod acme;
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod gateway;
pub mod grant;
pub mod http;
pub mod identity;
pub mod listener;
pub mod mcp;
pub mod oauth;
pub mod pages;
pub mod policy;
pub mod resource;
pub mod routes;
pub mod signing;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
