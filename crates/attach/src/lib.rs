//! Attaches unmodified programs to a host by seccomp notification and socket pairs.
