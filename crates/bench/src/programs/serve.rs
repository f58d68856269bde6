//! x
#[derive(clap::Args)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> std::io::Result<()> { Ok(()) }
