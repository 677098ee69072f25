//! Resource indicators (RFC 8707): which of the ways to write the guarded endpoint's URL mean it.

use crate::grant::{ResourceUri, SSE_PATH};
use crate::http::ExternalUrl;

/// Whether a `resource` parameter means the guarded endpoint: the URL itself, with scheme
/// and host in any case and perhaps a trailing slash (the TypeScript SDK sends `URL.href`), the
/// guard's own address, or where clients of HTTP+SSE find the same server. Nothing is resolved or
/// decoded. Whatever the name, the token is for `resource`.
pub(super) fn names(requested: &str, resource: &ResourceUri, external: &ExternalUrl) -> bool {
    let requested = normal(requested);
    let http_sse = external.join(SSE_PATH);
    [&resource.0, external.as_str(), external.origin(), &http_sse]
        .into_iter()
        .any(|own| normal(own) == requested)
}

/// Lower-case scheme and authority without default port; no trailing slash.
fn normal(url: &str) -> String {
    let url = url.strip_suffix('/').unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = scheme.to_ascii_lowercase();
    let authority = authority.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        _ => ":80",
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a051_only_the_one_resource_is_meant() {
        let external = ExternalUrl::parse("https://guard.test").unwrap();
        let resource = ResourceUri("https://guard.test/mcp".into());
        let rows = [
            ("https://guard.test/mcp", true),
            ("https://guard.test/mcp/", true),
            ("HTTPS://Guard.Test/mcp", true),
            ("https://guard.test:443/mcp", true),
            ("https://guard.test", true),
            ("https://guard.test/", true),
            ("https://guard.test/sse", true),
            ("https://Guard.Test/sse/", true),
            ("https://guard.test/messages", false),
            ("https://guard.test/sse/x", false),
            ("https://guard.test/MCP", false),
            ("https://guard.test/mcp//", false),
            ("https://guard.test/other", false),
            ("https://guard.test/x/../mcp", false),
            ("https://guard.test/mcp#x", false),
            ("https://guard.test/mcp?x", false),
            ("https://guard.test:444/mcp", false),
            ("http://guard.test/mcp", false),
            ("https://u@guard.test/mcp", false),
            ("https://evil.test/mcp", false),
            ("guard.test/mcp", false),
            ("", false),
        ];
        for (requested, expected) in rows {
            let meant = names(requested, &resource, &external);
            assert_eq!(meant, expected, "{requested}");
        }
    }
}
