//! What the client of the load program asks of the server: nine bytes, a letter and a number, at the
//! start of a connection; or `GET `, for HTTP.

/// What the server does on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// Read to the end, then send the number of bytes as eight little-endian bytes.
    Sink,
    /// Send this many bytes of the pattern, then close.
    Source(u64),
    /// Send every message of this many bytes back, once it is complete.
    Echo(u64),
    /// Answer one HTTP request and close.
    Http,
}

/// Bytes of a request.
pub const REQUEST: usize = 9;
/// The largest message of an echo.
pub const LARGEST: u64 = 64 << 20;
/// Bytes of one read and one write of bulk data.
pub const BLOCK: usize = 128 << 10;

impl Job {
    /// The bytes that ask for it.
    pub fn request(self) -> [u8; REQUEST] {
        let (letter, number) = match self {
            Job::Sink => (b'U', 0),
            Job::Source(bytes) => (b'D', bytes),
            Job::Echo(size) => (b'E', size),
            Job::Http => (b'G', 0),
        };
        let mut request = [letter; REQUEST];
        if let Some(rest) = request.get_mut(1..) {
            rest.copy_from_slice(&number.to_le_bytes());
        }
        request
    }

    /// Reads a request off the front of `input`: the job and the bytes it took, nothing if more bytes
    /// are needed, or an error for one that means nothing.
    pub fn parse(input: &[u8]) -> Result<Option<(Job, usize)>, &'static str> {
        if input.starts_with(b"GET ") {
            return Ok(Some((Job::Http, 0)));
        }
        let Some((&[letter, ref number @ ..], _)) = input.split_first_chunk::<REQUEST>() else {
            return Ok(None);
        };
        let number = u64::from_le_bytes(*number);
        let job = match letter {
            b'U' => Job::Sink,
            b'D' => Job::Source(number),
            b'E' if (1..=LARGEST).contains(&number) => Job::Echo(number),
            _ => return Err("not a request"),
        };
        Ok(Some((job, REQUEST)))
    }
}

/// Bulk data: two copies of one block, so that a transfer may go on anywhere in it.
pub fn pattern() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block: Vec<u8> = Vec::with_capacity(2 * BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block.extend_from_within(..);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for job in [Job::Sink, Job::Source(7), Job::Echo(1 << 20)] {
            assert_eq!(Job::parse(&job.request()), Ok(Some((job, REQUEST))));
        }
        assert_eq!(Job::parse(b"GET / HTTP/1.1"), Ok(Some((Job::Http, 0))));
        assert_eq!(Job::parse(b"E123"), Ok(None));
        assert!(Job::parse(&Job::Echo(u64::MAX).request()).is_err());
        assert!(Job::parse(b"XXXXXXXXX").is_err());
    }
}
