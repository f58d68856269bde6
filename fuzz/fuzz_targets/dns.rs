//! What the gateway's forwarder reads of DNS messages: a program's query, and what comes back in a server's name.
//!
//! The input is the length of the query in a byte, the query, and the answer.
//!
//! What must hold: nothing panics; what is refused is refused with a response to that query; an answer that is taken has the identifier and, if it
//! is no failure, the question that were sent; and a failure of our own making would be taken.

#![no_main]

#[path = "../../crates/gateway/src/dns/message.rs"]
mod message;

use hickory_proto::op::{Message, ResponseCode};
use libfuzzer_sys::fuzz_target;
use message::{Asked, failure, read_answer, read_query, set_id};

const ID: u16 = 0xabcd;

fuzz_target!(|bytes: &[u8]| {
    let Some((&len, rest)) = bytes.split_first() else { return };
    let (query, answer) = rest.split_at(rest.len().min(len.into()));
    run(query, answer);
});

fn is_response(message: &[u8], id: [u8; 2]) -> bool {
    message.len() >= 12 && message[..2] == id && message[2] & 0x80 != 0
}

fn run(query: &[u8], answer: &[u8]) {
    let (id, question) = match read_query(query) {
        Asked::Nothing => return,
        Asked::Answer(refusal) => return assert!(is_response(&refusal, [query[0], query[1]]) && refusal.len() == 12),
        Asked::Question(id, question) => (id, question),
    };
    assert_eq!(id.to_be_bytes(), query[..2]);
    let mut forwarded = query.to_vec();
    set_id(&mut forwarded, ID);
    assert!(forwarded[2..] == query[2..] && matches!(read_query(&forwarded), Asked::Question(ID, q) if q == question));
    // A failure of ours, and a server's echo of the query as a response without records.
    let code = ResponseCode::ServFail;
    let failed = failure(&forwarded, Some(&question), code).expect("a question that was read can be written");
    assert_eq!(read_answer(&failed, ID, &question), Some(code));
    assert_eq!(read_answer(&failed, ID ^ 1, &question), None);
    let mut echo = forwarded;
    echo[2] |= 0x80;
    assert!(read_answer(&echo, ID, &question).is_some());
    // What a server, or anybody, says.
    let mut answer = answer.to_vec();
    set_id(&mut answer, ID);
    if let Some(code) = read_answer(&answer, ID, &question) {
        assert!(is_response(&answer, ID.to_be_bytes()));
        let empty = answer[4..6] == [0, 0];
        assert!(!empty || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain));
        if let Ok(whole) = Message::from_vec(&answer) {
            assert!(empty || whole.queries == [*question]);
        }
    }
}
