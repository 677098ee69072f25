//! What people see in a browser: compiled templates, no script, no external resource.
//! Every reply made here carries the headers of design rule D-12.

use crate::http::Reply;

/// The page of `/`, and of the MCP URL opened in a browser: what this is, and how to add it.
pub struct Landing<'a> {
    pub server_name: &'a str,
    pub mcp_url: &'a str,
}

impl Landing<'_> {
    /// The page's HTML, for answers whose status is not 200 (the 401 of the MCP URL).
    pub fn html(&self) -> String {
        todo!()
    }

    pub fn reply(&self) -> Reply {
        todo!()
    }
}
