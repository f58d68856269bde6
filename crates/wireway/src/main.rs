//! The command `wireway`.

mod address;
mod ask;
mod autoconf;
mod cables;
mod cli;
mod impair;
mod interface;
mod lease;
mod net;
mod node;
mod resolver;
mod run;

use std::process::ExitCode;

use clap::Parser;

/// The exit status for Wireway's own failures, as env(1), nice(1) and others have it.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { FAILED } else { 0 };
            // Nothing is left to do about a terminal that is gone.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let result = match &cli.command {
        cli::Command::Run(args) => run::run(args),
        cli::Command::Link(args) => ask::link(args).map(|()| 0),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("wireway: {failure}");
            ExitCode::from(failure.status)
        }
    }
}
