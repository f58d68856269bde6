//! A DNS server of the tests' own, over UDP and TCP (RFC 1035), with a few names.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use simple_dns::rdata::{PTR, RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

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
    let query = Packet::parse(query).ok()?;
    let question = query.questions.first()?;
    let (name, kind) = (question.qname.to_string().to_lowercase(), question.qtype);
    let large: Vec<String> = (0..20).map(large_text).collect();
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED);
    reply.questions.push(question.clone());
    let mut answer = |data| {
        reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data));
    };
    match (name.as_str(), kind) {
        ("silent.test", _) => return None,
        ("answer.test", QTYPE::TYPE(TYPE::A)) => answer(RData::A(ANSWER.into())),
        ("machine.test", QTYPE::TYPE(TYPE::A)) => {
            if let IpAddr::V4(address) = machine {
                answer(RData::A(address.into()));
            }
        }
        ("large.test", QTYPE::TYPE(TYPE::TXT)) => {
            for text in &large {
                answer(RData::TXT(TXT::new().with_string(text).ok()?));
            }
        }
        ("many.test", QTYPE::TYPE(TYPE::A)) => {
            (1..=40).for_each(|n| answer(RData::A(Ipv4Addr::new(192, 0, 2, n).into())));
        }
        ("3.2.0.192.in-addr.arpa", QTYPE::TYPE(TYPE::PTR)) => {
            answer(RData::PTR(PTR(Name::new_unchecked("answer.test"))));
        }
        ("answer.test" | "machine.test" | "large.test" | "many.test", _) => {}
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    let bytes = reply.build_bytes_vec_compressed().ok()?;
    // RFC 1035 §4.2.1: a datagram of more than 512 bytes is cut, and says so.
    if datagram && bytes.len() > 512 {
        reply.answers.clear();
        reply.set_flags(PacketFlag::TRUNCATION);
        return reply.build_bytes_vec_compressed().ok();
    }
    Some(bytes)
}

/// One of the twenty strings of `large.test`.
pub fn large_text(n: u32) -> String {
    format!("{n:02}-").repeat(60)
}
