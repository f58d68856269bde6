//! Frames that a Linux 6.18 sent over a veth pair, captured before checksum offload: a segment whose checksum
//! was left to the device holds the sum of its pseudo header.

/// The bytes that hexadecimal digits stand for.
pub fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident = $digits:expr;)*) => {
        $($(#[$doc])* #[allow(dead_code)] pub fn $name() -> Vec<u8> { hex($digits) })*
    };
}

pub mod v6;

frames! {
    /// "Who has 10.9.0.2? Tell 10.9.0.1."
    arp_request = "ffffffffffff020000000001080600010800060400010200000000010a0900010000000000000a090002";
    /// The answer to it.
    arp_reply = "020000000001020000000002080600010800060400020200000000020a0900020200000000010a090001";
    /// A SYN, checksum left to the device.
    syn = "02000000000202000000000108004500003cebc3400040063ae40a0900010a090002ebe600504713eba800000000a002faf014430000020405b40402080aba32070a000000000103030a";
    /// The SYN of a host with timestamps off.
    syn_without_timestamps = "02000000000202000000000108004500003490bd4000400695f20a0900010a090002bcae005007913886000000008002faf0143b0000020405b4010104020103030a";
    /// Five bytes of data with PSH, checksum left to the device.
    data = "0200000000010200000000020800450000394d6340004006d9470a0900020a0900010050ebe6c18f6c764713eba980180040144000000101080aaf355dc3ba32070b68656c6c6f";
    /// The last ACK of a connection, its checksum complete.
    last_ack = "02000000000202000000000108004500002800004000400626bc0a0900010a090002bcae005007913888c8ee04095010003fd1710000";
    /// "dns?" to a closed port, checksum left to the device.
    udp = "0200000000020200000000010800450000206b1640004011bba20a0900010a090002a8d00035000c1432646e733f";
    /// "Port unreachable", which quotes that datagram.
    port_unreachable = "020000000001020000000002080045c0003ca33d00004001c2af0a0900020a0900010303680b00000000450000206b1640004011bba20a0900010a090002a8d00035000c1432646e733f";
    /// An echo request with 16 bytes.
    echo_request = "02000000000202000000000108004500002c7a3340004001ac890a0900010a0900020800d40a21ac00019656026b000000006586040000000000";
    /// The reply to it.
    echo_reply = "02000000000102000000000208004500002ca33f00004001c37d0a0900020a0900010000dc0a21ac00019656026b000000006586040000000000";
}
