//! TCP's header, options and sequence numbers.

mod common;

use common::hex;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wireway_wire::tcp_options::{MAX_OPTIONS_LEN, TIMESTAMPS_LEN, emit_timestamps, timestamps_only};
use wireway_wire::zerocopy::IntoBytes;
use wireway_wire::{
    Ipv4View, Malformed, SackBlocks, SeqNumber, Sum, TcpFields, TcpFlags, TcpHeader, TcpOption, TcpOptionIter,
    TcpOptions, TcpView,
};

fn segment(frame: &[u8]) -> &[u8] {
    Ipv4View::parse(&frame[14..]).unwrap().1
}

fn emitted(options: &TcpOptions) -> Vec<u8> {
    let mut out = [0xee; MAX_OPTIONS_LEN];
    let len = options.emit(&mut out);
    assert_eq!(len, options.len());
    out[..len].to_vec()
}

#[test]
fn a_real_syn() {
    let frame = common::syn();
    let (tcp, payload) = TcpView::parse(segment(&frame)).unwrap();
    assert!(payload.is_empty());
    let fields = TcpFields {
        src_port: 0xebe6,
        dst_port: 80,
        seq: SeqNumber(0x4713_eba8),
        ack: SeqNumber(0),
        flags: TcpFlags::SYN,
        window: 0xfaf0,
        urgent: 0,
    };
    assert_eq!(tcp.header.fields(), fields);
    let options = TcpOptions::parse(tcp.options).unwrap();
    let want = TcpOptions {
        mss: Some(1460),
        window_scale: Some(10),
        sack_permitted: true,
        timestamps: Some((0xba32_070a, 0)),
        sack_blocks: SackBlocks::new(),
    };
    assert_eq!(options, want);
    // We send the same bytes.
    assert_eq!(emitted(&want), tcp.options);
    let mut built = TcpHeader::new(&fields, want.len());
    built.checksum = tcp.header.checksum;
    assert_eq!(built, *tcp.header);
}

#[test]
fn a_real_syn_without_timestamps() {
    let frame = common::syn_without_timestamps();
    let (tcp, _) = TcpView::parse(segment(&frame)).unwrap();
    let options = TcpOptions::parse(tcp.options).unwrap();
    assert_eq!(options.timestamps, None);
    assert!(options.sack_permitted);
    assert_eq!(emitted(&options), tcp.options);
}

#[test]
fn real_data_by_the_fast_path() {
    let frame = common::data();
    let (tcp, payload) = TcpView::parse(segment(&frame)).unwrap();
    assert_eq!(payload, b"hello");
    assert_eq!(tcp.header.flags(), TcpFlags::PSH | TcpFlags::ACK);
    assert_eq!(tcp.header.flags().to_string(), "P.");
    let timestamps = Some((0xaf35_5dc3, 0xba32_070b));
    assert_eq!(timestamps_only(tcp.options), timestamps);
    let options = TcpOptions::parse(tcp.options).unwrap();
    assert_eq!(options, TcpOptions { timestamps, ..TcpOptions::default() });
    let mut out = [0; TIMESTAMPS_LEN];
    emit_timestamps(&mut out, 0xaf35_5dc3, 0xba32_070b);
    assert_eq!(out, tcp.options);
    assert_eq!(emitted(&options), tcp.options);
}

#[test]
fn a_real_checksum() {
    let frame = common::last_ack();
    let (ip, segment) = Ipv4View::parse(&frame[14..]).unwrap();
    let mut sum = ip.header.pseudo(segment.len() as u32);
    sum.add_bytes(segment);
    assert!(sum.is_valid());
    // The device's share: the segment over a field that holds the pseudo header's sum.
    let frame = common::syn();
    let (ip, segment) = Ipv4View::parse(&frame[14..]).unwrap();
    let (tcp, _) = TcpView::parse(segment).unwrap();
    assert_eq!(tcp.header.checksum.get(), ip.header.pseudo(40).fold());
    let complete = Sum::of(segment).finish();
    let mut done = segment.to_vec();
    done[16..18].copy_from_slice(&complete.to_be_bytes());
    let mut sum = ip.header.pseudo(40);
    sum.add_bytes(&done);
    assert!(sum.is_valid());
}

#[test]
fn lying_data_offsets() {
    let frame = common::syn();
    let good = segment(&frame);
    let with = |offset: u8| {
        let mut bytes = good.to_vec();
        bytes[12] = offset << 4;
        TcpView::parse(&bytes).map(|(tcp, payload)| (tcp.options.len(), payload.len()))
    };
    for offset in 0..5 {
        assert_eq!(with(offset), Err(Malformed::BadHeaderLength));
    }
    assert_eq!(with(5), Ok((0, 20)));
    assert_eq!(with(10), Ok((20, 0)));
    assert_eq!(with(11), Err(Malformed::Truncated));
    assert_eq!(with(15), Err(Malformed::Truncated));
    for len in 0..20 {
        assert_eq!(TcpView::parse(&good[..len]).map(|_| ()), Err(Malformed::Truncated));
    }
}

#[test]
fn flags() {
    let mut header = TcpHeader::new(&TcpFields { flags: TcpFlags::all(), ..any_header() }, 0);
    assert_eq!(header.as_bytes()[12..14], [0x51, 0xff]);
    assert_eq!(header.flags().to_string(), "FSRP.UEWe");
    header.set_flags(TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR);
    assert_eq!(header.as_bytes()[12..14], [0x50, 0xc2]);
    assert_eq!(TcpFlags::empty().to_string(), "none");
    assert_eq!((header.seq() + 1, header.header_len()), (SeqNumber(0), 20));
}

fn any_header() -> TcpFields {
    TcpFields {
        src_port: 1,
        dst_port: 2,
        seq: SeqNumber(u32::MAX),
        ack: SeqNumber(7),
        flags: TcpFlags::empty(),
        window: 3,
        urgent: 4,
    }
}

/// RFC 9293 §3.1, MUST-7.
#[test]
fn lying_option_lengths() {
    for lie in ["0200", "0201", "0204", "020405", "020405b403", "010108", "05ff000000000000", "fd00", "fd03"] {
        let bytes = hex(lie);
        assert_eq!(TcpOptions::parse(&bytes), Err(Malformed::BadOption), "{lie}");
        let mut options = TcpOptionIter::new(&bytes);
        assert!(options.any(|option| option == Err(Malformed::BadOption)));
        assert_eq!(options.next(), None);
    }
    // What follows the end is not looked at.
    assert_eq!(TcpOptions::parse(&hex("010101000200")), Ok(TcpOptions::default()));
}

/// A length that is possible, but not for this option: we pass over it, as Linux does.
#[test]
fn options_of_unknown_kinds_and_odd_lengths() {
    let bytes = hex("0203050304000004030008030005060000000005020f04abcd020405b40002");
    let options = TcpOptions::parse(&bytes).unwrap();
    assert_eq!(options, TcpOptions { mss: Some(1460), ..TcpOptions::default() });
    let hex_0f = [0xab, 0xcd];
    assert!(TcpOptionIter::new(&bytes).any(|o| o == Ok(TcpOption::Other { kind: 15, data: &hex_0f })));
}

#[test]
fn sack_blocks() {
    let block = |i: u32| (SeqNumber(i * 100), SeqNumber(i * 100 + 50));
    let mut options = TcpOptions { timestamps: Some((1, 2)), ..TcpOptions::default() };
    for i in 0..4 {
        assert!(options.sack_blocks.push(block(i).0, block(i).1));
    }
    assert!(!options.sack_blocks.push(SeqNumber(0), SeqNumber(1)));
    // Three fit beside timestamps.
    let bytes = emitted(&options);
    assert_eq!(bytes[..16], hex("0101080a00000001000000020101051a")[..]);
    assert_eq!(bytes.len(), 40);
    let parsed = TcpOptions::parse(&bytes).unwrap();
    assert_eq!(parsed.timestamps, options.timestamps);
    assert_eq!(parsed.sack_blocks[..], [block(0), block(1), block(2)]);
    // All four fit alone.
    options.timestamps = None;
    assert_eq!(options.len(), 36);
    assert_eq!(TcpOptions::parse(&emitted(&options)), Ok(options));
    options.sack_blocks.truncate(1);
    assert_eq!(emitted(&options).len(), 12);
    // Two fit beside all that a SYN carries.
    let full = TcpOptions {
        mss: Some(1),
        window_scale: Some(2),
        sack_permitted: true,
        timestamps: Some((3, 4)),
        sack_blocks: parsed.sack_blocks,
    };
    assert_eq!(TcpOptions::parse(&emitted(&full)).unwrap().sack_blocks[..], [block(0), block(1)]);
}

#[test]
fn no_room_to_emit() {
    let options = TcpOptions { mss: Some(1460), timestamps: Some((1, 2)), ..TcpOptions::default() };
    let mut out = [0xee; 15];
    assert_eq!(options.emit(&mut out), 0);
    assert_eq!(out, [0xee; 15]);
    assert!(TcpOptions::default().is_empty());
}

#[test]
fn sequence_numbers_wrap() {
    let end = SeqNumber(u32::MAX);
    let start = SeqNumber(0);
    assert!(end.lt(start) && start.gt(end) && end.leq(end) && end.geq(end) && !end.lt(end));
    assert_eq!(end + 1, start);
    assert_eq!(start - 1, end);
    assert_eq!(start - end, 1);
    assert_eq!(end - start, -1);
    assert_eq!(end.max(start), start);
    assert_eq!(end.min(start), end);
    assert!(start.in_window(end, 2) && !SeqNumber(1).in_window(end, 2) && !end.in_window(end, 0));
    assert_eq!(SeqNumber(5).distance_from(end), 6);
}

prop_compose! {
    fn any_options()(
        mss in option::of(any::<u16>()), window_scale in option::of(any::<u8>()), sack_permitted: bool,
        timestamps in option::of(any::<(u32, u32)>()), blocks in vec(any::<(u32, u32)>(), 0..5),
    ) -> TcpOptions {
        let mut sack_blocks = SackBlocks::new();
        for (left, right) in blocks {
            sack_blocks.push(SeqNumber(left), SeqNumber(right));
        }
        TcpOptions { mss, window_scale, sack_permitted, timestamps, sack_blocks }
    }
}

proptest! {
    #[test]
    fn options_round_trip(options in any_options()) {
        let bytes = emitted(&options);
        prop_assert!(bytes.len() <= MAX_OPTIONS_LEN && bytes.len().is_multiple_of(4));
        let parsed = TcpOptions::parse(&bytes).unwrap();
        let mut want = options;
        want.sack_blocks.truncate(parsed.sack_blocks.len());
        prop_assert_eq!(parsed, want);
        let all_fit = parsed.sack_blocks.len() == options.sack_blocks.len();
        prop_assert!(all_fit || bytes.len() + 8 > MAX_OPTIONS_LEN);
    }

    #[test]
    fn options_of_any_bytes(bytes in vec(any::<u8>(), 0..60)) {
        let by_iterator = TcpOptionIter::new(&bytes).all(|option| option.is_ok());
        prop_assert_eq!(TcpOptions::parse(&bytes).is_ok(), by_iterator);
    }

    /// Bytes near to what is valid reach further than any bytes.
    #[test]
    fn options_with_a_changed_byte(options in any_options(), at in 0usize..40, value: u8) {
        let mut bytes = emitted(&options);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = TcpOptions::parse(&bytes);
    }

    /// The layouts that are read at once mean what they do one option at a time, and so does what is nearly one of them.
    #[test]
    fn usual_layouts_are_read_as_any_other(
        options in any_options(), linux_syn: bool, changes in vec((0usize..20, any::<u8>()), 0..3), cut in 0usize..41,
    ) {
        let TcpOptions { mss, window_scale, timestamps, .. } = options;
        let linux = TcpOptions {
            mss: Some(mss.unwrap_or(1460)),
            window_scale: Some(window_scale.unwrap_or(7)),
            sack_permitted: true,
            timestamps: Some(timestamps.unwrap_or((1, 0))),
            ..TcpOptions::default()
        };
        let mut bytes = emitted(if linux_syn { &linux } else { &options });
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(cut);
        let mut one_by_one = TcpOptions::default();
        let mut lie = None;
        for option in TcpOptionIter::new(&bytes) {
            match option {
                Ok(TcpOption::MaximumSegmentSize(mss)) => one_by_one.mss = Some(mss),
                Ok(TcpOption::WindowScale(shift)) => one_by_one.window_scale = Some(shift),
                Ok(TcpOption::SackPermitted) => one_by_one.sack_permitted = true,
                Ok(TcpOption::Sack(blocks)) => one_by_one.sack_blocks = blocks,
                Ok(TcpOption::Timestamps(value, echo)) => one_by_one.timestamps = Some((value, echo)),
                Ok(TcpOption::Other { .. }) => {}
                Err(error) => lie = Some(error),
            }
        }
        prop_assert_eq!(TcpOptions::parse_prefix(&bytes), one_by_one);
        prop_assert_eq!(TcpOptions::parse(&bytes), lie.map_or(Ok(one_by_one), Err));
        if let Some(timestamps) = timestamps_only(&bytes) {
            prop_assert_eq!(one_by_one, TcpOptions { timestamps: Some(timestamps), ..TcpOptions::default() });
        }
    }

    #[test]
    fn header_round_trip(
        ports: (u16, u16), seq: u32, ack: u32, flags in 0u16..512, window: u16, urgent: u16,
        words in 0usize..11, payload in vec(any::<u8>(), 0..50),
    ) {
        let fields = TcpFields {
            src_port: ports.0, dst_port: ports.1, seq: SeqNumber(seq), ack: SeqNumber(ack),
            flags: TcpFlags::from_bits_retain(flags), window, urgent,
        };
        let options = vec![1; words * 4];
        let header = TcpHeader::new(&fields, options.len());
        let bytes = [header.as_bytes(), &options, &payload].concat();
        let (view, rest) = TcpView::parse(&bytes).unwrap();
        prop_assert_eq!(view.header.fields(), fields);
        prop_assert_eq!(view.options, &options[..]);
        prop_assert_eq!(rest, &payload[..]);
        prop_assert!(TcpView::parse_head(&bytes[..20 + options.len()]).is_ok());
    }

    #[test]
    fn order_is_that_of_small_steps(start: u32, steps in 1u32..0x8000_0000) {
        let a = SeqNumber(start);
        let b = a + steps;
        prop_assert!(a.lt(b) && a.leq(b) && b.gt(a) && b.geq(a) && !b.leq(a));
        prop_assert_eq!((b - a, b - steps, b.distance_from(a)), (steps as i32, a, steps));
        prop_assert!(!b.in_window(a, steps) && b.in_window(a, steps + 1));
    }
}
