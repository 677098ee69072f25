//! The client's address behind trusted proxies: the rightmost hop of `X-Forwarded-For`/`Forwarded`
//! that is not itself a trusted proxy, and only if the TCP peer is one (threat case A-114).
//!
//! A proxy extends one of the two headers and lets the other pass as the client sent it. Which one
//! it extends is not known here, so if both are there and disagree, neither is believed: a client
//! may then hide behind its proxy's address, but never take another's.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::FORWARDED;
use ipnet::IpNet;

/// The client's address, given the TCP peer's. IPv4 within IPv6 comes out as IPv4.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let by_list = || rightmost_untrusted(peer, hops(headers, X_FORWARDED_FOR, listed), trusted);
    let by_forwarded = || {
        let hops = hops(headers, FORWARDED.as_str(), elements);
        rightmost_untrusted(peer, hops, trusted)
    };
    match (
        headers.contains_key(X_FORWARDED_FOR),
        headers.contains_key(FORWARDED),
    ) {
        (false, false) => peer,
        (true, false) => by_list(),
        (false, true) => by_forwarded(),
        (true, true) => {
            let client = by_list();
            if client == by_forwarded() {
                client
            } else {
                peer
            }
        }
    }
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// Each hop vouches for the one to its left, for as long as it is trusted. A hop that cannot be
/// read vouches for nothing.
fn rightmost_untrusted(peer: IpAddr, hops: Vec<Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Some(hop) = hop else { return client };
        client = hop;
        if !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

fn hops(
    headers: &HeaderMap,
    name: &str,
    parse: impl Fn(&str) -> Vec<Option<IpAddr>>,
) -> Vec<Option<IpAddr>> {
    let fields = headers.get_all(name).into_iter();
    fields
        .flat_map(|field| field.to_str().map_or_else(|_| vec![None], &parse))
        .collect()
}

/// One field of X-Forwarded-For. It knows no quotes, so nothing that a client puts in it swallows
/// what a proxy adds.
fn listed(field: &str) -> Vec<Option<IpAddr>> {
    field.split(',').map(|hop| address(hop.trim())).collect()
}

/// One field of Forwarded. A quote that a client leaves open would swallow what a proxy adds, and
/// leave the client's own word as the last.
fn elements(field: &str) -> Vec<Option<IpAddr>> {
    if !field.matches('"').count().is_multiple_of(2) {
        return vec![None];
    }
    let elements = split_unquoted(field, ',');
    elements
        .map(|element| forwarded_for(element.trim()))
        .collect()
}

/// The parts between separators that stand outside quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character| {
        quoted ^= character == '"';
        character == separator && !quoted
    })
}

/// The `for` of one element of Forwarded (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut nodes = split_unquoted(element, ';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    let (Some((_, node)), None) = (nodes.next(), nodes.next()) else {
        return None;
    };
    let unquoted = node
        .strip_prefix('"')
        .and_then(|node| node.strip_suffix('"'));
    address(unquoted.unwrap_or(node))
}

/// An address, with or without brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|hop| hop.ip());
    text.parse()
        .ok()
        .or_else(with_port)
        .or_else(|| bracketed().map(IpAddr::V6))
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(peer: &str, fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a114_a_stranger_cannot_name_another_address() {
        let fields = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
        ];
        assert_eq!(client("192.0.2.7", &fields), "192.0.2.7");
        assert_eq!(client("::ffff:192.0.2.7", &fields), "192.0.2.7");
    }

    #[test]
    fn a114_the_rightmost_untrusted_hop_is_the_client() {
        for (field, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("1.1.1.1, 192.0.2.7", "192.0.2.7"),
            ("1.1.1.1, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1], fd00::1", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("10.2.2.2, 10.3.3.3", "10.2.2.2"),
            ("1.1.1.1, unknown", PROXY),
            ("1.1.1.1, rubbish, 10.3.3.3", "10.3.3.3"),
            ("1.1.1.1,", PROXY),
            ("", PROXY),
        ] {
            assert_eq!(
                client(PROXY, &[("x-forwarded-for", field)]),
                expected,
                "{field}"
            );
        }
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(client("::ffff:10.0.0.1", &lines), "192.0.2.7");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (field, expected) in [
            ("for=192.0.2.7", "192.0.2.7"),
            ("For=192.0.2.7;proto=https;by=10.0.0.1", "192.0.2.7"),
            (
                "for=1.1.1.1, for=192.0.2.7;host=\"a,b;for=9.9.9.9\"",
                "192.0.2.7",
            ),
            ("proto=http; for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=\"192.0.2.7:80\"", "192.0.2.7"),
            ("for=_hidden", PROXY),
            ("for=1.1.1.1;for=2.2.2.2", PROXY),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("forwarded", field)]), expected, "{field}");
        }
    }

    #[test]
    fn a114_an_open_quote_does_not_swallow_what_a_proxy_adds() {
        for (name, theirs, expected) in [
            ("x-forwarded-for", "1.1.1.1, \"", "192.0.2.7"),
            ("x-forwarded-for", "\"1.1.1.1", "192.0.2.7"),
            ("forwarded", "for=1.1.1.1;x=\"", PROXY),
            ("forwarded", "for=1.1.1.1;x=\"\\\"\"", PROXY),
            ("forwarded", "for=1.1.1.1;x=\"\\\"", "192.0.2.7"),
            ("forwarded", "for=\"", PROXY),
        ] {
            let added = if name == "forwarded" { "for=" } else { "" };
            let field = format!("{theirs}, {added}192.0.2.7");
            assert_eq!(client(PROXY, &[(name, &field)]), expected, "{field}");
        }
    }

    #[test]
    fn a114_headers_that_disagree_are_not_believed() {
        let agreeing = [
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7"),
        ];
        assert_eq!(client(PROXY, &agreeing), "192.0.2.7");
        let spoofed = [
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=1.1.1.1"),
        ];
        assert_eq!(client(PROXY, &spoofed), PROXY);
    }
}
