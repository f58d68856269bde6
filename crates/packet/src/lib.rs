//! The packet buffer of Wireway: an mbuf with segmentation and checksum metadata.
