//! The machine's name servers (resolv.conf(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wireway_packet::Instant;

use crate::address::DNS_PORT;

/// As many as the C library uses (MAXNS).
const SERVERS: usize = 3;
/// How often it is looked whether the file has changed, at most.
const LOOK: Duration = Duration::from_secs(1);

/// A resolv.conf(5) file that is read again when it was changed: a machine that moves between networks gets other name servers.
pub struct ResolvConf {
    path: PathBuf,
    seen: Option<Stamp>,
    look_at: Instant,
}

/// Inode, length, and the time of the last change in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

impl ResolvConf {
    /// The file at `path`, and the servers that it names now: as the C library does, at most three, or without any the
    /// machine's own.
    pub fn read(path: &Path) -> (ResolvConf, Vec<SocketAddr>) {
        // The stamp first: a change in between is seen later.
        let file = ResolvConf { path: path.to_owned(), seen: stamp(path), look_at: Instant::ZERO };
        (file, name_servers(path))
    }

    /// The servers, if the file was changed since they were read. It is looked at once a second at most: call it whenever a name is
    /// about to be looked up.
    pub fn changed(&mut self, now: Instant) -> Option<Vec<SocketAddr>> {
        if now < self.look_at {
            return None;
        }
        self.look_at = now + LOOK;
        let stamp = stamp(&self.path);
        (std::mem::replace(&mut self.seen, stamp) != stamp).then(|| name_servers(&self.path))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

/// The name servers that a file names, in order.
fn name_servers(path: &Path) -> Vec<SocketAddr> {
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
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("resolv.conf");
        let at = |seconds: u64| Instant::from_millis(seconds * 1_000);
        let server = |last| vec![SocketAddr::from(([192, 0, 2, last], DNS_PORT))];
        let (mut file, servers) = ResolvConf::read(&path);
        assert_eq!(servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
        assert_eq!(file.changed(at(1)), None);
        fs::write(&path, "nameserver 192.0.2.1\n").expect("writes");
        // Not before a second has passed.
        assert_eq!(file.changed(at(1)), None);
        assert_eq!(file.changed(at(2)), Some(server(1)));
        assert_eq!(file.changed(at(4)), None);
        // As system services replace it: another file takes its place.
        let other = directory.path().join("other");
        fs::write(&other, "nameserver 192.0.2.2\n").expect("writes");
        fs::rename(&other, &path).expect("renames");
        assert_eq!(file.changed(at(5)), Some(server(2)));
        assert_eq!(file.changed(at(6)), None);
    }

    #[test]
    fn without_a_file_it_is_the_machine_itself() {
        let servers = name_servers(Path::new("/nonexistent/resolv.conf"));
        assert_eq!(servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }
}
