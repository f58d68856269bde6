//! Attaches unmodified programs to a host by seccomp notification and socket pairs.

pub mod filter;
pub mod guardian;
pub mod inherited;
pub mod launch;
pub mod msghdr;
pub mod notify;
pub mod process;
pub mod signals;
pub mod sockaddr;
mod sys;
