//! The machine's name servers (resolv.conf(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use crate::address::DNS_PORT;

/// As many as the C library uses (MAXNS).
const SERVERS: usize = 3;

/// The name servers that a resolv.conf(5) file names, in order. As the C library does, at most three; without a file, or a name in
/// it, the machine's own.
pub fn name_servers(path: &Path) -> Vec<SocketAddr> {
    let text = fs::read(path).unwrap_or_default();
    let mut servers = parse(&String::from_utf8_lossy(&text));
    if servers.is_empty() {
        servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT)));
    }
    servers
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        address(words.next()?)
    };
    text.lines().filter_map(server).take(SERVERS).collect()
}

fn address(word: &str) -> Option<SocketAddr> {
    let Some((address, scope)) = word.split_once('%') else {
        return word.parse().ok().map(|address: IpAddr| SocketAddr::new(address, DNS_PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = scope.parse().ok().or_else(|| interface_index(scope))?;
    Some(SocketAddrV6::new(address, DNS_PORT, 0, scope).into())
}

fn interface_index(name: &str) -> Option<u32> {
    let plain = !name.contains('/') && name != "..";
    plain.then(|| fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex")).ok())??.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n nameserver\t127.0.0.53 # local\n\
                    nameserver\nnameserver x\nnameserver 2001:db8::1\nnameserver fe80::1%lo\nnameserver 192.0.2.4";
        let servers: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "127.0.0.53:53", "[2001:db8::1]:53"]);
        assert_eq!(address("fe80::1%7").map(|server| server.to_string()).as_deref(), Some("[fe80::1%7]:53"));
        assert!(address("fe80::1%lo").is_some());
        assert!(address("fe80::1%../../x").is_none());
    }

    #[test]
    fn without_a_file_it_is_the_machine_itself() {
        let servers = name_servers(Path::new("/nonexistent/resolv.conf"));
        assert_eq!(servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }
}
