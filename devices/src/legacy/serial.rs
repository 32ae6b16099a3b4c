//! The serial console: a 16550 UART whose output goes to a [`ConsoleLog`].

use serde::{Deserialize, Serialize};
use vm_superio::serial::NoEvents;
use vmm_sys_util::eventfd::EventFd;

use super::EventFdTrigger;
use super::console::ConsoleLog;

/// The first I/O port of COM1.
pub const PORT: u16 = 0x3f8;

/// How many ports a UART has.
pub const PORTS: u16 = 8;

/// A UART.
pub struct Serial {
    uart: vm_superio::Serial<EventFdTrigger, NoEvents, ConsoleLog>,
}

/// A saved [`Serial`]: the UART's registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SerialState {
    pub baud_divisor_low: u8,
    pub baud_divisor_high: u8,
    pub interrupt_enable: u8,
    pub interrupt_identification: u8,
    pub line_control: u8,
    pub line_status: u8,
    pub modem_control: u8,
    pub modem_status: u8,
    pub scratch: u8,
    pub in_buffer: Vec<u8>,
}

/// Why a saved UART could not be taken over.
#[derive(Debug, thiserror::Error)]
#[error("the saved state of the serial console: {0}")]
pub struct SerialStateError(String);

impl Serial {
    /// A UART that raises `interrupt` and writes to `log`.
    pub fn new(interrupt: EventFd, log: ConsoleLog) -> Self {
        Self {
            uart: vm_superio::Serial::new(EventFdTrigger(interrupt), log),
        }
    }

    /// A UART with saved registers.
    pub fn from_state(
        state: &SerialState,
        interrupt: EventFd,
        log: ConsoleLog,
    ) -> Result<Self, SerialStateError> {
        let state = vm_superio::SerialState {
            baud_divisor_low: state.baud_divisor_low,
            baud_divisor_high: state.baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.in_buffer.clone(),
        };
        let uart = vm_superio::Serial::from_state(&state, EventFdTrigger(interrupt), NoEvents, log)
            .map_err(|error| SerialStateError(error.to_string()))?;
        Ok(Self { uart })
    }

    /// The registers.
    pub fn save(&self) -> SerialState {
        let state = self.uart.state();
        SerialState {
            baud_divisor_low: state.baud_divisor_low,
            baud_divisor_high: state.baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.in_buffer,
        }
    }

    /// The guest reads port [`PORT`] + `offset`.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.uart.read(offset)
    }

    /// The guest writes to port [`PORT`] + `offset`.
    pub fn write(&mut self, offset: u8, value: u8) {
        // The log takes everything, and an interrupt that can't be raised is pending already.
        let _ = self.uart.write(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_sends_is_in_the_log_and_registers_survive_a_restore() {
        let event = || EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap();
        let log = ConsoleLog::in_memory();
        let mut serial = Serial::new(event(), log.clone());
        b"hello\n".iter().for_each(|&byte| serial.write(0, byte));
        assert_eq!(log.last_lines(1), "hello");

        serial.write(7, 0xa5);
        let state = serial.save();
        let text = serde_json::to_string(&state).unwrap();
        let mut restored =
            Serial::from_state(&serde_json::from_str(&text).unwrap(), event(), log).unwrap();
        assert_eq!(restored.save(), state);
        assert_eq!(restored.read(7), 0xa5);
    }
}
