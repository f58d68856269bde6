//! A program's TCP connection to the forwarder: queries behind their lengths, several at a time (RFC 7766).

use wireway_packet::Instant;
use wireway_stack::{Error, Host, ReceiveFlags, SendFlags, SocketId};

use super::exchange::split_message;

/// Queries of one connection that may be unanswered; more wait in its receive buffer.
const OUTSTANDING: usize = 16;

/// A connection.
pub(crate) struct Stream {
    socket: SocketId,
    input: Vec<u8>,
    output: Vec<u8>,
    outstanding: usize,
    /// The program will send no more.
    ended: bool,
    /// When something last came or went.
    pub used: Instant,
}

impl Stream {
    pub fn new(socket: SocketId, now: Instant) -> Stream {
        Stream { socket, input: Vec::new(), output: Vec::new(), outstanding: 0, ended: false, used: now }
    }

    /// The next query, which counts as outstanding. An error if the connection is broken.
    pub fn next_query(&mut self, now: Instant, host: &mut Host) -> Result<Option<Vec<u8>>, Error> {
        if self.outstanding >= OUTSTANDING {
            return Ok(None);
        }
        loop {
            if let Some(query) = split_message(&mut self.input) {
                self.outstanding += 1;
                self.used = now;
                return Ok(Some(query));
            }
            if self.ended {
                return Ok(None);
            }
            let mut chunk = [0; 4_096];
            match host.recv(now, self.socket, &mut chunk, ReceiveFlags::default()) {
                Ok(0) => self.ended = true,
                Ok(n) => self.input.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(Error::WouldBlock) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// One query less is outstanding; its answer, if there is one, is to be sent.
    pub fn answer(&mut self, now: Instant, answer: Option<&[u8]>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.used = now;
        if let Some(answer) = answer
            && let Ok(length) = u16::try_from(answer.len())
        {
            self.output.extend_from_slice(&length.to_be_bytes());
            self.output.extend_from_slice(answer);
        }
    }

    /// Sends what fits of the answers. An error if the connection is broken.
    pub fn flush(&mut self, now: Instant, host: &mut Host) -> Result<(), Error> {
        while !self.output.is_empty() {
            match host.send(now, self.socket, &self.output, SendFlags::default()) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(Error::WouldBlock) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether everything asked was answered, and nothing more will come.
    pub fn is_done(&self) -> bool {
        self.ended && self.outstanding == 0 && self.output.is_empty()
    }
}
