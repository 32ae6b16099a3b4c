//! The keyboard controller, of which only the reset line is there.

use vm_superio::I8042Device;
use vmm_sys_util::eventfd::EventFd;

use super::EventFdTrigger;

/// The first I/O port of the controller; the other one is `PORT + 4`.
pub const PORT: u16 = 0x60;

/// How many ports the controller's window has.
pub const PORTS: u16 = 5;

/// An i8042 controller.
pub struct I8042(I8042Device<EventFdTrigger>);

impl I8042 {
    /// A controller that writes to `reset` when the guest pulls the reset line.
    pub fn new(reset: EventFd) -> Self {
        Self(I8042Device::new(EventFdTrigger(reset)))
    }

    /// The guest reads port [`PORT`] + `offset`.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.0.read(offset)
    }

    /// The guest writes to port [`PORT`] + `offset`.
    pub fn write(&mut self, offset: u8, value: u8) {
        // The counter is full: the event was raised already.
        let _ = self.0.write(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reset_command_resets() {
        let reset = EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap();
        let mut i8042 = I8042::new(reset.try_clone().unwrap());
        i8042.write(0, 0xfe);
        i8042.write(4, 0xd1);
        assert!(reset.read().is_err());
        i8042.write(4, 0xfe);
        assert_eq!(reset.read().unwrap(), 1);
    }
}
