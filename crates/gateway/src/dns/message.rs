//! What the forwarder reads of a DNS message: the header and the question (RFC 1035 §4.1). The rest passes untouched.

use hickory_proto::op::{Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Bytes in front of the question.
const HEADER: usize = 12;

/// What to do with what a program sent.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Forward it.
    Question(u16, Box<Query>),
    /// Answer with this.
    Answer(Vec<u8>),
    /// It is no query.
    Nothing,
}

fn header(message: &[u8]) -> Option<(Header, BinDecoder<'_>)> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    Some((header, decoder))
}

/// Reads a query.
pub(crate) fn read_query(message: &[u8]) -> Asked {
    let Some((header, mut decoder)) = header(message) else { return Asked::Nothing };
    let metadata = header.metadata;
    if metadata.message_type != MessageType::Query {
        return Asked::Nothing;
    }
    let refusal = |code| failure(message, None, code).map_or(Asked::Nothing, Asked::Answer);
    if metadata.op_code != OpCode::Query {
        return refusal(ResponseCode::NotImp);
    }
    // RFC 9619 §4: more than one question is malformed.
    if header.counts.queries != 1 {
        return refusal(ResponseCode::FormErr);
    }
    match Query::read(&mut decoder) {
        // In front of the question there is nothing that its name could share (RFC 1035 §4.1.4); the identifier would be part of it.
        Ok(query) if is_written_out(message) => Asked::Question(metadata.id, Box::new(query)),
        _ => refusal(ResponseCode::FormErr),
    }
}

/// Whether the name of the first question has no pointer in it.
fn is_written_out(message: &[u8]) -> bool {
    let mut rest = message.get(HEADER..).unwrap_or_default();
    while let Some((&len, after)) = rest.split_first() {
        match len {
            0 => return true,
            1..=63 => rest = after.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        }
    }
    false
}

/// Reads a server's answer to a query (RFC 5452 §9.1): its response code, or `None` if it answers something else.
pub(crate) fn read_answer(message: &[u8], id: u16, query: &Query) -> Option<ResponseCode> {
    let (header, mut decoder) = header(message)?;
    let metadata = header.metadata;
    if metadata.message_type != MessageType::Response || metadata.id != id {
        return None;
    }
    let code = metadata.response_code;
    // A server that could not read the question may leave it out.
    if header.counts.queries == 0 && code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        return Some(code);
    }
    let same = header.counts.queries == 1 && Query::read(&mut decoder).is_ok_and(|answered| answered == *query);
    same.then_some(code)
}

/// An answer without records to `query`, which was in `message`.
pub(crate) fn failure(message: &[u8], query: Option<&Query>, code: ResponseCode) -> Option<Vec<u8>> {
    let (header, _) = header(message)?;
    let mut answer = Message::error_msg(header.metadata.id, header.metadata.op_code, code);
    answer.metadata.recursion_desired = header.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.checking_disabled = header.metadata.checking_disabled;
    if let Some(query) = query {
        answer.add_query(query.clone());
    }
    answer.to_vec().ok()
}

/// Changes a message's identifier.
pub(crate) fn set_id(message: &mut [u8], id: u16) {
    if let Some(field) = message.first_chunk_mut::<2>() {
        *field = id.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn query() -> (Vec<u8>, Query) {
        let query = Query::query(Name::from_str("www.Example.test.").expect("name"), RecordType::A);
        let mut message = Message::query();
        message.metadata.id = 0x1234;
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        (message.to_vec().expect("encodes"), query)
    }

    #[test]
    fn a_query_and_its_failure() {
        let (message, query) = query();
        let Asked::Question(id, asked) = read_query(&message) else { panic!("a query") };
        assert_eq!((id, &*asked), (0x1234, &query));
        let answer = failure(&message, Some(&query), ResponseCode::ServFail).expect("encodes");
        assert_eq!(read_answer(&answer, 0x1234, &query), Some(ResponseCode::ServFail));
        assert_eq!(read_answer(&answer, 0x1235, &query), None);
        assert_eq!(read_answer(&message, 0x1234, &query), None, "a query is no answer");
        let parsed = Message::from_vec(&answer).expect("parses");
        assert!(parsed.metadata.recursion_desired && parsed.metadata.recursion_available);
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let (message, query) = query();
        let mut answer = failure(&message, Some(&query), ResponseCode::NoError).expect("encodes");
        assert!(read_answer(&answer, 0x1234, &query).is_some());
        answer[13] = b'v';
        assert_eq!(read_answer(&answer, 0x1234, &query), None);
        let bare = failure(&message, None, ResponseCode::NoError).expect("encodes");
        assert_eq!(read_answer(&bare, 0x1234, &query), None, "no question, no error");
        let bare = failure(&message, None, ResponseCode::Refused).expect("encodes");
        assert_eq!(read_answer(&bare, 0x1234, &query), Some(ResponseCode::Refused));
    }

    #[test]
    fn what_is_no_query_is_answered_or_ignored() {
        let (message, _) = query();
        let changed = |at: usize, byte: u8| {
            let mut changed = message.clone();
            changed[at] = byte;
            read_query(&changed)
        };
        assert!(matches!(changed(2, 0x80), Asked::Nothing), "a response");
        assert!(matches!(changed(2, 0x28), Asked::Answer(_)), "an update");
        assert!(matches!(changed(5, 2), Asked::Answer(_)), "two questions");
        assert!(matches!(changed(5, 0), Asked::Answer(_)), "no question");
        assert!(matches!(changed(12, 0xc0), Asked::Answer(_)), "a pointer ahead");
        let into_the_header = [1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 1, 0, 1];
        assert!(matches!(read_query(&into_the_header), Asked::Answer(_)), "a name of the identifier");
        for length in 0..message.len() {
            let cut = read_query(&message[..length]);
            assert_eq!(matches!(cut, Asked::Nothing), length < 12, "cut to {length}: {cut:?}");
        }
    }

    #[test]
    fn no_bytes_panic() {
        let (message, query) = query();
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut mutated = message.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % mutated.len();
                mutated[at] = state as u8;
            }
            let _ = read_query(&mutated);
            let _ = read_answer(&mutated, 0x1234, &query);
        }
    }
}
