//! DNS: queries to the gateway's resolver address, and to the addresses of the machine's own resolvers, are forwarded to the machine's
//! resolvers over the machine's sockets.
//!
//! A query is forwarded as it came, with another identifier, from a port of its own, over the transport that it came by (so a
//! truncated answer is the program's to repeat over TCP). If a server fails or is silent, the next is asked, each twice; the
//! program hears SERVFAIL when none answers. An answer must carry the identifier and the question that were sent
//! (RFC 5452). Nothing is cached, and records are not read: that is the program's.
//!
//! - `message.rs`: what is read of messages
//! - `exchange.rs`: one attempt with one server
//! - `stream.rs`: a program's TCP connection
//! - `resolv_conf.rs`: the machine's servers

mod exchange;
mod message;
pub(crate) mod resolv_conf;
mod stream;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Query as Question, ResponseCode};
use wireway_engine::{Context, Interest};
use wireway_packet::Instant;
use wireway_stack::{DatagramInfo, Event, SocketId};

use crate::counters::{Counters, count};
use crate::entropy;
use crate::outer;
use crate::table::{Part, Table};
use exchange::{Exchange, Progress};
use message::Asked;
use stream::Stream;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often each server is asked, and how often any, at most.
const ROUNDS: usize = 2;
const ATTEMPTS: usize = 4;
/// Queries that may be outstanding.
const QUERIES: usize = 512;
/// TCP connections of programs at a time, and how long one may be idle (RFC 7766 §6.2.3).
const STREAMS: usize = 64;
const STREAM_IDLE: Duration = Duration::from_secs(30);

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Datagram { program: SocketAddr, asked: SocketAddr },
    Stream(SocketId),
}

struct Query {
    client: Client,
    /// The program's identifier; the message carries the forwarder's.
    id: u16,
    outer_id: u16,
    message: Vec<u8>,
    question: Box<Question>,
    exchange: Option<Exchange>,
    attempts: usize,
    first_server: usize,
    deadline: Instant,
    /// A server's refusal, for want of a better answer.
    refusal: Option<Vec<u8>>,
}

/// The forwarder.
pub(crate) struct Dns {
    servers: Vec<SocketAddr>,
    /// The server that answered last.
    preferred: usize,
    /// The socket that answers over UDP are sent from.
    udp: SocketId,
    queries: Table<Query>,
    /// What is outstanding, so that a repeated query is not forwarded twice.
    outstanding: HashSet<(Client, u16)>,
    streams: HashMap<SocketId, Stream>,
    /// Connections that were answered, and may go on.
    answered: Vec<SocketId>,
    wake_at: Option<Instant>,
    buffer: Box<[u8]>,
}

impl Dns {
    /// Forwards to `servers`, and answers over UDP from `udp`.
    pub fn new(servers: Vec<SocketAddr>, udp: SocketId) -> Dns {
        Dns {
            servers,
            preferred: 0,
            udp,
            queries: Table::new(Part::Dns),
            outstanding: HashSet::new(),
            streams: HashMap::new(),
            answered: Vec::new(),
            wake_at: None,
            buffer: vec![0; 1 << 16].into_boxed_slice(),
        }
    }

    /// From now on forwards to `servers`.
    pub fn set_servers(&mut self, servers: Vec<SocketAddr>) {
        self.servers = servers;
        self.preferred = 0;
    }

    /// Queries and connections there are now.
    pub fn len(&self) -> usize {
        self.queries.len() + self.streams.len()
    }

    /// A datagram for the resolver.
    pub fn datagram(&mut self, cx: &mut Context<'_>, info: &DatagramInfo, message: &[u8], counters: &Counters) {
        self.ask(cx, Client::Datagram { program: info.source, asked: info.destination }, message, counters);
    }

    /// A connection to the resolver.
    pub fn connection(&mut self, cx: &mut Context<'_>, socket: SocketId, counters: &Counters) {
        if self.streams.len() >= STREAMS {
            count(&counters.dns_dropped);
            let _ = cx.host.abort(cx.now, socket);
            return;
        }
        self.streams.insert(socket, Stream::new(socket, cx.now));
        self.wake(cx.now + STREAM_IDLE);
        self.serve(cx, socket, counters);
    }

    /// A socket of the host may be ready. False if it is not of the forwarder.
    pub fn event(&mut self, cx: &mut Context<'_>, event: Event, counters: &Counters) -> bool {
        let known = self.streams.contains_key(&event.socket);
        if known {
            self.serve(cx, event.socket, counters);
        }
        known
    }

    /// Takes what a connection asks, and sends it what was answered.
    fn serve(&mut self, cx: &mut Context<'_>, socket: SocketId, counters: &Counters) {
        loop {
            let Some(stream) = self.streams.get_mut(&socket) else { return };
            let next = stream.flush(cx.now, cx.host).and_then(|()| stream.next_query(cx.now, cx.host));
            match next {
                Ok(Some(query)) => {
                    if !self.ask(cx, Client::Stream(socket), &query, counters)
                        && let Some(stream) = self.streams.get_mut(&socket)
                    {
                        stream.answer(cx.now, None);
                    }
                }
                Ok(None) if !stream.is_done() => return,
                Ok(None) | Err(_) => {
                    self.streams.remove(&socket);
                    let _ = cx.host.close(cx.now, socket);
                    return;
                }
            }
        }
    }

    /// Forwards a query. False if no answer to it will come.
    fn ask(&mut self, cx: &mut Context<'_>, client: Client, message: &[u8], counters: &Counters) -> bool {
        count(&counters.dns_queries);
        let (id, question) = match message::read_query(message) {
            Asked::Question(id, question) => (id, question),
            Asked::Answer(answer) => {
                count(&counters.dns_malformed);
                self.deliver(cx, client, &answer);
                return true;
            }
            Asked::Nothing => {
                count(&counters.dns_malformed);
                return false;
            }
        };
        if self.queries.len() >= QUERIES {
            count(&counters.dns_dropped);
            return false;
        }
        if !self.outstanding.insert((client, id)) {
            return false;
        }
        let token = self.queries.insert(Query {
            client,
            id,
            outer_id: 0,
            message: message.to_vec(),
            question,
            exchange: None,
            attempts: 0,
            first_server: self.preferred,
            deadline: cx.now,
            refusal: None,
        });
        self.attempt(cx, token, counters);
        true
    }

    /// Asks the next server; without one, tells the program.
    fn attempt(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) {
        let Some(query) = self.queries.get_mut(token) else { return };
        while query.attempts < ATTEMPTS.min(self.servers.len() * ROUNDS) {
            let server = self.servers.get((query.first_server + query.attempts) % self.servers.len()).copied();
            query.attempts += 1;
            let Some(server) = server else { break };
            let Ok(id) = entropy::bytes() else { continue };
            query.outer_id = u16::from_ne_bytes(id);
            message::set_id(&mut query.message, query.outer_id);
            let (exchange, interest) = match query.client {
                Client::Datagram { .. } => (Exchange::over_udp(server, &query.message), Interest::IN | Interest::ET),
                Client::Stream(_) => (Exchange::over_tcp(server, &query.message), outer::edges()),
            };
            let Ok(exchange) = exchange else { continue };
            if cx.register(exchange.fd(), token, interest).is_err() {
                continue;
            }
            query.exchange = Some(exchange);
            query.deadline = cx.now + PATIENCE;
            return self.wake(cx.now + PATIENCE);
        }
        count(&counters.dns_failed);
        message::set_id(&mut query.message, query.id);
        let refusal = query.refusal.take();
        let answer =
            refusal.or_else(|| message::failure(&query.message, Some(&query.question), ResponseCode::ServFail));
        self.finish(cx, token, answer.unwrap_or_default());
    }

    /// A server's socket is ready.
    pub fn ready(&mut self, cx: &mut Context<'_>, token: u64, counters: &Counters) {
        loop {
            let Some(query) = self.queries.get_mut(token) else { return };
            let Some(exchange) = &mut query.exchange else { return };
            match exchange.advance(&mut self.buffer) {
                Progress::Pending => return,
                Progress::Failed => {
                    query.exchange = None;
                    return self.attempt(cx, token, counters);
                }
                Progress::Message(answer) => self.answered(cx, token, answer, counters),
            }
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, token: u64, mut answer: Vec<u8>, counters: &Counters) {
        let Some(query) = self.queries.get_mut(token) else { return };
        let Some(code) = message::read_answer(&answer, query.outer_id, &query.question) else {
            // Not the server's answer, perhaps somebody else's: go on waiting.
            return count(&counters.dns_malformed);
        };
        message::set_id(&mut answer, query.id);
        if matches!(code, ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp)
            && self.servers.len() > 1
        {
            query.refusal = Some(answer);
            query.exchange = None;
            return self.attempt(cx, token, counters);
        }
        self.preferred = (query.first_server + query.attempts.saturating_sub(1)) % self.servers.len().max(1);
        count(&counters.dns_answers);
        self.finish(cx, token, answer);
    }

    fn finish(&mut self, cx: &mut Context<'_>, token: u64, answer: Vec<u8>) {
        let Some(query) = self.queries.remove(token) else { return };
        self.outstanding.remove(&(query.client, query.id));
        self.deliver(cx, query.client, &answer);
    }

    fn deliver(&mut self, cx: &mut Context<'_>, client: Client, answer: &[u8]) {
        match client {
            Client::Datagram { program, asked } => {
                // As on any network, a lost answer is asked for again.
                let _ = cx.host.send_to(cx.now, self.udp, answer, Some(program), Some(asked));
            }
            Client::Stream(socket) => {
                if let Some(stream) = self.streams.get_mut(&socket) {
                    stream.answer(cx.now, Some(answer));
                    self.answered.push(socket);
                    self.wake(cx.now);
                }
            }
        }
    }

    /// Goes on with connections that were answered, asks other servers where one was too slow, and ends idle connections.
    pub fn poll(&mut self, cx: &mut Context<'_>, counters: &Counters) {
        if self.wake_at.is_none_or(|at| at > cx.now) {
            return;
        }
        for socket in std::mem::take(&mut self.answered) {
            self.serve(cx, socket, counters);
        }
        let late: Vec<u64> =
            self.queries.iter().filter(|(_, query)| query.deadline <= cx.now).map(|(token, _)| token).collect();
        for token in late {
            self.attempt(cx, token, counters);
        }
        let idle = |stream: &Stream| stream.used + STREAM_IDLE <= cx.now;
        let idle: Vec<SocketId> =
            self.streams.iter().filter(|(_, stream)| idle(stream)).map(|(&socket, _)| socket).collect();
        for socket in idle {
            self.streams.remove(&socket);
            let _ = cx.host.close(cx.now, socket);
        }
        let deadlines = self.queries.iter().map(|(_, query)| query.deadline);
        let ends = self.streams.values().map(|stream| stream.used + STREAM_IDLE);
        self.wake_at = deadlines.chain(ends).min();
        if !self.answered.is_empty() {
            self.wake_at = Some(cx.now);
        }
    }

    pub fn poll_at(&self) -> Option<Instant> {
        self.wake_at
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
