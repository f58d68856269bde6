//! The conversations.

mod ip;
mod tcp_connections;
mod tcp_opening;

use crate::Case;

pub const CASES: [&[Case]; 3] = [ip::CASES, tcp_opening::CASES, tcp_connections::CASES];
