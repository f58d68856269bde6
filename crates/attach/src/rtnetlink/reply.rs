//! Answers as bytes: dumps cut into datagrams, acknowledgements and errors (netlink(7)).

use netlink_packet_core::{NLM_F_MULTIPART, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

use super::request::{HEADER, Request};
use super::{Caller, Refusal};

/// A dump is cut into datagrams of about this size, as the kernel's are.
const DATAGRAM: usize = 3_500;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
// linux/netlink.h
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message as a datagram of its own.
pub(super) fn single(message: RouteNetlinkMessage, flags: u16, sequence: u32, port: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number, header.port_number) = (flags, sequence, port);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut data = vec![0; message.buffer_len()];
    message.serialize(&mut data);
    data
}

/// All messages of a dump, and its end.
pub(super) fn dump(request: &Request<'_>, caller: Caller, messages: Vec<RouteNetlinkMessage>) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        let one = single(message, NLM_F_MULTIPART, request.sequence, caller.port);
        match datagrams.last_mut() {
            Some(last) if last.len() + one.len() <= DATAGRAM => last.extend_from_slice(&one),
            _ => datagrams.push(one),
        }
    }
    datagrams.push(plain(request, caller, NLMSG_DONE, NLM_F_MULTIPART, &0i32.to_ne_bytes()));
    datagrams
}

/// The acknowledgement, or the error with the text that goes with it.
pub(super) fn acknowledge(request: &Request<'_>, caller: Caller, result: Result<(), Refusal>) -> Vec<u8> {
    let number = result.as_ref().map_or_else(|refusal| -refusal.errno.raw_os_error(), |()| 0);
    let whole = result.is_err() && !caller.cap_ack;
    let quoted = if whole { request.raw } else { request.raw.get(..HEADER).unwrap_or_default() };
    let mut flags = if whole { 0 } else { NLM_F_CAPPED };
    let mut body = [&number.to_ne_bytes()[..], quoted].concat();
    body.resize(body.len().next_multiple_of(4), 0);
    if let (Err(Refusal { text: Some(text), .. }), true) = (result, caller.extended) {
        flags |= NLM_F_ACK_TLVS;
        append_attribute(&mut body, NLMSGERR_ATTR_MSG, &[text.as_bytes(), &[0]].concat());
    }
    plain(request, caller, NLMSG_ERROR, flags, &body)
}

/// Appends an attribute, padded.
pub(super) fn append_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn plain(request: &Request<'_>, caller: Caller, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut data = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    data.extend_from_slice(&kind.to_ne_bytes());
    data.extend_from_slice(&flags.to_ne_bytes());
    data.extend_from_slice(&request.sequence.to_ne_bytes());
    data.extend_from_slice(&caller.port.to_ne_bytes());
    data.extend_from_slice(body);
    data
}
