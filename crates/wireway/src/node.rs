//! The program's node of the engine: first what configures its interfaces, then the program too.

use wireway::attach::Attach;
use wireway::engine::{Context, Interest, Service};
use wireway::packet::Instant;
use wireway::stack::{Event, InterfaceId};

use crate::FAILED;
use crate::autoconf::Autoconf;
use crate::cables::Cables;
use crate::lease::Dhcp;

/// The token of the socket that `wireway link` asks; the program's are counted from below.
const ASKED: u64 = u64::MAX;

/// The service of the program's host.
#[derive(Default)]
pub struct Node {
    attach: Option<Attach>,
    /// What tells interfaces their addresses, of those that are told.
    pub dhcp: Vec<Dhcp>,
    pub autoconf: Vec<Autoconf>,
    /// The cables of its interfaces.
    pub cables: Cables,
    /// Why there will be no program.
    failure: Option<String>,
}

impl Node {
    /// Whether the program has to wait for an address.
    pub fn is_waiting(&self) -> bool {
        self.dhcp.iter().any(Dhcp::is_waiting) || self.autoconf.iter().any(Autoconf::is_waiting)
    }

    /// Why the wait was in vain, or the program was ended.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref().or(self.attach.as_ref().and_then(Attach::failure))
    }

    /// Serves a program from now on.
    pub fn start(&mut self, cx: &mut Context<'_>, attach: Attach) {
        if let Some(asked) = self.cables.start(cx.now)
            && let Err(error) = cx.register(asked, ASKED, Interest::IN)
        {
            eprintln!("wireway: no requests of `wireway link` are heard: {error}");
        }
        self.attach.insert(attach).poll(cx);
    }

    /// Gives back what was leased. False if there is nothing that has to leave before the end.
    pub fn release(&mut self, cx: &mut Context<'_>) -> bool {
        self.dhcp.drain(..).fold(false, |leased, dhcp| dhcp.release(cx.now, cx.host) | leased)
    }

    fn configure(&mut self, cx: &mut Context<'_>) {
        let waited = self.is_waiting();
        let dhcp = self.dhcp.iter_mut().try_for_each(|dhcp| dhcp.poll(cx.now, cx.host));
        let autoconf = self.autoconf.iter_mut().try_for_each(|autoconf| autoconf.poll(cx.now, cx.host));
        match dhcp.and(autoconf) {
            Ok(()) if waited && !self.is_waiting() => cx.stop(0),
            Ok(()) => {}
            Err(reason) => {
                self.failure = Some(reason);
                cx.stop(FAILED.into());
            }
        }
    }
}

impl Service for Node {
    fn ready(&mut self, cx: &mut Context<'_>, token: u64, ready: Interest) {
        if token == ASKED {
            self.cables.ready(cx.now);
        } else if let Some(attach) = &mut self.attach {
            attach.ready(cx, token, ready);
        }
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let of_dhcp = self.dhcp.iter().any(|dhcp| dhcp.socket() == event.socket);
        if of_dhcp || self.autoconf.iter().any(|autoconf| autoconf.has(event.socket)) {
            self.configure(cx);
        } else if let Some(attach) = &mut self.attach {
            attach.event(cx, event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        self.configure(cx);
        self.cables.poll(cx.now);
        if let Some(attach) = &mut self.attach {
            attach.poll(cx);
        }
    }

    fn poll_at(&self) -> Option<Instant> {
        let attach = self.attach.as_ref().and_then(Attach::poll_at);
        let dhcp = self.dhcp.iter().filter_map(Dhcp::poll_at);
        let autoconf = self.autoconf.iter().filter_map(Autoconf::poll_at);
        attach.into_iter().chain(dhcp).chain(autoconf).chain(self.cables.poll_at()).min()
    }

    fn nic_failed(&mut self, cx: &mut Context<'_>, interface: InterfaceId, reason: &str) {
        match &mut self.attach {
            Some(attach) => attach.nic_failed(cx, interface, reason),
            None => {
                self.failure = Some(reason.to_owned());
                cx.stop(FAILED.into());
            }
        }
    }
}
