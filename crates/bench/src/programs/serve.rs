//! The server of the load program: one thread, epoll, plain sockets.

use super::protocol::{BLOCK, Job, pattern};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

/// What the `serve` command line says.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen; port 0 takes a free one. It is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// End with the parent process.
    #[arg(long)]
    with_parent: bool,
}

/// Bytes of the body of an HTTP answer.
const BODY: usize = 1024;

/// One connection.
struct Client {
    socket: TcpStream,
    job: Option<Job>,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// Bytes of a sink or source so far.
    total: u64,
    /// Close when the output is written.
    last: bool,
    waits_to_write: bool,
}

/// Serves until it is killed.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    if arguments.with_parent {
        set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    let listener = TcpListener::bind(arguments.listen)?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;

    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(0), EventFlags::IN)?;
    let mut clients: HashMap<u64, Client> = HashMap::new();
    let mut next = 1;
    let mut scratch = vec![0; BLOCK];
    let source = pattern();
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for event in &events {
            let key = event.data.u64();
            if key == 0 {
                while let Ok((socket, _)) = listener.accept() {
                    if accept(&poll, &mut clients, next, socket).is_ok() {
                        next += 1;
                    }
                }
            } else if let Some(client) = clients.get_mut(&key)
                && client.serve(&poll, key, &mut scratch, &source).is_err()
            {
                // Peers that vanish are part of the job: the connection is closed and forgotten.
                clients.remove(&key);
            }
        }
    }
}

fn accept(poll: &OwnedFd, clients: &mut HashMap<u64, Client>, key: u64, socket: TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    epoll::add(poll, &socket, EventData::new_u64(key), EventFlags::IN)?;
    clients.insert(
        key,
        Client {
            socket,
            job: None,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            total: 0,
            last: false,
            waits_to_write: false,
        },
    );
    Ok(())
}

/// `None` in place of "would block".
fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn ended() -> io::Error {
    ErrorKind::UnexpectedEof.into()
}

impl Client {
    /// Does what the socket is ready for. An error ends the connection.
    fn serve(&mut self, poll: &OwnedFd, key: u64, scratch: &mut [u8], source: &[u8]) -> io::Result<()> {
        if !self.waits_to_write
            && let Some(count) = ready(self.socket.read(scratch))?
        {
            self.take(scratch.get(..count).unwrap_or_default())?;
        }
        self.write(source)?;
        let source_left = matches!(self.job, Some(Job::Source(left)) if left > self.total);
        let waits = self.written < self.output.len() || source_left;
        if waits != self.waits_to_write {
            self.waits_to_write = waits;
            let flags = if waits { EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(poll, self.socket.as_fd(), EventData::new_u64(key), flags)?;
        }
        Ok(())
    }

    /// Takes in what was read; an empty slice is the end.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.job {
            Some(Job::Sink) => {
                self.total += bytes.len() as u64;
                if bytes.is_empty() && !self.last {
                    self.output.extend_from_slice(&self.total.to_le_bytes());
                    self.last = true;
                }
                return Ok(());
            }
            _ if bytes.is_empty() => return Err(ended()),
            Some(Job::Source(_)) => return Ok(()),
            _ => self.input.extend_from_slice(bytes),
        }
        if self.job.is_none()
            && let Some((job, length)) = Job::parse(&self.input).map_err(io::Error::other)?
        {
            self.job = Some(job);
            self.input.drain(..length);
            if job == Job::Sink {
                self.total = self.input.len() as u64;
            }
        }
        match self.job {
            Some(Job::Echo(size)) if self.input.len() as u64 >= size => {
                // A client sends its next message after the answer: the input is one message.
                std::mem::swap(&mut self.input, &mut self.output);
                self.input.clear();
                self.written = 0;
            }
            Some(Job::Http) if self.input.ends_with(b"\r\n\r\n") && !self.last => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\nConnection: close\r\n\r\n");
                self.output.extend_from_slice(head.as_bytes());
                self.output.resize(head.len() + BODY, b'.');
                self.last = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what there is and the socket takes.
    fn write(&mut self, source: &[u8]) -> io::Result<()> {
        if let Some(Job::Source(wanted)) = self.job {
            while self.total < wanted {
                let from = (self.total % BLOCK as u64) as usize;
                let length = (wanted - self.total).min(BLOCK as u64) as usize;
                let bytes = source.get(from..from + length).unwrap_or_default();
                match ready(self.socket.write(bytes))? {
                    Some(count) => self.total += count as u64,
                    None => return Ok(()),
                }
            }
            self.socket.shutdown(Shutdown::Write)?;
            return Ok(());
        }
        while let Some(bytes) = self.output.get(self.written..)
            && !bytes.is_empty()
        {
            match ready(self.socket.write(bytes))? {
                Some(count) => self.written += count,
                None => return Ok(()),
            }
        }
        if self.last {
            return Err(ended());
        }
        Ok(())
    }
}
