//! Local ports: who has which, Linux's rules of SO_REUSEADDR and SO_REUSEPORT, and the choice of ephemeral ports (RFC 6056).
//!
//! A port's users are kept as classes with a count, so a listener's ten thousand connections are one entry.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::address::covers;
use crate::rng::{Map, Rng};
use crate::{Error, InterfaceId, Result};

/// How a socket uses its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Its local address; unspecified is any (see `socket/address.rs`).
    pub address: IpAddr,
    pub v6_only: bool,
    /// SO_BINDTODEVICE
    pub device: Option<InterfaceId>,
    pub reuse_address: bool,
    pub reuse_port: bool,
    /// TCP: it listens.
    pub listening: bool,
    /// The port was chosen by connect: others that connect elsewhere may share it.
    pub by_connect: bool,
}

/// Whose rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Sharing needs SO_REUSEADDR on both and no listener, or SO_REUSEPORT on both.
    Tcp,
    /// Sharing needs SO_REUSEADDR or SO_REUSEPORT on both.
    Udp,
}

/// Entries of the table that perturbs the choice of ports (RFC 6056 §3.3.4).
const PERTURBATIONS: usize = 4096;

/// The local ports of one protocol.
pub(crate) struct Ports {
    rules: Rules,
    users: Map<u16, SmallVec<[(Binding, u32); 1]>>,
    secret: SipHasher13,
    /// What was added to each since the beginning. Where a sequence begins is as secret as the hash.
    perturbations: Box<[u32]>,
}

/// Whether two sockets could receive the same packet, addresses considered.
fn overlap(a: &Binding, b: &Binding) -> bool {
    let any_of_both = |x: &Binding| x.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !x.v6_only;
    if any_of_both(a) || any_of_both(b) {
        return true;
    }
    a.address.is_ipv4() == b.address.is_ipv4()
        && (a.address.is_unspecified() || b.address.is_unspecified() || a.address == b.address)
}

impl Ports {
    pub fn new(rules: Rules, rng: &mut Rng) -> Ports {
        let perturbations = vec![0; PERTURBATIONS].into_boxed_slice();
        Ports { rules, users: rng.map(), secret: SipHasher13::new_with_key(&rng.key()), perturbations }
    }

    /// Whether a socket like `new` may not have `port`. A socket that holds it already must not be counted: release first.
    pub fn conflicts(&self, port: u16, new: &Binding) -> bool {
        let Some(users) = self.users.get(&port) else { return false };
        users.iter().any(|(old, _)| {
            let meet = overlap(new, old) && (new.device.is_none() || old.device.is_none() || new.device == old.device);
            let share_address = new.reuse_address && old.reuse_address && !(self.rules == Rules::Tcp && old.listening);
            let share_port = new.reuse_port && old.reuse_port;
            meet && !share_address && !share_port
        })
    }

    /// Whether a socket bound to this address, or to any, has the port (TCP: and listens).
    pub fn serves(&self, address: SocketAddr) -> bool {
        let users = self.users.get(&address.port());
        users.is_some_and(|users| {
            users.iter().any(|(user, _)| {
                (user.listening || self.rules == Rules::Udp) && covers(user.address, user.v6_only, address.ip())
            })
        })
    }

    /// Takes `port` if the rules allow. EADDRINUSE.
    pub fn bind(&mut self, port: u16, binding: Binding) -> Result<()> {
        if self.conflicts(port, &binding) {
            return Err(Error::AddressInUse);
        }
        self.acquire(port, binding);
        Ok(())
    }

    /// Takes `port`, whatever the rules: for a connection of a listener, which shares its port.
    pub fn acquire(&mut self, port: u16, binding: Binding) {
        let users = self.users.entry(port).or_default();
        match users.iter_mut().find(|(class, _)| *class == binding) {
            Some((_, count)) => *count += 1,
            None => users.push((binding, 1)),
        }
    }

    /// Gives `port` back. `binding` is as it was acquired.
    pub fn release(&mut self, port: u16, binding: &Binding) {
        let Some(users) = self.users.get_mut(&port) else { return };
        if let Some(at) = users.iter().position(|(class, _)| class == binding) {
            users[at].1 -= 1;
            if users[at].1 == 0 {
                users.swap_remove(at);
            }
        }
        if users.is_empty() {
            self.users.remove(&port);
        }
    }

    /// Picks and takes a port for bind to port 0: a random one that no overlapping socket has, however willing to share. Odd
    /// ones first, as Linux does, to leave the even ones to connect. EADDRINUSE if there is none.
    pub fn bind_any(&mut self, rng: &mut Rng, range: (u16, u16), binding: Binding) -> Result<u16> {
        let alone = Binding { reuse_address: false, reuse_port: false, ..binding };
        let port = pick(range, rng.next_u32(), 1, |port| !self.conflicts(port, &alone)).ok_or(Error::AddressInUse)?;
        self.acquire(port, binding);
        Ok(port)
    }

    /// Picks and takes a port for a connection from `local` (its port is not looked at) to `remote`, by RFC 6056's double-hash
    /// algorithm. `free` tells whether the connection would be the only one with these four. EADDRNOTAVAIL if there is none.
    pub fn connect_any(
        &mut self,
        rng: &mut Rng,
        range: (u16, u16),
        local: IpAddr,
        remote: SocketAddr,
        binding: Binding,
        mut free: impl FnMut(u16) -> bool,
    ) -> Result<u16> {
        let hash = self.hash(local, remote);
        let slot = (hash >> 32) as usize % PERTURBATIONS;
        let start = (hash as u32).wrapping_add(self.perturbations[slot]);
        let sharable = |users: Option<&SmallVec<[(Binding, u32); 1]>>| {
            users.is_none_or(|users| users.iter().all(|(old, _)| old.by_connect || !overlap(old, &binding)))
        };
        let port = pick(range, start, 0, |port| sharable(self.users.get(&port)) && free(port))
            .ok_or(Error::AddressNotAvailable)?;
        // Some noise, so that the table tells an observer little (as Linux does).
        let step = 2 * (1 + rng.below(8));
        self.perturbations[slot] = self.perturbations[slot].wrapping_add(step);
        self.acquire(port, Binding { by_connect: true, ..binding });
        Ok(port)
    }

    fn hash(&self, local: IpAddr, remote: SocketAddr) -> u64 {
        let mut bytes = [0; 34];
        let port = remote.port().to_be_bytes();
        match (&local, &remote) {
            (IpAddr::V4(local), SocketAddr::V4(remote)) => {
                bytes[..4].copy_from_slice(&local.octets());
                bytes[4..8].copy_from_slice(&remote.ip().octets());
                bytes[8..10].copy_from_slice(&port);
                self.secret.hash(&bytes[..10])
            }
            (IpAddr::V6(local), SocketAddr::V6(remote)) => {
                bytes[..16].copy_from_slice(&local.octets());
                bytes[16..32].copy_from_slice(&remote.ip().octets());
                bytes[32..].copy_from_slice(&port);
                self.secret.hash(&bytes)
            }
            // Both ends are of one family.
            _ => self.secret.hash(&port),
        }
    }
}

/// The first port of `range` that is `free`, searched from `start` on: first those whose distance from the range's begin is odd
/// or even as `parity` says, then the others.
fn pick(range: (u16, u16), start: u32, parity: u32, mut free: impl FnMut(u16) -> bool) -> Option<u16> {
    let (low, high) = (u32::from(range.0.max(1)), u32::from(range.1));
    let size = (high + 1).checked_sub(low).filter(|&n| n > 0)?;
    [parity, 1 - parity].into_iter().find_map(|parity| {
        let half = (size + 1 - parity) / 2;
        let first = start / 2;
        (0..half).map(|i| low + parity + 2 * (first.wrapping_add(i) % half)).find_map(|port| {
            let port = port as u16;
            free(port).then_some(port)
        })
    })
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn binding(last: u8) -> Binding {
        Binding {
            address: Ipv4Addr::new(10, 0, 0, last).into(),
            v6_only: false,
            device: None,
            reuse_address: false,
            reuse_port: false,
            listening: false,
            by_connect: false,
        }
    }

    fn ports(rules: Rules) -> (Ports, Rng) {
        let mut rng = Rng::new([1; 32]);
        (Ports::new(rules, &mut rng), rng)
    }

    #[test]
    fn tcp_shares_by_reuse_address_unless_one_listens() {
        let (mut ports, _) = ports(Rules::Tcp);
        let willing = Binding { reuse_address: true, ..binding(1) };
        let listener = Binding { listening: true, ..willing };
        ports.bind(80, willing).unwrap();
        assert_eq!(ports.bind(80, binding(1)), Err(Error::AddressInUse));
        ports.bind(80, willing).unwrap();
        // The second of them to listen is refused, as in Linux's inet_csk_listen_start.
        ports.release(80, &willing);
        ports.bind(80, listener).unwrap();
        assert!(ports.conflicts(80, &listener));
        assert!(ports.conflicts(80, &willing));
        let group = Binding { reuse_port: true, ..listener };
        ports.bind(81, group).unwrap();
        ports.bind(81, group).unwrap();
        assert_eq!(ports.bind(81, listener), Err(Error::AddressInUse));
    }

    #[test]
    fn a_server_comes_back_while_its_old_connections_are_there() {
        let (mut ports, _) = ports(Rules::Tcp);
        let listener = Binding { reuse_address: true, listening: true, ..binding(0) };
        let connection = Binding { listening: false, ..listener };
        ports.bind(80, listener).unwrap();
        for _ in 0..10_000 {
            ports.acquire(80, connection);
        }
        assert_eq!(ports.users[&80].len(), 2, "connections of one class are one entry");
        ports.release(80, &listener);
        ports.bind(80, connection).unwrap();
        // Without SO_REUSEADDR it has to wait for them.
        assert_eq!(ports.bind(80, Binding { reuse_address: false, ..connection }), Err(Error::AddressInUse));
        for _ in 0..10_001 {
            ports.release(80, &connection);
        }
        assert!(ports.users.is_empty());
    }

    #[test]
    fn devices_and_addresses_apart_do_not_meet() {
        for rules in [Rules::Tcp, Rules::Udp] {
            let (mut ports, _) = ports(rules);
            ports.bind(7, Binding { device: Some(InterfaceId(1)), ..binding(1) }).unwrap();
            ports.bind(7, Binding { device: Some(InterfaceId(2)), ..binding(1) }).unwrap();
            ports.bind(7, binding(2)).unwrap();
            assert_eq!(ports.bind(7, binding(1)), Err(Error::AddressInUse));
            assert_eq!(
                ports.bind(7, Binding { address: Ipv4Addr::UNSPECIFIED.into(), ..binding(1) }),
                Err(Error::AddressInUse)
            );
        }
    }

    #[test]
    fn connections_elsewhere_share_a_port_and_others_do_not_take_it() {
        let (mut ports, mut rng) = ports(Rules::Tcp);
        let remote = |last| SocketAddr::from(([10, 0, 1, last], 80));
        let local = binding(1).address;
        let range = (50_000, 50_009);
        let mut used = Vec::new();
        for last in 0..200 {
            let free = |port| !used.contains(&(port, last));
            let port = ports.connect_any(&mut rng, range, local, remote(last), binding(1), free).unwrap();
            assert!((50_000..50_010).contains(&port));
            used.push((port, last));
        }
        // To one destination each port serves once; the even ones first.
        let mut to_one = Vec::new();
        for _ in 0..10 {
            let free = |port| !to_one.contains(&port);
            to_one.push(ports.connect_any(&mut rng, range, local, remote(250), binding(1), free).unwrap());
        }
        assert!(to_one[..5].iter().all(|port| port % 2 == 0) && to_one[5..].iter().all(|port| port % 2 == 1));
        let full = ports.connect_any(&mut rng, range, local, remote(250), binding(1), |_| false);
        assert_eq!(full, Err(Error::AddressNotAvailable));
        assert_eq!(ports.bind(to_one[0], binding(1)), Err(Error::AddressInUse));
        assert_eq!(ports.bind_any(&mut rng, range, binding(1)), Err(Error::AddressInUse));
        // Nor does connect take a port that was bound.
        let (mut ports, mut rng) = self::ports(Rules::Tcp);
        (50_000..50_009).for_each(|port| ports.bind(port, binding(1)).unwrap());
        let port = ports.connect_any(&mut rng, range, local, remote(1), binding(1), |_| true);
        assert_eq!(port, Ok(50_009));
    }

    #[test]
    fn ports_to_one_destination_do_not_follow_one_another_for_an_observer_of_another() {
        // RFC 6056 §3.3.3: each destination has a sequence of its own.
        let (mut ports, mut rng) = ports(Rules::Tcp);
        let mut first = |last: u8| {
            let remote = SocketAddr::from(([10, 0, 1, last], 80));
            ports.connect_any(&mut rng, (32_768, 60_999), binding(1).address, remote, binding(1), |_| true).unwrap()
        };
        let sequence: Vec<u16> = (0..100).map(&mut first).collect();
        let near = sequence.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) < 100).count();
        assert!(near < 10, "{near}");
        // And to one destination it goes on, so that ports are not used again soon.
        let again: Vec<u16> = (0..50).map(|_| first(1)).collect();
        let mut unique = again.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), again.len());
    }
}
