//! By which names a portal is reached.

use std::net::IpAddr;

/// The host of `host:port`, or of a host alone.
pub(super) fn name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether `authority` leads to the portal of that hostname: by that name, at whichever port, or by one of the browser's own
/// machine, from where a port is led to it. No other site has pages there.
pub(super) fn is_known(authority: &str, hostname: &str) -> bool {
    let name = name(authority);
    name.eq_ignore_ascii_case(hostname) || is_local(name)
}

fn is_local(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || literal.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}
