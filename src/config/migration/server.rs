//! The server to guard, and what it is told.

use url::Url;

use super::asked::is_web;
use super::{Draft, Value, claims};
use crate::config::raw::Server;
use crate::config::{ConfigError, value};

/// What means something only for a server behind a URL.
const OF_URLS: &[&str] = &[
    "proxy-bearer-token",
    "proxy-headers",
    "proxy-forward-authorization",
    "header-mapping",
    "header-mapping-base",
];

const ISOLATION: &str = "each session gets a server process of its own; one for everybody, as it \
                         was, is `--isolation shared`";

const TELLS: &str = "the server is told who is calling, in X-Forwarded-User and its like; \
                     `--identity-headers=false` keeps that from it";

pub(super) fn carry(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    match draft.server.clone() {
        Server::Command(_) => {
            draft.note(ISOLATION);
            draft.leave_out(OF_URLS, "the server is a command");
            left_behind(draft);
            Ok(())
        }
        Server::Url(text) => {
            let url = address(&text)?;
            place(draft, &url);
            draft.note(TELLS);
            mapping(draft)
        }
    }
}

/// A child has the environment of its parent, there and here, but for the guard's own variables.
fn left_behind(draft: &mut Draft<'_>) {
    let secrets = draft.asked.all().filter(|stated| {
        stated.flag.shape == super::Shape::Secret && stated.place == super::Place::Variable
    });
    let names: Vec<_> = secrets.map(|stated| stated.flag.variable).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        draft.warn(format!(
            "the server can read {names} as long as the environment has it; of MCP_GUARD_… it sees \
             nothing"
        ));
    }
}

/// The text may hold a password, so it is not repeated.
fn address(text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text).ok().filter(|_| is_web(text));
    let url = url.ok_or_else(|| {
        ConfigError::refused("the server's address is no URL")
            .hint("write it like `http://127.0.0.1:3000/mcp`")
    })?;
    if value::is_bare(&url) {
        return Ok(url);
    }
    Err(
        ConfigError::refused("the server's address holds more than host, port and path").hint(
            "the guard takes no user name, password or query there; a credential goes into \
             --proxy-bearer-token or --proxy-headers",
        ),
    )
}

/// There every path led to the server, below its own; here it is one, the same on both sides.
fn place(draft: &mut Draft<'_>, url: &Url) {
    let path = match url.path() {
        "/" => "/mcp",
        path => path.trim_end_matches('/'),
    };
    let mut text = format!("clients connect to {}", draft.url.join(path));
    if url.path() == "/" {
        text.push_str(", and no other path leads to the server; if they used another, write it behind the server's address");
    } else {
        text.push_str(", and no other path leads to the server");
    }
    draft.note(text);
}

/// There the pointers begin at a base in its own token, where what the issuer says of a person is
/// `/userinfo`; here always at that.
fn mapping(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    draft.done.extend(["header-mapping", "header-mapping-base"]);
    let Some(stated) = draft.asked.get("header-mapping") else {
        return Ok(());
    };
    let base = draft
        .asked
        .text("header-mapping-base")
        .trim_end_matches('/');
    let mut mapped = Vec::new();
    for element in claims::elements(stated)? {
        let (pointer, field) = element.rsplit_once(':').ok_or_else(|| {
            stated.refuse(
                "has an element that is no pair",
                "write it like `/email:X-Email`",
            )
        })?;
        let whole = format!("{base}{}", pointer.trim());
        match whole.strip_prefix("/userinfo") {
            Some(claim) if claim.starts_with('/') => {
                mapped.push(format!("{claim}:{}", field.trim()));
            }
            _ => draft.note(format!(
                "{} is told nothing of {whole}: that is in no token of the guard's; see \
                 docs/identity-headers.md for what is",
                field.trim()
            )),
        }
    }
    if !mapped.is_empty() {
        draft.set("header-mapping", Value::List(mapped));
    }
    Ok(())
}
