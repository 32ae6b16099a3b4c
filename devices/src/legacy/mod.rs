//! Devices on the PC's I/O ports: serial console, i8042 and power control.

pub mod console;
pub mod i8042;
pub mod power;
pub mod serial;

use std::io;

use vm_superio::Trigger;
use vmm_sys_util::eventfd::EventFd;

/// An eventfd in the role of an interrupt line or a button.
#[derive(Debug)]
pub(crate) struct EventFdTrigger(pub(crate) EventFd);

impl Trigger for EventFdTrigger {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}
