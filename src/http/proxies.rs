//! The client's address behind trusted proxies: the rightmost hop of `X-Forwarded-For`/`Forwarded`
//! that is not itself a trusted proxy, and only if the TCP peer is one (threat case A-114).

use std::net::IpAddr;

use hyper::HeaderMap;
use ipnet::IpNet;

/// The client's address, given the TCP peer's.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let _ = (peer, headers, trusted);
    todo!()
}
