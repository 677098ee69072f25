//! What a person at a terminal sees when the guard is ready: what it guards, who may sign in, and
//! the lines that add it to the common clients.

use serde_json::json;

use crate::config::Config;

/// The banner, without a line break at its end. Holds no secret.
pub fn banner(config: &Config) -> String {
    let url = config.mcp_url();
    let name = config.oauth.server_name.as_str();
    let addresses: Vec<_> = config.listening.all().map(ToString::to_string).collect();
    let vs_code = json!({ "name": name, "type": "http", "url": url });
    let cursor = json!({ "mcpServers": { name: { "url": url } } });
    format!(
        "mcp-guard {version} guards {name}\n\
         \n\
         \x20 MCP URL    {url}\n\
         \x20 Sign-in    {users}\n\
         \x20 Listening  {listening}\n\
         \n\
         Add it to a client:\n\
         \x20 Claude Code  claude mcp add --transport http {name} {url}\n\
         \x20 VS Code      code --add-mcp '{vs_code}'\n\
         \x20 Cursor       in ~/.cursor/mcp.json: {cursor}\n\
         \x20 Inspector    npx @modelcontextprotocol/inspector  (Streamable HTTP, the URL above)\n",
        version = env!("CARGO_PKG_VERSION"),
        users = users(config),
        listening = addresses.join(", "),
    )
}

/// How many names are worth listing.
const NAMES: usize = 5;

fn users(config: &Config) -> String {
    let mut names: Vec<_> = config
        .identity
        .local
        .iter()
        .take(NAMES)
        .map(|user| user.name.escape_debug().to_string())
        .collect();
    match config.identity.local.len().saturating_sub(NAMES) {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    format!("{}, by password", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;

    fn config(pairs: &[(&'static str, &'static str)]) -> Config {
        let pairs = pairs.iter().copied().chain([("store", "memory:")]);
        Config::resolve(&RawConfig::from_pairs(pairs, ["sh", "tools.sh"]).unwrap()).unwrap()
    }

    #[test]
    fn the_banner_says_how_to_add_the_guard_to_each_client() {
        let text = banner(&config(&[
            ("external-url", "http://localhost:8080"),
            ("password", "canary-horse-battery"),
        ]));
        for line in [
            "MCP URL    http://localhost:8080/mcp",
            "Sign-in    owner, by password",
            "Listening  127.0.0.1:8080, [::1]:8080",
            "claude mcp add --transport http sh http://localhost:8080/mcp",
            r#"code --add-mcp '{"name":"sh","type":"http","url":"http://localhost:8080/mcp"}'"#,
            r#"{"mcpServers":{"sh":{"url":"http://localhost:8080/mcp"}}}"#,
            "npx @modelcontextprotocol/inspector",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("canary"));
    }
}
