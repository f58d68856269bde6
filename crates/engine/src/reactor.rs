//! The epoll descriptor and what each watched descriptor belongs to.
//!
//! An event carries the descriptor's number and the generation of its registration. A registration that ended (or whose
//! descriptor was closed, and its number given to another) has another generation, so events that epoll_wait(2) had
//! already handed out for it are not delivered.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::{Interest, NodeId};

/// Whom a descriptor's events are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service { node: NodeId, token: u64 },
    Nic { node: NodeId, port: usize },
}

#[derive(Clone, Copy, Default)]
struct Watch {
    generation: u32,
    current: Option<(Target, EventFlags)>,
}

pub(crate) struct Reactor {
    epoll: OwnedFd,
    /// By descriptor number: these are small and dense.
    watches: Vec<Watch>,
    status: Option<i32>,
}

impl Reactor {
    pub fn new() -> io::Result<Reactor> {
        Ok(Reactor { epoll: epoll::create(CreateFlags::CLOEXEC)?, watches: Vec::new(), status: None })
    }

    pub fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    pub fn stop(&mut self, status: i32) {
        self.status.get_or_insert(status);
    }

    /// What was asked to stop with, once.
    pub fn take_status(&mut self) -> Option<i32> {
        self.status.take()
    }

    pub fn register(&mut self, fd: BorrowedFd<'_>, target: Target, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd() as usize;
        if self.watches.len() <= number {
            self.watches.resize(number + 1, Watch::default());
        }
        let watch = &mut self.watches[number];
        let generation = watch.generation.wrapping_add(1);
        epoll::add(&self.epoll, fd, data(number, generation), interest)?;
        *watch = Watch { generation, current: Some((target, interest)) };
        Ok(())
    }

    pub fn modify(&mut self, fd: BorrowedFd<'_>, target: Target, interest: Interest) -> io::Result<()> {
        let number = fd.as_raw_fd() as usize;
        let watch = self.watches.get_mut(number).filter(|watch| watch.current.is_some());
        let watch = watch.ok_or(rustix::io::Errno::NOENT)?;
        epoll::modify(&self.epoll, fd, data(number, watch.generation), interest)?;
        watch.current = Some((target, interest));
        Ok(())
    }

    /// Changes what a descriptor is watched for, and not whom it belongs to.
    pub fn update(&mut self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<()> {
        let current = self.watches.get(fd.as_raw_fd() as usize).and_then(|watch| watch.current);
        let (target, _) = current.ok_or(rustix::io::Errno::NOENT)?;
        self.modify(fd, target, interest)
    }

    pub fn deregister(&mut self, fd: BorrowedFd<'_>) {
        // ENOENT is no news: the caller wants it gone.
        let _ = epoll::delete(&self.epoll, fd);
        self.forget(fd);
    }

    /// The same for a descriptor that is about to be closed, which takes it out of the epoll set if it has no duplicate.
    pub fn forget(&mut self, fd: BorrowedFd<'_>) {
        if let Some(watch) = self.watches.get_mut(fd.as_raw_fd() as usize) {
            watch.generation = watch.generation.wrapping_add(1);
            watch.current = None;
        }
    }

    /// Whom an event is for and what of it is still of interest; `None` if it is stale.
    pub fn resolve(&self, event: epoll::Event) -> Option<(Target, EventFlags)> {
        let (data, flags) = (event.data.u64(), event.flags);
        let watch = self.watches.get(data as u32 as usize)?;
        let (target, interest) = watch.current.filter(|_| watch.generation == (data >> 32) as u32)?;
        let seen = flags & (interest | EventFlags::ERR | EventFlags::HUP);
        (!seen.is_empty()).then_some((target, seen))
    }
}

fn data(number: usize, generation: u32) -> EventData {
    EventData::new_u64(u64::from(generation) << 32 | number as u64)
}
