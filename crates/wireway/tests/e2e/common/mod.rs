//! What the end-to-end tests share.

pub mod build;
pub mod content;
pub mod dns;
pub mod http;
pub mod machine;
pub mod ports;
pub mod process;
pub mod scene;

pub use machine::Machine;
pub use ports::{free_port, wait_listening};
pub use process::{finish, wait_until};
pub use scene::{Family, Scene, Setting, bracketed, skip_without_root};
