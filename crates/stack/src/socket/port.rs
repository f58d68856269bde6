//! Local ports: who has which, Linux's rules of SO_REUSEADDR and SO_REUSEPORT, and the choice of ephemeral ports (RFC 6056).
//!
//! A port's users are kept as classes with a count, so a listener's ten thousand connections are one entry.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

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
    key: [u8; 16],
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

#[allow(dead_code)]
impl Ports {
    pub fn new(rules: Rules, rng: &mut Rng) -> Ports {
        let perturbations = (0..PERTURBATIONS).map(|_| rng.next_u32()).collect();
        Ports { rules, users: rng.map(), key: rng.key(), perturbations }
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
                (user.listening || self.rules == Rules::Udp)
                    && (user.address.is_unspecified() || user.address == address.ip())
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
        use core::hash::{Hash, Hasher};
        let mut hasher = SipHasher13::new_with_key(&self.key);
        (local, remote).hash(&mut hasher);
        hasher.finish()
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
