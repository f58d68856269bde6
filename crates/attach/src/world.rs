//! What every call and every event works on: the program's sockets, its processes, and the calls that wait.
//!
//! A call that would block is *parked*: the notification is kept, unanswered, with the socket it waits for, and the whole call is made
//! again when something happens to that socket. A call of the program that a signal interrupted leaves a void notification behind; it is
//! found when it is tried again, or when the same thread makes another call, as a thread can wait in one call only.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use wireway_engine::Context;
use wireway_packet::Instant;
use wireway_stack::{Host, Ready, SocketId};

use crate::alive::Alive;
use crate::calls::{self, Call, Outcome};
use crate::closes::Closes;
use crate::datagram::{self, Moved};
use crate::local::Local;
use crate::prefill::Prefill;
use crate::process::Processes;
use crate::rtnetlink::Watch;
use crate::socket::{Body, Key, Socket, Sockets};
use crate::stream::{self, Phase, Verdict};
use crate::sys;

/// Sockets watched by [`Alive`] since it was last asked, at which it is asked without a reason.
const ASK_AFTER: usize = 256;

/// What a parked call waits for.
#[derive(Clone, Copy)]
pub(crate) enum Awaited {
    /// A socket of the host's.
    Socket(Key),
    /// An AF_UNIX socket of the program's, by inode.
    Local(u64),
}

/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// What is done before the program asks a name server.
pub(crate) type BeforeLookup = Box<dyn FnMut(&mut Host, Instant)>;

pub(crate) struct World {
    pub processes: Processes,
    pub sockets: Sockets,
    pub prefill: Prefill,
    pub alive: Alive,
    pub local: Local,
    /// None where the kernel does not offer it.
    pub closes: Option<Closes>,
    pub before_lookup: Option<BeforeLookup>,
    parked: HashMap<u32, (Awaited, Call)>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// Connections that were begun since the last round.
    begun: Vec<Key>,
    /// Sockets whose pump has more to move.
    runnable: Vec<Key>,
    ask_alive: bool,
    /// Connections that the program closed and the host still has to finish.
    closing: Vec<SocketId>,
    /// What members of netlink's groups know, if there are any.
    watch: Option<Watch>,
}

impl World {
    pub(crate) fn new() -> Result<World, Errno> {
        Ok(World {
            processes: Processes::default(),
            sockets: Sockets::default(),
            prefill: Prefill::new()?,
            alive: Alive::new()?,
            local: Local::new()?,
            closes: Closes::new().ok(),
            before_lookup: None,
            parked: HashMap::new(),
            deadlines: BTreeSet::new(),
            begun: Vec::new(),
            runnable: Vec::new(),
            ask_alive: false,
            closing: Vec::new(),
            watch: None,
        })
    }

    /// The program names this destination.
    pub(crate) fn names(&mut self, cx: &mut Context<'_>, destination: SocketAddr) {
        if destination.port() == DNS_PORT
            && let Some(prepare) = &mut self.before_lookup
        {
            prepare(cx.host, cx.now);
        }
    }

    /// A new call: whatever its thread waited for before was interrupted.
    pub(crate) fn call(&mut self, cx: &mut Context<'_>, call: Call) {
        self.unpark(call.thread());
        self.carry_out(cx, call);
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, mut call: Call) {
        let outcome = calls::dispatch(self, cx, &mut call).unwrap_or_else(|e| Outcome::Done(Err(e)));
        match outcome {
            Outcome::Done(result) => drop(call.notification.finish(result)),
            Outcome::GoOn => drop(call.notification.go_on()),
            Outcome::Answered => {}
            Outcome::Park(awaited, wait) => self.park(cx, awaited, wait, call),
        }
    }

    fn park(&mut self, cx: &mut Context<'_>, awaited: Awaited, wait: Option<std::time::Duration>, mut call: Call) {
        let thread = call.thread();
        if call.deadline.is_none() {
            call.deadline = wait.map(|wait| cx.now + wait);
        }
        match awaited {
            Awaited::Socket(key) => {
                let Some(socket) = self.sockets.get(key) else { return };
                if !socket.waiting.contains(&thread) {
                    socket.waiting.push_back(thread);
                }
            }
            Awaited::Local(inode) => {
                for thread in self.local.crowd() {
                    if self.parked.get(&thread).is_some_and(|(_, call)| !call.notification.is_waiting()) {
                        self.unpark(thread);
                    }
                }
                self.local.park(inode, thread);
            }
        }
        if let Some(deadline) = call.deadline {
            self.deadlines.insert((deadline, thread));
        }
        self.parked.insert(thread, (awaited, call));
    }

    fn unpark(&mut self, thread: u32) -> Option<Call> {
        let (awaited, call) = self.parked.remove(&thread)?;
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, thread));
        }
        match awaited {
            Awaited::Socket(key) => {
                if let Some(socket) = self.sockets.get(key) {
                    socket.waiting.retain(|t| *t != thread);
                }
            }
            Awaited::Local(inode) => self.local.unpark(inode, thread),
        }
        Some(call)
    }

    /// AF_UNIX sockets that calls wait for can be received from.
    pub(crate) fn local_ready(&mut self, cx: &mut Context<'_>) {
        for inode in self.local.ready() {
            for thread in self.local.threads(inode) {
                self.retry_thread(cx, thread);
            }
        }
    }

    fn retry_thread(&mut self, cx: &mut Context<'_>, thread: u32) {
        if let Some(call) = self.unpark(thread)
            && call.notification.is_waiting()
        {
            self.carry_out(cx, call);
        }
    }

    /// Makes the calls that wait for a socket again.
    pub(crate) fn retry(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        for thread in Vec::from(std::mem::take(&mut socket.waiting)) {
            self.retry_thread(cx, thread);
        }
    }

    /// Takes out the calls on a socket that failed to connect that a signal has interrupted: with nobody waiting, it is for poll to show.
    fn forget_interrupted(&mut self, cx: &Context<'_>, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        let connecting = matches!(&socket.body, Body::Stream(s) if s.phase == Phase::Connecting);
        if !connecting || !socket.id.is_some_and(|id| cx.host.ready(id).contains(Ready::ERR)) {
            return;
        }
        for thread in Vec::from(socket.waiting.clone()) {
            if self.parked.get(&thread).is_some_and(|(_, call)| !call.notification.is_waiting()) {
                self.unpark(thread);
            }
        }
    }

    /// A connection was begun.
    pub(crate) fn begin(&mut self, key: Key) {
        self.begun.push(key);
    }

    /// Fills the pairs of connections that were not answered at once, and has non-blocking calls answered, which waited for this.
    pub(crate) fn settle_begun(&mut self, cx: &mut Context<'_>) {
        for key in std::mem::take(&mut self.begun) {
            let Some(socket) = self.sockets.get(key) else { continue };
            let (holder, inode) = (socket.holder, socket.inode);
            if matches!(&socket.body, Body::Stream(s) if s.phase == Phase::Connecting && s.prefilled == 0)
                && let Some(theirs) = self.program_end(holder, inode)
                && let Some(Socket { body: Body::Stream(stream), ours: Some(ours), .. }) = self.sockets.get(key)
                // Another thread's bytes would be taken for the filling.
                && sys::ioctl_int(ours, libc::FIONREAD) == Ok(0)
            {
                stream.prefilled = self.prefill.fill(theirs.as_fd()).unwrap_or(0);
            }
            self.retry(cx, key);
        }
    }

    /// A netlink socket has joined groups, or left them.
    pub(crate) fn groups_changed(&mut self, cx: &Context<'_>) {
        let listened = self.sockets.netlink().any(|(_, netlink)| netlink.groups != 0);
        if !listened {
            self.watch = None;
        } else if self.watch.is_none() {
            self.watch = Some(Watch::new(cx.host, cx.now));
        }
    }

    /// Tells members of netlink's groups what has changed.
    fn tell_changes(&mut self, cx: &Context<'_>) {
        let Some(watch) = &mut self.watch else { return };
        let changes = watch.changes(cx.host, cx.now);
        for (key, netlink) in self.sockets.netlink() {
            let concerned = changes.iter().filter(|(group, notice)| netlink.tell(*group, notice)).count();
            if concerned > 0 {
                self.runnable.push(key);
            }
        }
    }

    /// Runs a socket's pump in this turn.
    pub(crate) fn run_soon(&mut self, key: Key) {
        self.runnable.push(key);
    }

    /// Makes the calls that wait for a socket again in this turn.
    pub(crate) fn retry_soon(&mut self, key: Key) {
        self.runnable.push(key);
    }

    /// Something happened to the host's socket.
    pub(crate) fn host_event(&mut self, cx: &mut Context<'_>, id: SocketId, ready: Ready) {
        let Some(key) = self.sockets.with_id(id) else { return };
        if let Some(socket) = self.sockets.get(key)
            && let (Body::Listener(tokens), Some(ours)) = (&mut socket.body, &socket.ours)
            && ready.contains(Ready::IN)
            && socket.waiting.is_empty()
        {
            tokens.arrived(ours.as_fd());
        }
        self.touched(cx, key, false);
    }

    /// Something happened to the engine's end of a pair.
    pub(crate) fn pair_event(&mut self, cx: &mut Context<'_>, key: Key, seen: wireway_engine::Interest) {
        use wireway_engine::Interest;
        let Some(socket) = self.sockets.get(key) else { return };
        let hung_up = seen.intersects(Interest::HUP | Interest::ERR);
        stream::edges(socket, seen);
        self.touched(cx, key, hung_up);
    }

    /// The program has closed ends of pairs that do not tell it.
    pub(crate) fn closes_seen(&mut self, cx: &mut Context<'_>) {
        let closed = self.closes.as_mut().map(Closes::seen).unwrap_or_default();
        for inode in closed {
            let Some(key) = self.sockets.with_inode(inode) else { continue };
            // What the program wrote before goes out first.
            while let Some(socket) = self.sockets.get(key)
                && datagram::send_native(socket, cx) == Moved::Some
            {}
            self.closed(cx, key, false);
        }
    }

    /// Moves what can be moved on a socket, then makes the calls that wait for it again.
    pub(crate) fn touched(&mut self, cx: &mut Context<'_>, key: Key, hung_up: bool) {
        self.forget_interrupted(cx, key);
        let Some(socket) = self.sockets.get(key) else { return };
        let verdict = match &mut socket.body {
            Body::Stream(_) => stream::pump(socket, cx, key, hung_up),
            Body::Listener(_) if hung_up => Verdict::Closed { reset: false },
            Body::Listener(_) => Verdict::Lives,
            Body::Datagrams(_) | Body::Netlink(_) => {
                // Calls that wait come before the pair.
                self.retry(cx, key);
                let Some(socket) = self.sockets.get(key) else { return };
                let moved = match &mut socket.body {
                    Body::Netlink(_) => crate::netlink::pump(socket, cx, key),
                    _ => datagram::pump(socket, cx, key),
                };
                match (moved, &socket.body) {
                    (Moved::All, _) => Verdict::Lives,
                    (Moved::Some, _) => Verdict::Again,
                    (Moved::End, Body::Datagrams(d)) if d.write_shut => Verdict::AskAlive,
                    (Moved::End, _) => Verdict::Closed { reset: false },
                }
            }
        };
        match verdict {
            Verdict::Lives => {}
            Verdict::Again => self.runnable.push(key),
            Verdict::AskAlive => self.ask_alive = true,
            Verdict::Closed { reset } => return self.closed(cx, key, reset),
            Verdict::Break => self.break_off(cx, key),
        }
        self.retry(cx, key);
    }

    /// The program has closed a socket.
    fn closed(&mut self, cx: &mut Context<'_>, key: Key, reset: bool) {
        let Some(socket) = self.sockets.remove(cx, key) else { return };
        if matches!(socket.body, Body::Netlink(_)) {
            self.groups_changed(cx);
        }
        for thread in socket.waiting {
            if let Some(call) = self.unpark(thread) {
                let _ = call.notification.fail(Errno::BADF);
            }
        }
        if let Some(id) = socket.id {
            let _ = if reset { cx.host.abort(cx.now, id) } else { cx.host.close(cx.now, id) };
            if !reset && matches!(socket.body, Body::Stream(_)) {
                self.closing.push(id);
                if self.closing.len() >= 1024 {
                    self.closing.retain(|id| !cx.host.is_drained(*id));
                }
            }
        }
    }

    /// Shows the program that a connection is broken.
    pub(crate) fn break_off(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        let (holder, inode) = (socket.holder, socket.inode);
        let theirs = self.program_end(holder, inode);
        let Some(socket) = self.sockets.get(key) else { return };
        stream::break_off(socket, cx, theirs.as_ref().map(|t| t.as_fd()));
        match theirs {
            Some(theirs) => self.watch_close(cx, key, &theirs),
            // Nobody to ask about it any more: what is left is a pair of the kernel's.
            None => self.closed(cx, key, false),
        }
    }

    /// The program's end of a socket, if it is still where it was seen last.
    fn program_end(&mut self, holder: (u32, i32), inode: u64) -> Option<OwnedFd> {
        let end = self.processes.descriptor(holder.0, holder.1).ok()?;
        (crate::process::socket_inode(end.as_fd()) == Some(inode)).then_some(end)
    }

    /// From now on the close of this socket is found by asking [`Alive`].
    pub(crate) fn watch_close(&mut self, cx: &mut Context<'_>, key: Key, theirs: &OwnedFd) {
        let Some(socket) = self.sockets.get(key) else { return };
        let inode = socket.inode;
        if self.alive.watch(theirs, inode).is_err() {
            return self.closed(cx, key, false);
        }
        socket.watched = true;
        self.ask_alive |= self.alive.watched() >= ASK_AFTER;
    }

    /// Finds out in this turn which sockets that cannot tell were closed.
    pub(crate) fn look_for_closes(&mut self) {
        self.ask_alive = true;
    }

    /// When [`World::poll`] has something to do.
    pub(crate) fn poll_at(&self, now: Instant) -> Option<Instant> {
        if !self.runnable.is_empty() || !self.begun.is_empty() || self.ask_alive {
            return Some(now);
        }
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        self.tell_changes(cx);
        for key in std::mem::take(&mut self.runnable) {
            self.touched(cx, key, false);
        }
        if std::mem::take(&mut self.ask_alive)
            && let Ok(open) = self.alive.open()
        {
            for (key, inode) in self.sockets.watched() {
                if open.contains(&inode) {
                    continue;
                }
                if let Some(socket) = self.sockets.get(key)
                    && socket.ours.is_some()
                    && let Body::Stream(stream) = &mut socket.body
                {
                    // What the program wrote before goes up first.
                    stream.is_gone(false);
                    self.touched(cx, key, false);
                } else {
                    self.closed(cx, key, false);
                }
            }
        }
        while let Some((at, thread)) = self.deadlines.first().copied()
            && at <= cx.now
        {
            self.deadlines.remove(&(at, thread));
            if let Some(call) = self.unpark(thread) {
                self.timed_out(call);
            }
        }
    }

    /// A parked call has waited as long as SO_RCVTIMEO or SO_SNDTIMEO says.
    fn timed_out(&mut self, call: Call) {
        let result = match call.progress {
            0 if call.notification.number == libc::SYS_connect => Err(Errno::INPROGRESS),
            0 => Err(Errno::AGAIN),
            n => Ok(n as i64),
        };
        let _ = call.notification.finish(result);
    }

    /// Whether the host still has to finish connections that the program closed.
    pub(crate) fn is_drained(&mut self, cx: &mut Context<'_>) -> bool {
        self.closing.retain(|id| !cx.host.is_drained(*id));
        self.closing.is_empty()
    }

    /// Sockets the program has, for statistics.
    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }
}
