//! The mbuf operations against a plain vector that does the same.

use proptest::prelude::*;
use wireway_packet::{HEAD, Packet, PacketQueue, Slice};

#[derive(Clone, Debug)]
enum Operation {
    Prepend(Vec<u8>),
    Append(Vec<u8>),
    AppendSlice(Vec<u8>),
    Chain(Vec<u8>),
    TrimFront(usize),
    Truncate(usize),
    SplitKeepRest(usize),
    Pullup(usize),
    Clone,
}

fn operation() -> impl Strategy<Value = Operation> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    prop_oneof![
        bytes(60).prop_map(Operation::Prepend),
        bytes(200).prop_map(Operation::Append),
        bytes(3000).prop_map(Operation::AppendSlice),
        bytes(400).prop_map(Operation::Chain),
        (0..400usize).prop_map(Operation::TrimFront),
        (0..4000usize).prop_map(Operation::Truncate),
        (0..1000usize).prop_map(Operation::SplitKeepRest),
        (0..300usize).prop_map(Operation::Pullup),
        Just(Operation::Clone),
    ]
}

proptest! {
    #[test]
    fn a_packet_is_its_bytes(operations in proptest::collection::vec(operation(), 0..40)) {
        let mut packet = Packet::new();
        let mut model: Vec<u8> = Vec::new();
        for op in operations {
            match op {
                Operation::Prepend(b) => {
                    packet.prepend(b.len()).copy_from_slice(&b);
                    model.splice(0..0, b);
                }
                Operation::Append(b) => { packet.append(&b); model.extend(b); }
                Operation::AppendSlice(b) => { packet.append_slice(Slice::copy_from(&b)); model.extend(b); }
                Operation::Chain(b) => { packet.chain_packet(Packet::copy_from(&b)); model.extend(b); }
                Operation::TrimFront(n) => { packet.trim_front(n); model.drain(..n.min(model.len())); }
                Operation::Truncate(n) => { packet.truncate(n); model.truncate(n); }
                Operation::SplitKeepRest(n) => {
                    let rest = packet.split(n);
                    let tail = model.split_off(n.min(model.len()));
                    prop_assert_eq!(packet.to_vec(), model);
                    packet = rest;
                    model = tail;
                }
                Operation::Pullup(n) => {
                    let head = packet.pullup(n).map(|h| h.to_vec());
                    let expected = (n <= model.len() && n <= HEAD).then(|| model[..n].to_vec());
                    prop_assert_eq!(head, expected);
                }
                Operation::Clone => packet = packet.clone(),
            }
            prop_assert_eq!(packet.len(), model.len());
            prop_assert_eq!(packet.to_vec(), model.clone());
            prop_assert_eq!(packet.sum(0, Default::default()).finish(), wireway_wire::checksum::checksum(&model));
            let mut out = vec![0; 100];
            let n = packet.copy_to(7, &mut out);
            prop_assert_eq!(&out[..n], model.get(7..).map_or(&[][..], |m| &m[..m.len().min(100)]));
        }
        let slices: Vec<u8> = packet.into_slices().flat_map(|s| s.to_vec()).collect();
        prop_assert_eq!(slices, model);
    }
}

#[test]
fn a_queue_is_bounded_and_in_order() {
    let mut queue = PacketQueue::new(2);
    assert!(queue.enqueue(Packet::copy_from(b"a")).is_ok());
    assert!(queue.enqueue(Packet::copy_from(b"bc")).is_ok());
    let refused = queue.enqueue(Packet::copy_from(b"d")).unwrap_err();
    assert_eq!(refused.to_vec(), b"d");
    assert_eq!((queue.len(), queue.bytes()), (2, 3));
    assert_eq!(queue.dequeue().unwrap().to_vec(), b"a");
    assert_eq!((queue.len(), queue.bytes()), (1, 2));
    assert_eq!(queue.clear(), 1);
    assert!(queue.dequeue().is_none());
}
