//! The page for a person who opens the guard's address, or the MCP URL, in a browser.

use askama::Template;
use hyper::StatusCode;
use serde_json::json;

use super::{html, render};
use crate::http::Reply;

/// The page of `/`, and of the MCP URL opened in a browser: what this is, and how to add it.
#[derive(Template)]
#[template(path = "landing.html")]
pub struct Landing<'a> {
    pub server_name: &'a str,
    pub mcp_url: &'a str,
}

impl Landing<'_> {
    /// The page's HTML, for answers whose status is not 200 (the 401 of the MCP URL).
    pub fn html(&self) -> String {
        render(self)
    }

    pub fn reply(&self) -> Reply {
        html(StatusCode::OK, self.html())
    }

    /// The server's name as one shell word that no client has trouble with.
    fn short_name(&self) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = self.server_name.chars().map(plain).collect();
        let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            "guarded".to_owned()
        } else {
            words.join("-")
        }
    }

    fn cursor_settings(&self) -> String {
        let servers = json!({ self.short_name(): { "url": self.mcp_url } });
        format!("{:#}", json!({ "mcpServers": servers }))
    }

    fn vscode_settings(&self) -> String {
        json!({ "name": self.short_name(), "type": "http", "url": self.mcp_url }).to_string()
    }

    /// Whether hosted clients cannot reach it.
    fn is_local(&self) -> bool {
        self.mcp_url.starts_with("http:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Landing<'_> = Landing {
        server_name: "My <Files>",
        mcp_url: "https://guard.test/mcp",
    };

    #[test]
    fn the_page_shows_how_to_add_the_server_to_each_client() {
        let page = PAGE.html();
        for text in [
            "claude mcp add --transport http my-files https://guard.test/mcp",
            "Add custom connector",
            "mcp.json",
            "code --add-mcp",
            "@modelcontextprotocol/inspector",
        ] {
            assert!(page.contains(text), "{text} is missing from {page}");
        }
        assert!(!page.contains("<Files>"));
    }

    #[test]
    fn a_name_of_symbols_still_yields_a_shell_word() {
        let name = |server_name| {
            Landing {
                server_name,
                ..PAGE
            }
            .short_name()
        };
        assert_eq!(name("名; $(rm)"), "rm");
        assert_eq!(name("…"), "guarded");
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = PAGE.html();
        assert!(!page.contains("src=") && !page.contains("<link") && !page.contains("<script"));
    }
}
