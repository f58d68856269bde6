//! `struct msghdr`, its vectors and its control messages, read from and stored to a program (recvmsg(2), cmsg(3)).
//!
//! Everything here is hostile: counts and lengths are bounded before memory is taken, and every address may be EFAULT.

use rustix::io::Errno;

use crate::process::Memory;
use crate::sockaddr;

/// Size of `struct msghdr` on a 64-bit machine.
const HEADER: usize = 56;
/// Size of `struct mmsghdr`: a header and a length, padded.
pub const MANY_STRIDE: u64 = 64;
/// Most messages in one sendmmsg or recvmmsg; more are ignored, as Linux does.
pub const MANY_MOST: u32 = 1024;
/// Most vectors in one call: more is EMSGSIZE.
const VECTORS_MOST: u64 = 1024;
/// Most bytes one call moves through the engine. A stream takes the rest in the next call; no datagram is longer.
pub const BYTES_MOST: usize = 1 << 20;
/// Most bytes of control messages; Linux bounds them too (net.core.optmem_max) and answers ENOBUFS.
const CONTROL_MOST: u64 = 65_536;

const CONTROL_HEADER: usize = 16;

/// One buffer of the program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Where it is.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// A message header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the header itself is.
    at: u64,
    /// Where the address is, 0 for none.
    pub name: u64,
    /// Room for the address.
    pub name_length: u32,
    /// The buffers.
    pub vectors: Vec<Vector>,
    /// Where the control messages are, 0 for none.
    pub control: u64,
    /// Room for them.
    pub control_length: u64,
}

fn word(raw: &[u8], at: usize) -> u64 {
    raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

impl Header {
    /// Reads the header at `at` and its vectors. EMSGSIZE for too many vectors, EINVAL for an impossible length.
    pub fn read(memory: Memory, at: u64) -> Result<Header, Errno> {
        let raw: [u8; HEADER] = memory.read_array(at)?;
        let name_length = word(&raw, 8) as u32;
        if (name_length as i32) < 0 {
            return Err(Errno::INVAL);
        }
        let vectors = read_vectors(memory, word(&raw, 16), word(&raw, 24))?;
        let name = word(&raw, 0);
        let name_length = if name == 0 { 0 } else { name_length.min(sockaddr::LONGEST as u32) };
        Ok(Header { at, name, name_length, vectors, control: word(&raw, 32), control_length: word(&raw, 40) })
    }

    /// Bytes in all vectors.
    pub fn length(&self) -> usize {
        total(&self.vectors)
    }

    /// Whether there is room for control messages.
    pub fn has_control(&self) -> bool {
        self.control != 0 && self.control_length > 0
    }

    /// The raw control messages. ENOBUFS when there are too many.
    pub fn read_control(&self, memory: Memory) -> Result<Vec<u8>, Errno> {
        if self.control == 0 {
            return Ok(Vec::new());
        }
        if self.control_length > CONTROL_MOST {
            return Err(Errno::NOBUFS);
        }
        let mut raw = vec![0; self.control_length as usize];
        memory.read(self.control, &mut raw)?;
        Ok(raw)
    }

    /// Stores what a receive call returns beside the data: the address, the control messages and the flags.
    /// Control messages that do not fit are left out and MSG_CTRUNC is set.
    pub fn store_result(&self, memory: Memory, name: &[u8], control: &[Control], flags: i32) -> Result<(), Errno> {
        if self.name != 0 {
            let room = (self.name_length as usize).min(name.len());
            memory.write(self.name, name.get(..room).unwrap_or_default())?;
            memory.write_u32(self.at + 8, name.len() as u32)?;
        }
        let mut raw = Vec::new();
        let mut flags = flags;
        for message in control {
            let room = if self.control == 0 { 0 } else { self.control_length as usize };
            if !message.append(&mut raw, room) {
                flags |= libc::MSG_CTRUNC;
                break;
            }
        }
        if self.control != 0 {
            memory.write(self.control, &raw)?;
        }
        memory.write(self.at + 40, &(raw.len() as u64).to_ne_bytes())?;
        memory.write_u32(self.at + 48, flags as u32)
    }
}

/// Reads an array of `struct iovec`.
pub fn read_vectors(memory: Memory, at: u64, count: u64) -> Result<Vec<Vector>, Errno> {
    if count > VECTORS_MOST {
        return Err(Errno::MSGSIZE);
    }
    let mut raw = vec![0; count as usize * 16];
    memory.read(at, &mut raw)?;
    let vectors: Vec<Vector> =
        raw.chunks_exact(16).map(|v| Vector { address: word(v, 0), length: word(v, 8) }).collect();
    if vectors.iter().any(|v| v.length > i64::MAX as u64) {
        return Err(Errno::INVAL);
    }
    Ok(vectors)
}

/// Bytes in `vectors`, at most [`BYTES_MOST`].
pub fn total(vectors: &[Vector]) -> usize {
    vectors.iter().fold(0u64, |sum, v| sum.saturating_add(v.length)).min(BYTES_MOST as u64) as usize
}

/// Collects the program's bytes, [`BYTES_MOST`] at most.
pub fn gather(memory: Memory, vectors: &[Vector]) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; total(vectors)];
    let mut at = 0;
    for vector in vectors {
        let n = (vector.length.min((bytes.len() - at) as u64)) as usize;
        let Some(part) = bytes.get_mut(at..at + n) else {
            break;
        };
        memory.read(vector.address, part)?;
        at += n;
    }
    Ok(bytes)
}

/// Spreads bytes over the program's buffers; returns how many fitted.
pub fn scatter(memory: Memory, vectors: &[Vector], bytes: &[u8]) -> Result<usize, Errno> {
    let mut at = 0;
    for vector in vectors {
        let rest = bytes.get(at..).unwrap_or_default();
        let n = vector.length.min(rest.len() as u64) as usize;
        memory.write(vector.address, rest.get(..n).unwrap_or_default())?;
        at += n;
    }
    Ok(at)
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Protocol level.
    pub level: i32,
    /// Kind at that level.
    pub kind: i32,
    /// Content.
    pub data: Vec<u8>,
}

impl Control {
    /// Appends this message, padded, unless more than `room` bytes would be in use.
    fn append(&self, raw: &mut Vec<u8>, room: usize) -> bool {
        let length = CONTROL_HEADER + self.data.len();
        if raw.len() + length > room {
            return false;
        }
        raw.extend_from_slice(&(length as u64).to_ne_bytes());
        raw.extend_from_slice(&self.level.to_ne_bytes());
        raw.extend_from_slice(&self.kind.to_ne_bytes());
        raw.extend_from_slice(&self.data);
        raw.resize(raw.len().next_multiple_of(8).min(room), 0);
        true
    }
}

/// Splits raw control messages. EINVAL for one whose length is not possible.
pub fn parse_control(raw: &[u8]) -> Result<Vec<Control>, Errno> {
    let mut messages = Vec::new();
    let mut rest = raw;
    while rest.len() >= CONTROL_HEADER {
        let length = usize::try_from(word(rest, 0)).map_err(|_| Errno::INVAL)?;
        let data = rest.get(CONTROL_HEADER..length).ok_or(Errno::INVAL)?;
        let int = |at: usize| word(rest, at) as u32 as i32;
        let (level, kind) = (int(8), (word(rest, 8) >> 32) as i32);
        messages.push(Control { level, kind, data: data.to_vec() });
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Memory {
        Memory::of(std::process::id())
    }

    fn address_of<T>(slice: &[T]) -> u64 {
        slice.as_ptr() as u64
    }

    #[test]
    fn gathers_and_scatters() {
        let (a, b) = (*b"hello ", *b"world");
        let vectors = [
            Vector { address: address_of(&a), length: 6 },
            Vector { address: 1, length: 0 },
            Vector { address: address_of(&b), length: 5 },
        ];
        assert_eq!(gather(here(), &vectors).unwrap(), b"hello world");
        let mut room = vec![0u8; 5];
        let vectors = [
            Vector { address: room.as_mut_ptr() as u64, length: 3 },
            Vector { address: room.as_mut_ptr() as u64 + 3, length: 2 },
        ];
        assert_eq!(scatter(here(), &vectors, b"abcdefg"), Ok(5));
        assert_eq!(std::hint::black_box(&room), b"abcde");
    }

    #[test]
    fn hostile_headers_are_errors_and_take_no_memory() {
        assert_eq!(Header::read(here(), 4), Err(Errno::FAULT));
        let header: [u64; 7] = [0, 0, 8, u64::MAX, 0, 0, 0];
        assert_eq!(Header::read(here(), address_of(&header)), Err(Errno::MSGSIZE));
        let header: [u64; 7] = [0, 0, 8, 1, 0, 0, 0];
        assert_eq!(Header::read(here(), address_of(&header)), Err(Errno::FAULT));
        let vector: [u64; 2] = [1, u64::MAX];
        assert_eq!(read_vectors(here(), address_of(&vector), 1), Err(Errno::INVAL));
        let vectors = [Vector { address: 4096, length: i64::MAX as u64 }; 2];
        assert_eq!(gather(here(), &vectors), Err(Errno::FAULT));
        let header: [u64; 7] = [0, 0, 0, 0, 8, u64::MAX, 0];
        let header = Header::read(here(), address_of(&header)).unwrap();
        assert_eq!(header.read_control(here()), Err(Errno::NOBUFS));
    }

    #[test]
    fn control_messages_round_trip_and_are_bounded() {
        let messages = vec![
            Control { level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, data: vec![1, 0, 0, 0] },
            Control { level: libc::IPPROTO_IP, kind: libc::IP_TTL, data: vec![64, 0, 0, 0] },
        ];
        let mut raw = Vec::new();
        assert!(messages.iter().all(|m| m.append(&mut raw, 48)));
        assert_eq!(parse_control(&raw).unwrap(), messages);
        assert!(!messages[0].append(&mut raw, 60));
        for lie in [0u64, 15, 49, u64::MAX] {
            raw[..8].copy_from_slice(&lie.to_ne_bytes());
            assert_eq!(parse_control(&raw), Err(Errno::INVAL), "{lie}");
        }
        assert_eq!(parse_control(&[0; 15]), Ok(vec![]));
    }

    #[test]
    fn results_say_when_control_messages_were_left_out() {
        let mut control = [0u64; 4];
        let name = [0xffu8; 16];
        let mut raw: [u64; 7] = [address_of(&name), 16, 0, 0, control.as_mut_ptr() as u64, 24, 0];
        let at = raw.as_mut_ptr() as u64;
        let header = Header::read(here(), at).unwrap();
        let ttl = Control { level: 0, kind: libc::IP_TTL, data: vec![64, 0, 0, 0] };
        header.store_result(here(), &[2; 16], &[ttl.clone(), ttl], libc::MSG_TRUNC).unwrap();
        let raw = std::hint::black_box(&raw);
        assert_eq!((raw[1] as u32, raw[5]), (16, 24));
        assert_eq!(raw[6] as i32, libc::MSG_TRUNC | libc::MSG_CTRUNC);
        assert_eq!(std::hint::black_box(&control)[0], 20);
        assert_eq!(std::hint::black_box(&name), &[2; 16]);
    }
}
