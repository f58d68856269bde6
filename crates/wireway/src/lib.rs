//! Runs any program, unmodified, on a TCP/IP stack in user space; and the stack as a library.
