//! The system calls that no safe library offers: fork and exec, seccomp and its listener, another process's memory.
//!
//! All of this crate's `unsafe` is here. Each function is a thin wrapper that turns -1 into an errno.

use std::ffi::CStr;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// One instruction of a seccomp filter, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A notification, as the kernel's `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RawNotification {
    /// Names the blocked call until it is answered or interrupted.
    pub id: u64,
    /// Thread id of the caller.
    pub pid: u32,
    /// Always 0.
    pub flags: u32,
    /// System call number.
    pub number: i32,
    /// AUDIT_ARCH of the call.
    pub arch: u32,
    /// Where the caller is.
    pub instruction_pointer: u64,
    /// The registers.
    pub arguments: [u64; 6],
}

#[repr(C)]
struct RawAnswer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct RawAddFd {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(value: i64) -> Result<i64, Errno> {
    if value < 0 { Err(last_error()) } else { Ok(value) }
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The caller; the child's process id.
    Parent(i32),
}

/// Forks.
///
/// # Safety
/// If the process has threads, the child may call only async-signal-safe functions until it execs: no allocation, no locks.
pub unsafe fn fork() -> Result<Fork, Errno> {
    // SAFETY: the caller keeps the child's obligations.
    match check(unsafe { libc::fork() } as i64)? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Ends this process at once, running no destructors.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(status) }
}

/// A null-terminated array of C strings, made before a fork so that the child need not allocate.
pub struct StringArray {
    pointers: Vec<*const libc::c_char>,
    _strings: Vec<std::ffi::CString>,
}

impl StringArray {
    /// Takes the strings.
    pub fn new(strings: Vec<std::ffi::CString>) -> StringArray {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        StringArray { pointers, _strings: strings }
    }
}

/// Replaces this process by `path`; returns only when that failed.
pub fn exec(path: &CStr, arguments: &StringArray, environment: &StringArray) -> Errno {
    // SAFETY: both arrays end in a null pointer and own the strings they point to (StringArray::new).
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_error()
}

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// Every signal.
    pub fn all() -> SignalSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the set it is given.
        SignalSet(unsafe {
            libc::sigfillset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// The signals listed.
    pub fn of(signals: &[i32]) -> SignalSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set it is given; sigaddset ignores a number that is not a signal.
        SignalSet(unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            set.assume_init()
        })
    }

    /// Blocks these signals in this thread as well; returns the mask that was in force.
    pub fn block(&self) -> SignalSet {
        self.change(libc::SIG_BLOCK)
    }

    /// Makes this the thread's signal mask; returns the mask that was in force.
    pub fn install(&self) -> SignalSet {
        self.change(libc::SIG_SETMASK)
    }

    fn change(&self, how: i32) -> SignalSet {
        let mut old = SignalSet::of(&[]);
        // SAFETY: both sets are initialised and outlive the call, which cannot fail with a valid `how`.
        unsafe { libc::pthread_sigmask(how, &self.0, &mut old.0) };
        old
    }

    /// A descriptor from which these signals are read (they must be blocked).
    pub fn descriptor(&self) -> Result<OwnedFd, Errno> {
        // SAFETY: -1 asks for a new descriptor; the set is initialised.
        let fd = check(unsafe { libc::signalfd(-1, &self.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) } as i64)?;
        // SAFETY: signalfd returned a new descriptor that nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

/// A signal read from a descriptor of [`SignalSet::descriptor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Signal number.
    pub signal: i32,
    /// True when the kernel sent it (a terminal key, a hang-up), false when a process did.
    pub from_kernel: bool,
}

/// Reads one signal, or `None` when there is none.
pub fn read_signal(fd: BorrowedFd<'_>) -> Option<Received> {
    const SI_KERNEL: u32 = 0x80;
    let mut raw = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut raw) {
        Ok(n) if n == raw.len() => {
            let word = |at: usize| u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
            // ssi_signo, ssi_errno, ssi_code.
            Some(Received { signal: word(0) as i32, from_kernel: word(8) == SI_KERNEL })
        }
        _ => None,
    }
}

/// Sets a signal's disposition back to the default.
pub fn default_disposition(signal: i32) {
    // SAFETY: SIG_DFL is a valid handler for any signal; a wrong number is an error that changes nothing.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Installs `filter` on this thread and returns the number of its listener, which the kernel makes close-on-exec.
pub fn install_filter(filter: &[Instruction]) -> Result<RawFd, Errno> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr() as *mut libc::sock_filter };
    // SAFETY: `program` points to `len` instructions laid out as sock_filter, which the kernel only reads.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &program,
        )
    })?;
    Ok(fd as RawFd)
}

/// Takes the next notification. ENOENT: the caller was interrupted in between; EAGAIN does not exist, so poll first.
pub fn receive_notification(listener: BorrowedFd<'_>) -> Result<RawNotification, Errno> {
    let mut notification = RawNotification::default();
    // SAFETY: the ioctl fills a struct seccomp_notif, which RawNotification is; the kernel wants it zeroed, as it is.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &mut notification) } as i64)?;
    Ok(notification)
}

/// Answers a notification. ENOENT: the caller is no longer waiting.
pub fn send_answer(listener: BorrowedFd<'_>, id: u64, value: i64, error: i32, go_on: bool) -> Result<(), Errno> {
    let flags = if go_on { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let answer = RawAnswer { id, value, error, flags };
    // SAFETY: the ioctl reads a struct seccomp_notif_resp, which RawAnswer is.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &answer) } as i64)?;
    Ok(())
}

/// Whether the caller of `id` is still waiting.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the ioctl reads one u64.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0 }
}

/// Where a descriptor handed to a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The lowest free number, which is also the answer to the call.
    Answer,
    /// The lowest free number.
    Any,
    /// This number, closing what it was.
    Exactly(i32),
}

/// Puts a duplicate of `source` among the caller's descriptors; returns its number there.
pub fn add_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    source: BorrowedFd<'_>,
    target: Target,
    close_on_exec: bool,
) -> Result<i32, Errno> {
    let (flags, number) = match target {
        Target::Answer => (libc::SECCOMP_ADDFD_FLAG_SEND as u32, 0),
        Target::Any => (0, 0),
        Target::Exactly(number) => (libc::SECCOMP_ADDFD_FLAG_SETFD as u32, number as u32),
    };
    let request = RawAddFd {
        id,
        flags,
        source: source.as_raw_fd() as u32,
        target: number,
        target_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
    };
    // SAFETY: the ioctl reads a struct seccomp_notif_addfd, which RawAddFd is.
    let number = check(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &request) } as i64)?;
    Ok(number as i32)
}

/// Asks that an answer wakes the caller on this core (Linux 6.6); not having it only costs time.
pub fn wake_synchronously(listener: BorrowedFd<'_>) {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: the ioctl takes its flags by value.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
}

/// Opens a descriptor for a thread or process. `flags` are those of pidfd_open.
pub fn open_pidfd(pid: u32, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes two integers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) })?;
    // SAFETY: the call returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether `thread` is a live thread of process `group`.
pub fn is_thread_of(group: u32, thread: u32) -> bool {
    // SAFETY: signal 0 only checks.
    unsafe { libc::syscall(libc::SYS_tgkill, group, thread, 0) == 0 }
}

/// Copies another process's memory at `address` to `into`; returns how much could be read.
pub fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: `local` is a buffer this function borrows mutably; the remote address is not dereferenced here.
    let n = check(unsafe { libc::process_vm_readv(pid as i32, &local, 1, &remote, 1, 0) } as i64)?;
    Ok(n as usize)
}

/// Copies `from` to another process's memory; returns how much could be written.
pub fn write_memory(pid: u32, address: u64, from: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: from.as_ptr() as *mut libc::c_void, iov_len: from.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: from.len() };
    // SAFETY: the kernel only reads `local`; the remote address is not dereferenced here.
    let n = check(unsafe { libc::process_vm_writev(pid as i32, &local, 1, &remote, 1, 0) } as i64)?;
    Ok(n as usize)
}

/// A socket option as raw bytes; returns how many of `value` were filled.
pub fn get_option(fd: impl AsFd, level: i32, name: i32, value: &mut [u8]) -> Result<usize, Errno> {
    let mut length = value.len() as libc::socklen_t;
    let (pointer, fd) = (value.as_mut_ptr().cast(), fd.as_fd().as_raw_fd());
    // SAFETY: the pointer and length describe `value`.
    check(unsafe { libc::getsockopt(fd, level, name, pointer, &mut length) } as i64)?;
    Ok((length as usize).min(value.len()))
}

/// Sets a socket option from raw bytes.
pub fn set_option(fd: impl AsFd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the pointer and length describe `value`.
    check(unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, value.as_ptr().cast(), value.len() as libc::socklen_t)
    } as i64)?;
    Ok(())
}

/// An ioctl that stores one int.
pub fn ioctl_int(fd: impl AsFd, request: libc::Ioctl) -> Result<i32, Errno> {
    let mut value: libc::c_int = 0;
    // SAFETY: used for requests that store one int only (FIONREAD, TIOCOUTQ).
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &mut value) } as i64)?;
    Ok(value)
}

/// Closes every descriptor from `first` up.
pub fn close_from(first: u32) {
    // SAFETY: the caller, a process that is left with the descriptors below `first`, owns no other any more.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Makes `number` another name of `fd`; what it named before is closed, and has to be nobody's.
pub fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: by the rule above no owner of `number` is left.
    match unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// One of the three standard descriptors, or the guardian's fourth, by number.
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    debug_assert!((0..4).contains(&number));
    // SAFETY: these are never closed by this crate; were one not open, calls on it answer EBADF.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Lends a descriptor that is known by number only.
pub fn with_descriptor<R>(number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
    // SAFETY: the loan ends with this call; were the number not open, or closed meanwhile, calls on it answer EBADF.
    look(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Takes the pending error of a socket (SO_ERROR); 0 for none.
pub fn pending_error(fd: impl AsFd) -> i32 {
    let mut value = [0; 4];
    match get_option(fd, libc::SOL_SOCKET, libc::SO_ERROR, &mut value) {
        Ok(4) => i32::from_ne_bytes(value),
        _ => 0,
    }
}

/// Sends a signal to one thread.
pub fn signal_thread(thread: u32, signal: i32) {
    // SAFETY: tkill takes two integers.
    unsafe { libc::syscall(libc::SYS_tkill, thread, signal) };
}
