//! The seccomp filter that every attached program runs under.
//!
//! The filter is the boundary: it is inherited by every descendant, cannot be taken off, and binds root and ordinary users alike.
//! A system call is judged by its number and its register arguments only, so nothing a program does with its memory can change the
//! verdict. There are four verdicts:
//!
//! * *allow*: everything that does not concern the network, and the data calls (`read`, `write`, `poll`, `sendto` without an address …),
//!   which the kernel carries out on the AF_UNIX pair that stands for a socket;
//! * *notify*: the calls that the engine answers;
//! * *refuse*: ways round the filter. io_uring carries out socket calls that no filter sees; x32 and i386 reach the same sockets by other
//!   numbers; `pidfd_getfd` takes a kernel socket out of another process. They answer ENOSYS (EPERM for the last), on which programs
//!   fall back to plain calls;
//! * *pretend*: `prctl(PR_SET_DUMPABLE, 0)` answers 0 and does nothing, because the engine cannot read a process that is not dumpable.
//!
//! Classic BPF has forward jumps only, eight bits wide when they are conditional. Every system call is therefore one block, "if the
//! number is not mine, skip me", that ends in a return; no labels are needed. The calls that stay native but have to be looked at come
//! first. (The `seccompiler` crate would be the library for this, but it has neither the notify action nor a policy per ABI.)

use crate::sys::Instruction;

// Instruction codes of classic BPF (linux/filter.h).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

// linux/audit.h
const ARCH_X86_64: u32 = 0xC000_003E;
const ARCH_I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

/// Flags that an AF_UNIX pair reads exactly as TCP and UDP do when sending.
pub const NATIVE_SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Flags that an AF_UNIX pair reads exactly as TCP and UDP do when receiving.
pub const NATIVE_RECEIVE_FLAGS: i32 =
    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_PEEK | libc::MSG_WAITALL | libc::MSG_CMSG_CLOEXEC;

/// Numbers of descriptors on which sending is notified: a raw or ping socket gets one of these. On the pair that stands for it a native
/// `send` would return the pending error, which on Linux a raw socket's does not.
pub const NOTIFIED_SENDERS: std::ops::Range<i32> = 1000..1024;

/// System calls that are notified whatever their arguments are.
const ALWAYS: [i64; 14] = [
    libc::SYS_connect,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
];

/// io_uring_setup, io_uring_enter, io_uring_register: the same numbers in every ABI.
const IO_URING: [u32; 3] = [425, 426, 427];
/// pidfd_getfd: the same number in every ABI.
const PIDFD_GETFD: u32 = 438;

/// The first and last ioctl request of the socket families.
pub const SOCKET_IOCTLS: (u32, u32) = (0x8900, 0x89ff);

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn load(offset: u32) -> Instruction {
    insn(LOAD, 0, 0, offset)
}

fn load_number() -> Instruction {
    load(0)
}

fn load_arch() -> Instruction {
    load(4)
}

/// Loads the low half of an argument (the whole of an `int`, as the kernel reads it).
fn load_argument(index: u32) -> Instruction {
    load(16 + 8 * index)
}

fn load_argument_high(index: u32) -> Instruction {
    load(20 + 8 * index)
}

fn jump(distance: u32) -> Instruction {
    insn(JUMP, 0, 0, distance)
}

fn jump_equal(k: u32, jt: u8, jf: u8) -> Instruction {
    insn(JUMP_EQUAL, jt, jf, k)
}

fn jump_any_bit(k: u32, jt: u8, jf: u8) -> Instruction {
    insn(JUMP_ANY_BIT, jt, jf, k)
}

fn jump_at_least(k: u32, jt: u8, jf: u8) -> Instruction {
    insn(JUMP_GREATER_OR_EQUAL, jt, jf, k)
}

fn answer(k: u32) -> Instruction {
    insn(RETURN, 0, 0, k)
}

fn errno(e: i32) -> Instruction {
    answer(libc::SECCOMP_RET_ERRNO | e as u32)
}

/// Appends "if the loaded number is `number`, then `body`", where `body` ends in a return and keeps no jump beyond itself.
fn on(program: &mut Vec<Instruction>, number: u32, body: &[Instruction]) {
    program.push(jump_equal(number, 0, body.len() as u8));
    program.extend_from_slice(body);
}

/// `sendto` and `recvfrom`: native unless there is an address (argument 4) or a flag that AF_UNIX would misread.
fn addressed_block(native_flags: i32) -> [Instruction; 8] {
    [
        load_argument(4),
        jump_equal(0, 0, 5),
        load_argument_high(4),
        jump_equal(0, 0, 3),
        load_argument(3),
        jump_any_bit(!native_flags as u32, 1, 0),
        answer(ALLOW),
        answer(NOTIFY),
    ]
}

/// `sendto`: as above, but notified on descriptors of these numbers.
fn send_block() -> Vec<Instruction> {
    let mut block = vec![
        load_argument(0),
        jump_at_least(NOTIFIED_SENDERS.end as u32, 2, 0),
        jump_at_least(NOTIFIED_SENDERS.start as u32, 0, 1),
        answer(NOTIFY),
    ];
    block.extend(addressed_block(NATIVE_SEND_FLAGS));
    block
}

/// `ioctl`: only the requests that concern sockets, and the two byte counts that sockets share with terminals.
fn ioctl_block() -> [Instruction; 7] {
    [
        load_argument(1),
        jump_equal(libc::FIONREAD as u32, 4, 0),
        jump_equal(libc::TIOCOUTQ as u32, 3, 0),
        jump_at_least(SOCKET_IOCTLS.0, 0, 1),
        jump_at_least(SOCKET_IOCTLS.1 + 1, 0, 1),
        answer(ALLOW),
        answer(NOTIFY),
    ]
}

/// `socket`: AF_UNIX and AF_ALG do not reach a network; the families of the host are notified; no other family exists.
fn socket_block() -> [Instruction; 10] {
    [
        load_argument(0),
        jump_equal(libc::AF_UNIX as u32, 5, 0),
        jump_equal(libc::AF_ALG as u32, 4, 0),
        jump_equal(libc::AF_INET as u32, 4, 0),
        jump_equal(libc::AF_INET6 as u32, 3, 0),
        jump_equal(libc::AF_NETLINK as u32, 2, 0),
        jump_equal(libc::AF_PACKET as u32, 1, 2),
        answer(ALLOW),
        answer(NOTIFY),
        errno(libc::EAFNOSUPPORT),
    ]
}

/// `prctl(PR_SET_DUMPABLE, 0)` answers 0 without being done.
fn prctl_block() -> [Instruction; 8] {
    [
        load_argument(0),
        jump_equal(libc::PR_SET_DUMPABLE as u32, 0, 5),
        load_argument(1),
        jump_equal(0, 0, 3),
        load_argument_high(1),
        jump_equal(0, 0, 1),
        errno(0),
        answer(ALLOW),
    ]
}

/// Builds the filter for this machine's ABI and the ones that the same kernel also runs.
pub fn program() -> Vec<Instruction> {
    let mut native = vec![load_number(), jump_at_least(X32_BIT, 0, 1), errno(libc::ENOSYS)];
    on(&mut native, libc::SYS_sendto as u32, &send_block());
    on(&mut native, libc::SYS_recvfrom as u32, &addressed_block(NATIVE_RECEIVE_FLAGS));
    on(&mut native, libc::SYS_ioctl as u32, &ioctl_block());
    on(&mut native, libc::SYS_socket as u32, &socket_block());
    for number in ALWAYS {
        on(&mut native, number as u32, &[answer(NOTIFY)]);
    }
    on(&mut native, libc::SYS_prctl as u32, &prctl_block());
    refuse_ways_round(&mut native);
    native.push(answer(ALLOW));

    let mut compat = vec![load_number()];
    // socketcall, recvmmsg, sendmmsg, and socket … shutdown as calls of their own.
    for number in [102, 337, 345].into_iter().chain(359..=373) {
        on(&mut compat, number, &[errno(libc::ENOSYS)]);
    }
    on(&mut compat, 172, &prctl_block());
    refuse_ways_round(&mut compat);
    compat.push(answer(ALLOW));

    // The two policies are longer than a conditional jump reaches, so each has a landing of its own: an unconditional jump.
    let mut whole = vec![
        load_arch(),
        jump_equal(ARCH_X86_64, 2, 0),
        jump_equal(ARCH_I386, 2, 0),
        errno(libc::ENOSYS),
        jump(1),
        jump(native.len() as u32),
    ];
    whole.extend(native);
    whole.extend(compat);
    whole
}

fn refuse_ways_round(program: &mut Vec<Instruction>) {
    for number in IO_URING {
        on(program, number, &[errno(libc::ENOSYS)]);
    }
    on(program, PIDFD_GETFD, &[errno(libc::EPERM)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer: a classic BPF machine with the five instructions the filter uses.
    fn run(arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0u32; 16];
        data[0] = number;
        data[1] = arch;
        for (i, argument) in arguments.iter().enumerate() {
            data[4 + 2 * i] = *argument as u32;
            data[5 + 2 * i] = (*argument >> 32) as u32;
        }
        let program = program();
        assert!(program.len() <= 4096);
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let i = program[at];
            at += 1;
            let jump = |taken: bool| if taken { i.jt as usize } else { i.jf as usize };
            match i.code {
                LOAD => a = data[(i.k / 4) as usize],
                JUMP => at += i.k as usize,
                JUMP_EQUAL => at += jump(a == i.k),
                JUMP_GREATER_OR_EQUAL => at += jump(a >= i.k),
                JUMP_ANY_BIT => at += jump(a & i.k != 0),
                RETURN => return i.k,
                other => panic!("code {other:#x}"),
            }
        }
    }

    fn native(number: i64, arguments: [u64; 6]) -> u32 {
        run(ARCH_X86_64, number as u32, arguments)
    }

    fn refused(e: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | e as u32
    }

    #[test]
    fn sockets_of_the_host_are_notified_and_local_ones_are_not() {
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET] {
            assert_eq!(native(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0]), NOTIFY);
            // An int's upper half is not read by the kernel, so it must not fool the filter.
            assert_eq!(native(libc::SYS_socket, [family as u64 | 7 << 32, 1, 0, 0, 0, 0]), NOTIFY);
        }
        for family in [libc::AF_UNIX, libc::AF_ALG] {
            assert_eq!(native(libc::SYS_socket, [family as u64, 1, 0, 0, 0, 0]), ALLOW);
        }
        for family in [libc::AF_VSOCK, libc::AF_XDP, libc::AF_BLUETOOTH, libc::AF_TIPC, 43, 0, -1] {
            assert_eq!(native(libc::SYS_socket, [family as u32 as u64, 1, 0, 0, 0, 0]), refused(libc::EAFNOSUPPORT));
        }
    }

    #[test]
    fn data_calls_stay_native_unless_addressed_or_flagged() {
        for (number, flags) in [(libc::SYS_sendto, NATIVE_SEND_FLAGS), (libc::SYS_recvfrom, NATIVE_RECEIVE_FLAGS)] {
            assert_eq!(native(number, [3, 1, 1, 0, 0, 0]), ALLOW);
            assert_eq!(native(number, [3, 1, 1, flags as u64, 0, 0]), ALLOW);
            assert_eq!(native(number, [3, 1, 1, 0, 4096, 16]), NOTIFY);
            assert_eq!(native(number, [3, 1, 1, 0, 1 << 40, 16]), NOTIFY);
            for odd in [
                libc::MSG_OOB,
                libc::MSG_TRUNC,
                libc::MSG_MORE,
                libc::MSG_FASTOPEN,
                libc::MSG_ZEROCOPY,
                libc::MSG_ERRQUEUE,
            ] {
                assert_eq!(native(number, [3, 1, 1, odd as u32 as u64, 0, 0]), NOTIFY);
            }
        }
        for number in
            [libc::SYS_read, libc::SYS_write, libc::SYS_poll, libc::SYS_close, libc::SYS_sendfile, libc::SYS_fcntl]
        {
            assert_eq!(native(number, [3, 0x8910, 0, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn sending_is_notified_on_the_numbers_of_raw_sockets() {
        for (fd, verdict) in [(999, ALLOW), (1000, NOTIFY), (1023, NOTIFY), (1024, ALLOW), (-1, ALLOW)] {
            assert_eq!(native(libc::SYS_sendto, [fd as u32 as u64, 1, 1, 0, 0, 0]), verdict, "{fd}");
            assert_eq!(native(libc::SYS_recvfrom, [fd as u32 as u64, 1, 1, 0, 0, 0]), ALLOW, "{fd}");
        }
    }

    #[test]
    fn ioctl_is_notified_only_for_sockets() {
        for request in [0x8900u64, 0x8912, 0x89ff, libc::FIONREAD, libc::TIOCOUTQ] {
            assert_eq!(native(libc::SYS_ioctl, [3, request, 0, 0, 0, 0]), NOTIFY, "{request:#x}");
        }
        for request in [libc::TCGETS, libc::FIONBIO, libc::TIOCGWINSZ, 0x88ff, 0x8a00, 0xc020_6911] {
            assert_eq!(native(libc::SYS_ioctl, [3, request, 0, 0, 0, 0]), ALLOW, "{request:#x}");
        }
    }

    #[test]
    fn ways_round_are_refused_in_every_abi() {
        for arch in [ARCH_X86_64, ARCH_I386] {
            for number in IO_URING {
                assert_eq!(run(arch, number, [0; 6]), refused(libc::ENOSYS));
            }
            assert_eq!(run(arch, PIDFD_GETFD, [0; 6]), refused(libc::EPERM));
        }
        for number in [102, 337, 345, 359, 362, 373] {
            assert_eq!(run(ARCH_I386, number, [2, 1, 0, 0, 0, 0]), refused(libc::ENOSYS));
        }
        // i386 itself works: read, write, exit.
        for number in [1, 3, 4] {
            assert_eq!(run(ARCH_I386, number, [0; 6]), ALLOW);
        }
        for number in [41u32, 42, 0, 538] {
            assert_eq!(run(ARCH_X86_64, number | X32_BIT, [2, 1, 0, 0, 0, 0]), refused(libc::ENOSYS));
        }
        assert_eq!(run(0xC000_00B7, 198, [2, 1, 0, 0, 0, 0]), refused(libc::ENOSYS));
    }

    #[test]
    fn every_listed_call_is_notified() {
        for number in ALWAYS {
            assert_eq!(native(number, [0; 6]), NOTIFY);
        }
    }

    #[test]
    fn dumpable_zero_is_pretended() {
        let set = libc::PR_SET_DUMPABLE as u64;
        assert_eq!(native(libc::SYS_prctl, [set, 0, 0, 0, 0, 0]), refused(0));
        assert_eq!(native(libc::SYS_prctl, [set, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_prctl, [set, 1 << 32, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_prctl, [15, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(run(ARCH_I386, 172, [set, 0, 0, 0, 0, 0]), refused(0));
    }
}
