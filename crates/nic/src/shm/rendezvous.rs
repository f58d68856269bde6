//! How the two ends of a link find each other: an abstract AF_UNIX name, the first to bind it, and one message.
//!
//! An abstract name is bound by one process at a time and is gone with it, however it ends: nothing stale is left behind. It has
//! no owner, so both sides ask for the other's user id. The listener answers each connection with a [`Welcome`], and
//! with the descriptors of the shared memory and the two bells if it takes it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::{End, ring};

/// Longest name of a link in bytes.
pub const NAME_MAX: usize = 64;

const MAGIC: [u8; 8] = *b"wireway1";
const LEN: usize = 20;
const WELCOME: u32 = 1;
const FULL: u32 = 2;

/// The listener's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The link is yours, and you are this end. The descriptors come along.
    Welcome(End),
    /// Two ends are joined already.
    Full,
}

/// What a joined end holds of the other.
pub struct Descriptors {
    pub memory: OwnedFd,
    /// The bell that the joiner sleeps on.
    pub joiner_bell: OwnedFd,
    /// The bell that the listener sleeps on.
    pub listener_bell: OwnedFd,
}

fn address(name: &str) -> io::Result<SocketAddrUnix> {
    let user = rustix::process::geteuid().as_raw();
    Ok(SocketAddrUnix::new_abstract_name(format!("wireway/{user}/link/{name}").as_bytes())?)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Becomes the one who answers for the link. AddrInUse if somebody does already.
pub fn listen(name: &str) -> io::Result<OwnedFd> {
    let listener = socket()?;
    rustix::net::bind(&listener, &address(name)?)?;
    rustix::net::listen(&listener, 8)?;
    Ok(listener)
}

/// Connects to the one who does. ConnectionRefused if there is none.
pub fn connect(name: &str) -> io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::connect(&socket, &address(name)?)?;
    check_peer(socket.as_fd())?;
    Ok(socket)
}

/// The next connection, if there is one; those of other users are dropped.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) if check_peer(socket.as_fd()).is_ok() => return Ok(Some(socket)),
            Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn check_peer(socket: BorrowedFd<'_>) -> io::Result<()> {
    let theirs = socket_peercred(socket)?.uid;
    if theirs == rustix::process::geteuid() {
        return Ok(());
    }
    let user = theirs.as_raw();
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("its other end belongs to user {user}")))
}

/// Sends the answer, with the descriptors if it is a welcome.
pub fn answer(socket: BorrowedFd<'_>, answer: Answer, descriptors: Option<&Descriptors>) -> io::Result<()> {
    let (status, end) = match answer {
        Answer::Welcome(end) => (WELCOME, end as u32),
        Answer::Full => (FULL, 0),
    };
    let mut message = [0; LEN];
    message[..8].copy_from_slice(&MAGIC);
    message[8..12].copy_from_slice(&status.to_ne_bytes());
    message[12..16].copy_from_slice(&end.to_ne_bytes());
    message[16..].copy_from_slice(&(ring::MEMORY as u32).to_ne_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = descriptors.map(|d| [d.memory.as_fd(), d.joiner_bell.as_fd(), d.listener_bell.as_fd()]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The listener's answer, if it has come. UnexpectedEof if the listener went away, InvalidData for what no listener of this version sends.
pub fn receive_answer(socket: BorrowedFd<'_>) -> io::Result<Option<(Answer, Option<Descriptors>)>> {
    let mut message = [0; LEN + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut message)];
    let received = match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "its other end is another version of Wireway");
    if received.bytes != LEN || message[..8] != MAGIC {
        return Err(invalid());
    }
    let word = |at: usize| u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    let end = End::try_from(word(12)).ok();
    match (word(8), end, <[OwnedFd; 3]>::try_from(fds)) {
        (FULL, ..) => Ok(Some((Answer::Full, None))),
        (WELCOME, Some(end), Ok([memory, joiner_bell, listener_bell])) if word(16) == ring::MEMORY as u32 => {
            Ok(Some((Answer::Welcome(end), Some(Descriptors { memory, joiner_bell, listener_bell }))))
        }
        _ => Err(invalid()),
    }
}
