//! What a person at a terminal sees when the guard is ready: what it guards, who may sign in, and
//! the lines that add it to the common clients.

use serde_json::json;

use crate::config::Config;

/// The banner, without a line break at its end. Holds no secret.
pub fn banner(config: &Config) -> String {
    let url = config.mcp_url();
    let name = config.oauth.server_name.as_str();
    let addresses = addresses(config);
    let vs_code = json!({ "name": name, "type": "http", "url": url });
    let cursor = json!({ "mcpServers": { name: { "url": url } } });
    format!(
        "mcp-guard {version} guards {name}\n\
         \n\
         {server}\
         \x20 MCP URL    {url}\n\
         \x20 Sign-in    {welcome}\n\
         \x20 Listening  {listening}\n\
         \n\
         Add it to a client:\n\
         \x20 Claude Code  claude mcp add --transport http {name} {url}\n\
         \x20 VS Code      code --add-mcp '{vs_code}'\n\
         \x20 Cursor       in ~/.cursor/mcp.json: {cursor}\n\
         \x20 Inspector    npx @modelcontextprotocol/inspector  (Streamable HTTP, the URL above)\n",
        version = env!("CARGO_PKG_VERSION"),
        server = server(config),
        welcome = welcome(config),
        listening = addresses.join(", "),
    )
}

/// Where it listens. What redirects to TLS is of no interest.
fn addresses(config: &Config) -> Vec<String> {
    let listening = &config.listening;
    if listening.secure.is_empty() {
        return listening.plain().map(ToString::to_string).collect();
    }
    listening.secure.iter().map(ToString::to_string).collect()
}

/// A line for each way to sign in, the later ones under the first.
fn welcome(config: &Config) -> String {
    config.welcome.join("\n             ")
}

/// What stands behind the guard, where its name does not say so.
fn server(config: &Config) -> String {
    config
        .upstream_url()
        .map_or_else(String::new, |url| format!("\x20 Server     {url}\n"))
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

    #[test]
    fn the_banner_says_who_may_sign_in_and_what_is_behind_it() {
        let pairs = [
            ("external-url", "http://localhost:8080"),
            ("store", "memory:"),
            ("password", "canary-1"),
            ("github-client-id", "id"),
            ("github-client-secret", "canary-2"),
            ("github-allowed-users", "Octocat"),
            ("github-allowed-orgs", "acme,acme:platform"),
            ("google-client-id", "id"),
            ("google-client-secret", "canary-3"),
            ("allow-any-user", "true"),
            ("oidc-configuration-url", "https://id.example.com/realm"),
            ("oidc-client-id", "id"),
            ("oidc-allowed-users-glob", "*@a.com"),
            ("oidc-allowed-claims", "/groups=admin+/dept=x"),
            ("proxy-bearer-token", "canary-4"),
        ];
        let raw = RawConfig::behind(pairs, "http://127.0.0.1:3000").unwrap();
        let text = banner(&Config::resolve(&raw).unwrap());
        for line in [
            "guards 127.0.0.1\n",
            "  Server     http://127.0.0.1:3000/mcp\n",
            "  Sign-in    owner, by password\n",
            "             GitHub: Octocat; members of acme, acme:platform\n",
            "             Google: anybody\n",
            "             id.example.com: *@a.com; who has /groups=admin+/dept=x\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("canary"), "{text}");
    }
}
