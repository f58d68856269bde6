//! Every malformed packet of a generated corpus against a host in the middle of a conversation: nothing panics, nothing is left
//! behind, the conversation's bytes are right, and each drop is counted under the name that the case gives.

#[path = "../common/mod.rs"]
mod common;

mod arp;
mod ethernet;
mod fragment;
mod icmp;
mod ipv4;
mod offload;
mod tcp;
mod udp;
