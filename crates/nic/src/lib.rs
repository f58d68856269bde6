//! Network cards in software: the device trait, the offload engine and the backends.
