//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use wireway::wire::MacAddr;

use crate::address::Address;
use crate::impair::ImpairArgs;
use crate::interface::{self, Behind, FIRST, Interface, More};

/// Runs any program, unmodified, on a TCP/IP stack in user space.
#[derive(Parser, Debug)]
#[command(name = "wireway", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a program with its sockets on Wireway's stack instead of the kernel's
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),

    /// Look at the links of running programs, and change them
    #[command(after_help = LINK_EXAMPLES)]
    Link(LinkArgs),
}

const RUN_EXAMPLES: &str = "\
Examples:
  wireway run -- curl http://10.0.2.2:8000/            fetch from a server on this machine's loopback
  wireway run --trace -- curl http://10.0.2.2:8000/    and see each packet
  wireway run --capture page.pcapng -- ./static-go-binary
  wireway run --publish 8080:80 -- nginx -g 'daemon off;'
  wireway run --net tap=way0 --address 10.0.0.4/24 -- ./server -a 10.0.0.4
  wireway run --net tap=way0 --address dhcp -- curl http://example.com/
  wireway run --net tap=way0 --interface vlan=5,address=10.5.0.4/24 -- ping 10.5.0.5
  wireway run --interface tap=way1,address=10.1.0.4/24 -- ip addr
  wireway run --net link=cable -- nc -l 5000           and, in another terminal,
  wireway run --net link=cable -- nc 10.0.3.1 5000

  wireway run --delay 80ms --loss 1% --rate 20mbit -- git clone ...
  wireway run --schedule outages.txt -- ./client       with lines such as: 10s for 2s outage

Exit status: the program's own (128 + n if signal n ended it); 125 if Wireway itself failed, 126 if the
program cannot be executed, 127 if it was not found.";

const LINK_EXAMPLES: &str = "\
Examples:
  wireway link show
  wireway link set eth0 delay=80ms loss=1%
  wireway link set eth0 down rate=1mbit     only what comes to the program
  wireway link set eth0 delay=0 loss=0";

#[derive(Args, Debug)]
pub struct LinkArgs {
    #[command(subcommand)]
    pub command: LinkCommand,
}

#[derive(Subcommand, Debug)]
pub enum LinkCommand {
    /// Show how the links are, and what they have carried, lost and dropped
    Show {
        /// Only of this `wireway run`
        #[arg(long)]
        pid: Option<u32>,

        /// Print JSON; times are in microseconds, shares from 0 to 1
        #[arg(long)]
        json: bool,
    },
    /// Change a link from now on; a schedule of the run goes on
    Set {
        /// The `wireway run` that is meant [default: the only one]
        #[arg(long)]
        pid: Option<u32>,

        /// The program's interface
        interface: String,

        /// up or down for one direction; then SETTING=VALUE, with the settings of `wireway run` (see A bad network in its help), or outage
        #[arg(required = true, value_name = "[up|down] SETTING=VALUE")]
        settings: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// The network to attach to: gateway, tap=NAME or link=NAME
    #[arg(long, value_name = "NET", default_value = "gateway")]
    pub net: Net,

    /// The program's address and prefix length, or dhcp (IPv4), or slaac, temporary (slaac with RFC 8981) or link-local (IPv6); may be repeated for the other family [default: 10.0.2.15/24
    /// and fd00:10:0:2::15/64; on a tap 10.0.0.4/24; on a link 10.0.3.1/24, .2]
    #[arg(long, value_name = "CIDR|dhcp|slaac|temporary|link-local")]
    pub address: Vec<Address>,

    /// The router for all else, one a family; on the gateway net also this machine's loopback [default: .2 and ::2; on a
    /// tap or link none]
    #[arg(long, value_name = "ADDR", value_parser = parse_gateway)]
    pub gateway: Vec<IpAddr>,

    /// The resolver to ask [default: the machine's own; on a tap or link the one that DHCP or a router names, or none]
    #[arg(long, value_name = "ADDR")]
    pub dns: Option<IpAddr>,

    /// Bytes of the largest IP packet
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(68..=65521))]
    pub mtu: u16,

    /// The hardware address of the program's interface [default: made up]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub mac: Option<MacAddr>,

    /// One more interface: a tap, a link, or a VLAN (802.1Q) of an interface before it; may be repeated
    ///
    /// KEY=VALUE, joined by commas. What it is: tap=NAME, link=NAME or vlan=ID, the last with parent=NAME [default: eth0] and
    /// protocol=802.1ad if that is the tag. And name=NAME [default: eth1 and so on, PARENT.ID], mtu=BYTES, mac=MAC,
    /// gateway=ADDR, address=CIDR|dhcp|slaac|temporary|link-local [default: link-local]; the last two may be repeated.
    #[arg(long, value_name = "KEY=VALUE,…", verbatim_doc_comment)]
    pub interface: Vec<More>,

    /// Lead a port of this machine to one of the program; may be repeated [gateway net only]
    #[arg(long, value_name = "[ADDR:]HOSTPORT:PORT[/tcp|/udp]")]
    pub publish: Vec<String>,

    /// Write what is on the wire to a pcapng file
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,

    /// Print what is on the wire to standard error: a line a packet, after the seconds since the start
    #[arg(long)]
    pub trace: bool,

    /// Print what the stack counted when the program has ended, to standard error
    #[arg(long)]
    pub stats: bool,

    /// Also put the program into an empty network namespace of its own
    ///
    /// The seccomp filter is the boundary without this too. It costs the machine's abstract
    /// AF_UNIX names, and an ordinary user's files of other owners then look like nobody's
    /// (ssh refuses its configuration).
    #[arg(long, verbatim_doc_comment)]
    pub isolate: bool,

    #[command(flatten)]
    pub impair: ImpairArgs,

    /// A file that says how the link changes: lines of TIME [for TIME] [up|down] SETTING=VALUE... or outage
    #[arg(long, value_name = "FILE", help_heading = "A bad network")]
    pub schedule: Option<PathBuf>,

    /// Where the link's chance comes from: with the same number the same frames fare the same, counted from the first [default: made up]
    #[arg(long, value_name = "NUMBER", help_heading = "A bad network")]
    pub seed: Option<u64>,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

impl RunArgs {
    /// The interfaces of the program's host, `eth0` first. The reason if they do not go together.
    pub fn interfaces(&self) -> Result<Vec<Interface>, String> {
        let first = Interface {
            name: FIRST.into(),
            behind: Behind::Net(self.net.clone()),
            address: self.address.clone(),
            gateway: self.gateway.clone(),
            mtu: Some(self.mtu),
            mac: self.mac,
        };
        interface::all(first, &self.interface).map_err(|what| format!("--interface: {what}"))
    }
}

/// The network that a program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Net {
    /// A gateway that relays to the machine's own sockets.
    Gateway,
    /// A TAP interface of this name; its other side is the kernel.
    Tap(String),
    /// A shared-memory cable of this name to another `wireway run`.
    Link(String),
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Net::Gateway => f.write_str("the gateway's network"),
            Net::Tap(name) => write!(f, "the TAP interface {name}"),
            Net::Link(name) => write!(f, "the link {name}"),
        }
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Net, String> {
        match text.split_once('=') {
            None if text == "gateway" => Ok(Net::Gateway),
            Some(("tap", name)) if !name.is_empty() => Ok(Net::Tap(name.into())),
            Some(("link", name)) if !name.is_empty() => Ok(Net::Link(name.into())),
            _ => Err("give gateway, tap=NAME or link=NAME".into()),
        }
    }
}

pub fn parse_gateway(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "give an address, such as 10.0.2.2 or fd00::2".into())
}

pub fn parse_mac(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr = text.parse().map_err(|_| "give six bytes in hexadecimal, such as 02:00:5e:10:00:01")?;
    if mac.is_multicast() || mac == MacAddr::ZERO {
        return Err(format!("{mac} cannot be the address of an interface"));
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::impair::Impairments;

    fn run(args: &[&str]) -> Result<Box<RunArgs>, clap::Error> {
        match Cli::try_parse_from([&["wireway", "run"], args].concat())?.command {
            Command::Run(run) => Ok(run),
            Command::Link(_) => unreachable!("it says run"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_programs_options_are_its_own() {
        let args = run(&["--net", "tap=t0", "curl", "--mtu", "-v"]).unwrap();
        assert_eq!(args.net, Net::Tap("t0".into()));
        assert_eq!(args.program, ["curl", "--mtu", "-v"]);
        assert!(run(&["--address", "10.0.0.0/31", "x"]).is_ok(), "RFC 3021: both addresses of a pair are hosts'");
        assert_eq!(run(&["--address", "10.0.0.4/24", "--address", "fd00::4/64", "x"]).unwrap().address.len(), 2);
        assert_eq!(run(&["--", "-x"]).unwrap().program, ["-x"]);
        assert_eq!(run(&["--address", "dhcp", "--address", "link-local", "x"]).unwrap().address.len(), 2);
        let more = run(&["--interface", "vlan=5", "--interface", "tap=t1,address=dhcp", "x"]).unwrap();
        assert_eq!(more.interfaces().unwrap().len(), 3);
    }

    #[test]
    fn a_bad_network_is_asked_for_in_each_direction() {
        let args = run(&["--delay", "80ms", "--down-loss", "1%", "--up-rate", "1mbit", "x"]).unwrap();
        let [up, down] = Impairments::new(args.impair.steps, None).unwrap().at(Duration::ZERO, 1500);
        assert_eq!([up.delay, down.delay], [Duration::from_millis(80); 2]);
        assert_eq!(([up.loss, down.loss], [up.rate, down.rate]), ([0.0, 0.01], [Some(1_000_000), None]));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            &["--net", "tap="][..],
            &["--net", "wire", "x"],
            &["--address", "10.0.0.4", "x"],
            &["--address", "10.0.0.4/33", "x"],
            &["--address", "127.0.0.1/8", "x"],
            &["--address", "10.0.0.0/24", "x"],
            &["--address", "10.0.0.255/24", "x"],
            &["--address", "fd00::/64", "x"],
            &["--address", "fd00::4/129", "x"],
            &["--address", "::1/128", "x"],
            &["--address", "::ffff:10.0.0.4/120", "x"],
            &["--gateway", "here", "x"],
            &["--mac", "01:00:00:00:00:00", "x"],
            &["--mtu", "67", "x"],
            &["--loss", "1", "x"],
            &["--up-delay", "long", "x"],
            &["--interface", "vlan=4095", "x"],
            &[],
        ] {
            assert!(run(bad).is_err(), "{bad:?}");
        }
    }
}
