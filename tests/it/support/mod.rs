//! The guard as a process, a browser that fills in forms, an MCP client, and HTTP down to the byte.

mod browser;
mod client;
mod guard;
mod http;
mod markdown;
mod processes;
mod sources;
mod users;

pub use browser::{Browser, Form};
pub use client::{Client, Event, OAuthClient, Tokens, query_of};
pub use guard::{Guard, PASSWORD, eventually};
pub use http::{Answer, Connection};
pub use markdown::{Document, documents};
pub use processes::{alive, count_children};
pub use sources::rust_files;
pub use users::two_users;
