//! The port at which the guest switches itself off.

use vmm_sys_util::eventfd::EventFd;

/// The I/O port of the register.
pub const PORT: u16 = 0x600;

/// The value that switches off: sleep type 5 (bits 2 to 4) and sleep enable (bit 5).
pub const POWER_OFF: u8 = 5 << 2 | 1 << 5;

/// A byte-wide register that is laid out like the ACPI sleep control register (ACPI 6.4, section 4.8.3.7).
pub struct PowerControl {
    power_off: EventFd,
}

impl PowerControl {
    /// A register that writes to `power_off` when the guest switches itself off.
    pub fn new(power_off: EventFd) -> Self {
        Self { power_off }
    }

    /// The guest reads the register.
    pub fn read(&self) -> u8 {
        0
    }

    /// The guest writes to the register.
    pub fn write(&self, value: u8) {
        if value == POWER_OFF {
            // The counter is full: the event was raised already.
            let _ = self.power_off.write(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sleep_state_5_switches_off() {
        let event = EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap();
        let power = PowerControl::new(event.try_clone().unwrap());
        for value in [0, 0x14, 0x20, 0x30, 0xff] {
            power.write(value);
        }
        assert!(event.read().is_err());
        power.write(0x34);
        assert_eq!(event.read().unwrap(), 1);
    }
}
