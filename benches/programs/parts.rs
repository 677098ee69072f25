//! What two parts of the request path cost by themselves: reading a message and writing it for a
//! child, and looking at a token that was seen before. The one program here that is the guard's own
//! code.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use mcp_guard::clock::Clock;
use mcp_guard::crypto::Keyring;
use mcp_guard::grant::{
    Approval, ClientId, CodeChallenge, Grants, Lifetimes, Redemption, ResourceUri, Scopes,
};
use mcp_guard::http::ExternalUrl;
use mcp_guard::http::client::HttpClient;
use mcp_guard::identity::local::{LocalUser, PasswordSecret};
use mcp_guard::identity::{Identity, IdentityProviders, Settings};
use mcp_guard::mcp::{Message, Replace};
use mcp_guard::resource::ProtectedResource;
use mcp_guard::store::Store;
use serde_json::json;

use crate::tell;

const BATCHES: usize = 50;

/// RFC 7636, Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) fn run(times: &str) -> anyhow::Result<()> {
    let times: u32 = times.parse().context("TIMES")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let token = runtime.block_on(check_token(times))?;
    let message = rewrite(times)?;
    tell(&json!({ "rewrite_ns": message, "token_ns": token }))
}

/// Nanoseconds to parse a call of 700 bytes and write it with another id, as one line.
fn rewrite(times: u32) -> anyhow::Result<u128> {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(12);
    let call = json!({
        "jsonrpc": "2.0", "id": 4711, "method": "tools/call",
        "params": { "name": "echo", "arguments": { "message": text, "limit": 12 },
            "_meta": { "progressToken": "p-1" } },
    });
    let bytes = Bytes::from(call.to_string());
    let mut line = BytesMut::with_capacity(1024);
    let replace = Replace {
        id: Some(b"1"),
        progress_token: Some(b"1"),
        ..Replace::default()
    };
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let begin = Instant::now();
        for _ in 0..times {
            line.clear();
            Message::parse(black_box(bytes.clone()))?.write(&mut line, replace, true);
            black_box(&line);
        }
        batches.push(begin.elapsed());
    }
    Ok(median(batches, times))
}

/// Nanoseconds from a request's headers to the principal, the token being remembered.
async fn check_token(times: u32) -> anyhow::Result<u128> {
    let (resource, token) = guarded().await?;
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::try_from(format!("Bearer {token}"))?,
    );
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let begin = Instant::now();
        for _ in 0..times {
            let principal = resource.authenticate(black_box(&headers), None).await;
            anyhow::ensure!(black_box(principal).is_ok(), "the token was refused");
        }
        batches.push(begin.elapsed());
    }
    Ok(median(batches, times))
}

async fn guarded() -> anyhow::Result<(std::sync::Arc<ProtectedResource>, String)> {
    let clock = Clock::system();
    let hour = Duration::from_hours(1);
    let lifetimes = Lifetimes {
        code: hour,
        access_token: hour,
        refresh_token: hour,
        grant: hour,
        refresh_grace: hour,
    };
    let store = Store::memory(clock.clone());
    let external = ExternalUrl::parse("https://guard.test")?;
    let user = LocalUser {
        name: "bench".into(),
        secret: PasswordSecret::Plain("not asked for".into()),
    };
    let settings = Settings {
        local: vec![user],
        ..Settings::default()
    };
    let client = HttpClient::default();
    let identity = IdentityProviders::new(
        settings,
        external.clone(),
        client,
        store.clone(),
        clock.clone(),
    );
    let grants = Grants::new(store, Keyring::ephemeral(), clock.clone(), lifetimes);
    let resource = ProtectedResource::new(&external, "/mcp", grants.clone(), identity, clock);
    let client = ClientId("mcp_bench".into());
    let challenge = CodeChallenge::parse(Some(CHALLENGE), Some("S256"));
    let approval = Approval {
        identity: Identity::local("bench"),
        client: client.clone(),
        redirect_uri: "http://localhost/".into(),
        code_challenge: challenge.map_err(anyhow::Error::msg)?,
        scopes: Scopes("mcp".into()),
        resource: ResourceUri("https://guard.test/mcp".into()),
    };
    let code = grants.issue_code(approval).await?;
    let redemption = Redemption {
        code: &code,
        client: &client,
        redirect_uri: None,
        code_verifier: Some(VERIFIER),
        resource: None,
    };
    let pair = grants.redeem(redemption).await?;
    Ok((resource, pair.access_token))
}

fn median(mut batches: Vec<Duration>, times: u32) -> u128 {
    batches.sort_unstable();
    let middle = batches.get(BATCHES / 2).copied().unwrap_or_default();
    middle.as_nanos() / u128::from(times.max(1))
}
