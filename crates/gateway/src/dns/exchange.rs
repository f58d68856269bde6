//! One attempt to ask one server, over UDP or TCP (RFC 1035 §4.2, RFC 7766).

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::outer::{self, Connecting};

/// What an exchange has come to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing yet.
    Pending,
    /// The server sent this message; there may be more.
    Message(Vec<u8>),
    /// The server cannot be reached, or ended the connection.
    Failed,
}

/// An attempt under way.
pub(crate) struct Exchange {
    fd: OwnedFd,
    /// Over TCP: what is still to be sent, and what was received so far.
    stream: Option<(Vec<u8>, Vec<u8>)>,
}

impl Exchange {
    /// Sends `message` to `server` from a new port of the machine's choice (RFC 5452 §9.2).
    pub fn over_udp(server: SocketAddr, message: &[u8]) -> Result<Exchange, Errno> {
        let fd = outer::connect_datagram(server)?;
        outer::send(&fd, message)?;
        Ok(Exchange { fd, stream: None })
    }

    /// Connects to `server` and sends `message` once connected.
    pub fn over_tcp(server: SocketAddr, message: &[u8]) -> Result<Exchange, Errno> {
        let (Connecting::Done(fd) | Connecting::Pending(fd)) = outer::connect_stream(server)?;
        let length = u16::try_from(message.len()).map_err(|_| Errno::MSGSIZE)?;
        let mut output = Vec::with_capacity(message.len() + 2);
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(message);
        Ok(Exchange { fd, stream: Some((output, Vec::new())) })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The socket is ready. To be called until nothing more comes of it.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Progress {
        let Some((output, input)) = &mut self.stream else {
            return match outer::recv(&self.fd, buffer) {
                Ok(n) => Progress::Message(buffer.get(..n).unwrap_or_default().to_vec()),
                Err(Errno::AGAIN) => Progress::Pending,
                Err(_) => Progress::Failed,
            };
        };
        while !output.is_empty() {
            match outer::send(&self.fd, output) {
                Ok(n) => drop(output.drain(..n)),
                // ENOTCONN: not connected yet.
                Err(Errno::AGAIN | Errno::NOTCONN) => return Progress::Pending,
                Err(_) => return Progress::Failed,
            }
        }
        loop {
            if let Some(message) = split_message(input) {
                return Progress::Message(message);
            }
            match outer::recv(&self.fd, buffer) {
                Ok(0) => return Progress::Failed,
                Ok(n) => input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(Errno::AGAIN) => return Progress::Pending,
                Err(_) => return Progress::Failed,
            }
        }
    }
}

/// Takes the first whole message, each of which stands behind its length (RFC 1035 §4.2.2).
pub(crate) fn split_message(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*input.first_chunk::<2>()?));
    let message = input.get(2..2 + length)?.to_vec();
    input.drain(..2 + length);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split() {
        let mut input = vec![0, 2, 7, 8, 0, 0, 0, 3, 9];
        assert_eq!(split_message(&mut input), Some(vec![7, 8]));
        assert_eq!(split_message(&mut input), Some(vec![]));
        assert_eq!(split_message(&mut input), None);
        assert_eq!(input, [0, 3, 9]);
    }
}
