//! Readiness: one epoll set, and descriptors that are in it only while an event of theirs is wanted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{Timespec, epoll};

/// What a descriptor is to the thing that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Accepts connections.
    Listener,
    /// Reports ended children.
    Signals,
    /// A connection from the host.
    Connection,
    /// The writing end of a process's standard input.
    Stdin,
    /// The reading end of a process's standard output, or its terminal.
    Stdout,
    /// The reading end of a process's standard error.
    Stderr,
}

impl Role {
    fn from_bits(bits: u64) -> Self {
        match bits & 0xff {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Connection,
            3 => Self::Stdin,
            4 => Self::Stdout,
            _ => Self::Stderr,
        }
    }
}

/// Something happened to the descriptor that has this role in the object of this id.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The owner.
    pub id: u32,
    /// Which of its descriptors.
    pub role: Role,
}

/// An epoll set.
#[derive(Clone)]
pub struct Poll(Rc<OwnedFd>);

impl Poll {
    /// Makes an empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Rc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?)))
    }

    /// Waits for events, at most for `timeout`; an empty list when it has passed.
    pub fn wait(&self, timeout: Option<std::time::Duration>) -> io::Result<Vec<Event>> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs() as i64,
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let mut ready = Vec::with_capacity(16);
        match epoll::wait(
            &*self.0,
            rustix::buffer::spare_capacity(&mut ready),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let event = |e: &epoll::Event| Event {
            id: (e.data.u64() >> 8) as u32,
            role: Role::from_bits(e.data.u64()),
        };
        Ok(ready.iter().map(event).collect())
    }
}

/// A descriptor that can be in the set. It leaves the set before it is closed: a forked child that still holds a copy would
/// otherwise keep its events coming.
pub struct Watched {
    fd: OwnedFd,
    data: epoll::EventData,
    interest: epoll::EventFlags,
    poll: Poll,
}

impl Watched {
    /// Takes a descriptor, which is not watched yet.
    pub fn new(poll: &Poll, fd: OwnedFd, id: u32, role: Role) -> Self {
        let data = epoll::EventData::new_u64(u64::from(id) << 8 | role as u64);
        Self {
            fd,
            data,
            interest: epoll::EventFlags::empty(),
            poll: poll.clone(),
        }
    }

    /// Watches for readability, for writability, both or nothing.
    pub fn want(&mut self, read: bool, write: bool) -> io::Result<()> {
        let mut interest = epoll::EventFlags::empty();
        interest.set(epoll::EventFlags::IN, read);
        interest.set(epoll::EventFlags::OUT, write);
        if interest == self.interest {
            return Ok(());
        }
        let set = &*self.poll.0;
        if interest.is_empty() {
            epoll::delete(set, &self.fd)?;
        } else if self.interest.is_empty() {
            epoll::add(set, &self.fd, self.data, interest)?;
        } else {
            epoll::modify(set, &self.fd, self.data, interest)?;
        }
        self.interest = interest;
        Ok(())
    }

    /// Watches for readability and leaves the rest as it is.
    pub fn want_read(&mut self, read: bool) -> io::Result<()> {
        self.want(read, self.interest.contains(epoll::EventFlags::OUT))
    }

    /// Watches for writability and leaves the rest as it is.
    pub fn want_write(&mut self, write: bool) -> io::Result<()> {
        self.want(self.interest.contains(epoll::EventFlags::IN), write)
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Nothing can be done about an error, and the descriptor is closed next.
        let _ = self.want(false, false);
    }
}
