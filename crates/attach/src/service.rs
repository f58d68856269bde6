//! The attach layer as an engine's service: one program on one host.

use std::time::Duration;

use rustix::io::Errno;
use wireway_engine::{Context, Interest, Service};
use wireway_packet::Instant;
use wireway_stack::{Event, Host, InterfaceId};

use crate::calls::Call;
use crate::launch::{Ending, Progress, Running};
use crate::notify::Listener;
use crate::signals::{Signals, follow_stop};
use crate::socket::FIRST_TOKEN;
use crate::world::World;

const LISTENER: u64 = 0;
const REPORTS: u64 = 1;
const SIGNALS: u64 = 2;
const LOCAL: u64 = 3;
const CLOSES: u64 = 4;

/// How long the host may go on sending what an ended program has written.
const DRAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it is done.
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// A program attached to a host. The engine stops with the program's exit status.
pub struct Attach {
    running: Running,
    signals: Signals,
    listener: Listener,
    world: World,
    /// A call waits.
    waiting: bool,
    started: bool,
    /// The program ended so; until when the host may send what is left.
    ended: Option<(Ending, Instant)>,
    next_look: Instant,
    /// Whether what the host has sent is out of our hands.
    forwarded: Option<Box<dyn Fn() -> bool>>,
    /// Why the program was ended from our side.
    failure: Option<String>,
}

impl Attach {
    /// Takes a started program.
    pub fn new(mut running: Running, signals: Signals) -> Result<Attach, Errno> {
        let listener = Listener::new(running.take_listener().ok_or(Errno::BADF)?);
        Ok(Attach {
            running,
            signals,
            listener,
            world: World::new()?,
            waiting: false,
            started: false,
            ended: None,
            next_look: Instant::ZERO,
            forwarded: None,
            failure: None,
        })
    }

    /// Before the engine is stopped, waits for this too: that another host of this process has passed on what the program's sent.
    pub fn wait_until(&mut self, forwarded: impl Fn() -> bool + 'static) {
        self.forwarded = Some(Box::new(forwarded));
    }

    /// Calls `prepare` whenever the program is about to ask a name server: it names port 53.
    pub fn before_lookup(&mut self, prepare: impl FnMut(&mut Host, Instant) + 'static) {
        self.world.before_lookup = Some(Box::new(prepare));
    }

    /// How the program ended, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.running.ending()
    }

    /// Why the program was ended before it ended itself, if so: its network broke, or its guardian was killed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Sockets the program has open.
    pub fn sockets(&self) -> usize {
        self.world.count()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        cx.register(self.listener.descriptor(), LISTENER, Interest::IN)?;
        cx.register(self.running.reports(), REPORTS, Interest::IN)?;
        cx.register(self.signals.descriptor(), SIGNALS, Interest::IN)?;
        cx.register(self.world.local.descriptor(), LOCAL, Interest::IN)?;
        match &self.world.closes {
            Some(closes) => cx.register(closes.descriptor(), CLOSES, Interest::IN),
            None => Ok(()),
        }
    }

    /// Answers one call. What the program did before it made the call (closed a socket, wrote) is an event on a pair, which must be seen
    /// first: so calls come after the other descriptors of a turn, and each in a turn of its own.
    fn answer_call(&mut self, cx: &mut Context<'_>) {
        if let Some(notification) = self.listener.next() {
            self.world.call(cx, Call::new(notification));
        }
    }

    fn news(&mut self, cx: &mut Context<'_>) {
        while let Some(progress) = self.running.progress() {
            match progress {
                Progress::Stopped(signal) => follow_stop(&self.running, signal),
                Progress::Ended(ending) => {
                    cx.deregister(self.running.reports());
                    // Its descendants end with it, and do not go on sending and receiving meanwhile.
                    self.running.end_tree();
                    self.ended = Some((ending, cx.now + DRAIN));
                    self.next_look = cx.now;
                    self.world.look_for_closes();
                    if ending == Ending::GuardianLost {
                        self.failure = Some("the guardian was killed".into());
                    }
                    return;
                }
            }
        }
    }

    /// Stops the engine when the host has sent what the program left, or has had its time.
    fn look_whether_done(&mut self, cx: &mut Context<'_>) {
        let Some((ending, until)) = self.ended else { return };
        if cx.now < self.next_look {
            return;
        }
        self.next_look = cx.now + DRAIN_STEP;
        let forwarded = || self.forwarded.as_ref().is_none_or(|forwarded| forwarded());
        if self.world.is_drained(cx) && forwarded() || cx.now >= until {
            cx.stop(ending.status() as i32);
        }
    }
}

impl Service for Attach {
    fn ready(&mut self, cx: &mut Context<'_>, token: u64, ready: Interest) {
        match token {
            LISTENER => {
                self.waiting = ready.contains(Interest::IN);
                // No process is left under the filter.
                if ready.contains(Interest::HUP) && !self.waiting {
                    cx.deregister(self.listener.descriptor());
                }
            }
            REPORTS => self.news(cx),
            SIGNALS => {
                self.signals.pass_on(&self.running);
                if let Some((ending, _)) = self.ended {
                    cx.stop(ending.status() as i32);
                }
            }
            LOCAL => self.world.local_ready(cx),
            CLOSES => self.world.closes_seen(cx),
            token => {
                let key = token.saturating_sub(FIRST_TOKEN) as usize;
                self.world.pair_event(cx, key, ready);
            }
        }
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        self.world.host_event(cx, event.socket, event.ready);
    }

    /// Without its network the program could only hang.
    fn nic_failed(&mut self, cx: &mut Context<'_>, _: InterfaceId, reason: &str) {
        self.failure = Some(reason.to_owned());
        cx.stop(125);
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.started {
            self.started = true;
            if self.start(cx).is_err() {
                cx.stop(125);
                return;
            }
        }
        // Before the next call: after the events of a round, in which a connection may have been answered.
        self.world.settle_begun(cx);
        if std::mem::take(&mut self.waiting) {
            self.answer_call(cx);
        }
        self.world.poll(cx);
        self.look_whether_done(cx);
    }

    fn poll_at(&self) -> Option<Instant> {
        let calls = self.waiting.then_some(Instant::ZERO);
        let end = self.ended.map(|_| self.next_look);
        [calls, end, self.world.poll_at(Instant::ZERO)].into_iter().flatten().min()
    }
}
