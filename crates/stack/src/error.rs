//! The errors of socket calls: Linux's errno values, under their names.

use core::fmt;

macro_rules! errors {
    ($($name:ident = $number:literal, $errno:literal, $text:literal;)*) => {
        /// Why a socket call failed. Each variant is one errno of Linux.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Error { $(#[doc = $errno] $name,)* }

        impl Error {
            /// The value of Linux's errno (the same on all architectures but a few old ones).
            pub const fn errno(self) -> i32 { match self { $(Error::$name => $number,)* } }
            /// The name of the errno, such as `ECONNREFUSED`.
            pub const fn name(self) -> &'static str { match self { $(Error::$name => $errno,)* } }
            /// The error with this errno, if it is one of a socket call.
            pub const fn from_errno(errno: i32) -> Option<Error> { match errno { $($number => Some(Error::$name),)* _ => None } }
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Error::$name => $text,)* })
            }
        }
    };
}

errors! {
    NotPermitted = 1, "EPERM", "operation not permitted";
    BadDescriptor = 9, "EBADF", "no such socket";
    WouldBlock = 11, "EAGAIN", "the call would block";
    NoMemory = 12, "ENOMEM", "out of memory";
    AccessDenied = 13, "EACCES", "permission denied";
    Exists = 17, "EEXIST", "it is there already";
    NoDevice = 19, "ENODEV", "no such interface";
    InvalidArgument = 22, "EINVAL", "invalid argument";
    BrokenPipe = 32, "EPIPE", "the socket was shut down for sending";
    OutOfRange = 34, "ERANGE", "out of range";
    NoNetwork = 64, "ENONET", "machine is not on the network";
    Proto = 71, "EPROTO", "protocol error";
    DestinationRequired = 89, "EDESTADDRREQ", "destination address required";
    MessageTooLong = 90, "EMSGSIZE", "message too long";
    ProtocolType = 91, "EPROTOTYPE", "wrong protocol type for the socket";
    NoProtocolOption = 92, "ENOPROTOOPT", "option not supported";
    ProtocolNotSupported = 93, "EPROTONOSUPPORT", "protocol not supported";
    SocketTypeNotSupported = 94, "ESOCKTNOSUPPORT", "socket type not supported";
    NotSupported = 95, "EOPNOTSUPP", "operation not supported";
    FamilyNotSupported = 97, "EAFNOSUPPORT", "address family not supported";
    AddressInUse = 98, "EADDRINUSE", "address already in use";
    AddressNotAvailable = 99, "EADDRNOTAVAIL", "cannot assign requested address";
    NetworkDown = 100, "ENETDOWN", "network is down";
    NetworkUnreachable = 101, "ENETUNREACH", "network is unreachable";
    ConnectionAborted = 103, "ECONNABORTED", "connection aborted";
    ConnectionReset = 104, "ECONNRESET", "connection reset by peer";
    NoBuffers = 105, "ENOBUFS", "no buffer space";
    AlreadyConnected = 106, "EISCONN", "already connected";
    NotConnected = 107, "ENOTCONN", "not connected";
    TimedOut = 110, "ETIMEDOUT", "connection timed out";
    ConnectionRefused = 111, "ECONNREFUSED", "connection refused";
    HostDown = 112, "EHOSTDOWN", "host is down";
    HostUnreachable = 113, "EHOSTUNREACH", "no route to host";
    AlreadyInProgress = 114, "EALREADY", "a connection attempt is under way";
    InProgress = 115, "EINPROGRESS", "connecting";
}

impl std::error::Error for Error {}

/// The result of a socket call.
pub type Result<T, E = Error> = core::result::Result<T, E>;
