//! Where a request came from: the peer, or what a trusted proxy says of it.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request is attributed to. `X-Forwarded-For` counts only from a trusted peer, and then from the
/// right: each trusted proxy vouches for the hop before it, and what stands left of the first stranger is the
/// stranger's own word. A hop that is no address ends the reading, at the last one that was.
pub(super) fn source(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let peer = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip().to_canonical())?;
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if trusted.is_empty() || !is_trusted(&peer) {
        return Some(peer);
    }
    let hops = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut source = peer;
    for hop in hops {
        let Some(address) = address(hop.trim()) else {
            break;
        };
        source = address;
        if !is_trusted(&address) {
            break;
        }
    }
    Some(source)
}

/// An address, with or without a port and brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let address = hop
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, trusted: &[&str], lines: &[&str]) -> String {
        let mut request = axum::http::Request::builder();
        for line in lines {
            request = request.header(FORWARDED_FOR, *line);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let peer = SocketAddr::new(peer.parse().unwrap(), 4000);
        parts.extensions.insert(ConnectInfo(peer));
        let trusted: Vec<_> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        source(&parts.extensions, &parts.headers, &trusted)
            .unwrap()
            .to_string()
    }

    #[test]
    fn only_a_trusted_peer_may_speak_for_another() {
        let proxy = &["10.0.0.0/8"];
        assert_eq!(seen("192.0.2.9", &[], &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(seen("192.0.2.9", proxy, &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(seen("10.1.1.1", proxy, &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            seen("::ffff:10.1.1.1", proxy, &["198.51.100.1:99"]),
            "198.51.100.1"
        );
        assert_eq!(
            seen("10.1.1.1", proxy, &["[2001:db8::1]:99"]),
            "2001:db8::1"
        );
        assert_eq!(seen("10.1.1.1", proxy, &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", proxy, &[]), "10.1.1.1");
    }

    #[test]
    fn what_a_client_put_in_front_counts_for_nothing() {
        let proxy = &["10.0.0.0/8"];
        let spoofed = "127.0.0.1, 10.9.9.9, 198.51.100.1, 10.2.2.2";
        assert_eq!(seen("10.1.1.1", proxy, &[spoofed]), "198.51.100.1");
        // Lines are read as one list: the last line is the nearest hop.
        let lines = &["127.0.0.1", "198.51.100.1", "10.2.2.2"];
        assert_eq!(seen("10.1.1.1", proxy, lines), "198.51.100.1");
        // What is no address is not believed, nor is anything left of it.
        for garbage in ["unknown", "", "1.2.3.4.5", "_hidden", "10.0.0.1/8"] {
            let line = format!("198.51.100.1, {garbage}, 10.2.2.2");
            assert_eq!(seen("10.1.1.1", proxy, &[&line]), "10.2.2.2", "{garbage}");
        }
        assert_eq!(seen("10.1.1.1", proxy, &["10.3.3.3"]), "10.3.3.3");
    }
}
