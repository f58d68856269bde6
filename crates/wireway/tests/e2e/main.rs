//! End-to-end tests: real programs, unmodified, over `wireway run`, with the bytes compared.
//!
//! One file for each theme; `common` has what they share. A test is a function of a [`common::Setting`] (the
//! address family and the user it runs as), and the macros below instantiate it for each setting there is. Every test has a scratch directory of its own, ports that
//! nobody else uses, and ends by checking that no process of its own is left.

/// Instantiates tests for every setting there is: each family, and the first list both as the user that runs the tests
/// and as an ordinary user.
macro_rules! in_both_families {
    (as_every_user: [$($every:ident),* $(,)?], as_one_user: [$($one:ident),* $(,)?]) => {
        in_every_setting!(v4, v4_ordinary_user, crate::common::Family::V4, [$($every),*], [$($one),*]);
        in_every_setting!(v6, v6_ordinary_user, crate::common::Family::V6, [$($every),*], [$($one),*]);
    };
}

/// As [`in_both_families`], for tests that are about IPv4, or about no family.
macro_rules! in_every_setting {
    (as_every_user: [$($every:ident),* $(,)?], as_one_user: [$($one:ident),* $(,)?]) => {
        in_every_setting!(v4, v4_ordinary_user, crate::common::Family::V4, [$($every),*], [$($one),*]);
    };
    ($name:ident, $ordinary:ident, $family:expr, [$($every:ident),* $(,)?], [$($one:ident),* $(,)?] $(,)?) => {
        mod $name {
            $(#[test]
            fn $every() {
                super::$every(crate::common::Setting::new($family));
            })*
            $(#[test]
            fn $one() {
                super::$one(crate::common::Setting::new($family));
            })*
        }
        mod $ordinary {
            $(#[test]
            fn $every() {
                if let Some(setting) = crate::common::Setting::ordinary_user($family) {
                    super::$every(setting);
                }
            })*
        }
    };
}

mod common;

mod bad_network;
mod boundary;
mod calls;
mod capture;
mod client;
mod compiled;
mod course;
mod dhcp;
mod dns;
mod eyeballs;
mod failure;
mod hostile;
mod interfaces;
mod ipv6;
mod java;
mod multicast;
mod networks;
mod path;
mod remote;
mod server;
mod slaac;
mod transfer;
