//! A DNS server of the tests' own, over UDP and TCP (RFC 1035), with a few names.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The address of `answer.test`; `3.2.0.192.in-addr.arpa` points back.
pub const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// The server, which ends when dropped. It knows
/// - `answer.test` as [`ANSWER`] and the way back,
/// - `machine.test` as the address given, which reaches the machine,
/// - `large.test`, a TXT that a UDP answer must truncate,
/// - `many.test`, forty addresses,
/// - `silent.test`, which it never answers;
///
/// any other name does not exist.
pub struct DnsServer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    queries: Arc<AtomicU32>,
}

impl DnsServer {
    /// On UDP and TCP sockets that are bound to the same address.
    pub fn start(udp: UdpSocket, tcp: TcpListener, machine: IpAddr) -> DnsServer {
        let stop = Arc::new(AtomicBool::new(false));
        let queries = Arc::new(AtomicU32::new(0));
        let tick = Duration::from_millis(20);
        udp.set_read_timeout(Some(tick)).expect("time-out");
        tcp.set_nonblocking(true).expect("non-blocking");
        let (stop_udp, queries_udp) = (Arc::clone(&stop), Arc::clone(&queries));
        let serve_udp = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stop_udp.load(Ordering::Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
                queries_udp.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = reply(&buffer[..length], machine, true) {
                    let _ = udp.send_to(&reply, from);
                }
            }
        });
        let (stop_tcp, queries_tcp) = (Arc::clone(&stop), Arc::clone(&queries));
        let serve_tcp = std::thread::spawn(move || {
            while !stop_tcp.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    std::thread::sleep(tick);
                    continue;
                };
                let queries = Arc::clone(&queries_tcp);
                std::thread::spawn(move || -> std::io::Result<()> {
                    stream.set_nonblocking(false)?;
                    loop {
                        let mut length = [0; 2];
                        stream.read_exact(&mut length)?;
                        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                        stream.read_exact(&mut query)?;
                        queries.fetch_add(1, Ordering::Relaxed);
                        if let Some(reply) = reply(&query, machine, false) {
                            let length = u16::try_from(reply.len()).expect("a reply that fits");
                            stream.write_all(&[&length.to_be_bytes(), &reply[..]].concat())?;
                        }
                    }
                });
            }
        });
        DnsServer { stop, threads: vec![serve_udp, serve_tcp], queries }
    }

    /// On an address and port.
    pub fn bind(address: SocketAddr, machine: IpAddr) -> DnsServer {
        let tcp = TcpListener::bind(address).expect("bind tcp");
        let udp = UdpSocket::bind(tcp.local_addr().expect("address")).expect("bind udp");
        Self::start(udp, tcp, machine)
    }

    /// How many queries have come.
    pub fn queries(&self) -> u32 {
        self.queries.load(Ordering::Relaxed)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn reply(query: &[u8], machine: IpAddr, datagram: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let text = question.name().to_ascii().to_lowercase();
    let (kind, name) = (question.query_type(), question.name().clone());
    let record = |data| Record::from_rdata(name.clone(), 60, data);
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.add_query(question);
    match (text.as_str(), kind) {
        ("silent.test.", _) => return None,
        ("answer.test.", RecordType::A) => {
            message.add_answer(record(RData::A(A(ANSWER))));
        }
        ("machine.test.", RecordType::A) => {
            if let IpAddr::V4(address) = machine {
                message.add_answer(record(RData::A(A(address))));
            }
        }
        ("large.test.", RecordType::TXT) => {
            for n in 0..20 {
                message.add_answer(record(RData::TXT(TXT::new(vec![large_text(n)]))));
            }
        }
        ("many.test.", RecordType::A) => {
            for n in 1..=40 {
                message.add_answer(record(RData::A(A(Ipv4Addr::new(192, 0, 2, n)))));
            }
        }
        ("3.2.0.192.in-addr.arpa.", RecordType::PTR) => {
            message.add_answer(record(RData::PTR(PTR(Name::from_str("answer.test.").ok()?))));
        }
        ("answer.test." | "machine.test." | "large.test." | "many.test.", _) => {}
        _ => message.metadata.response_code = ResponseCode::NXDomain,
    }
    let bytes = message.to_vec().ok()?;
    // RFC 1035 §4.2.1: a datagram of more than 512 bytes is cut, and says so.
    if datagram && bytes.len() > 512 {
        message.answers.clear();
        message.metadata.truncation = true;
        return message.to_vec().ok();
    }
    Some(bytes)
}

/// One of the twenty strings of `large.test`.
pub fn large_text(n: u32) -> String {
    format!("{n:02}-").repeat(60)
}
