//! Typed views over the bytes of every header Wireway speaks, and the Internet checksum.
