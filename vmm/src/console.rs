//! The serial console, and what can be learnt from what the guest wrote to it.

use std::fs::File;
use std::sync::Mutex;

use kvm_ioctls::VmFd;
use rvm_devices::legacy::console::ConsoleLog;
use rvm_devices::legacy::serial::{Serial, SerialState, SerialStateError};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::config::CONSOLE_LIMIT;
use crate::layout::SERIAL_IRQ;

/// What Linux writes when it panics.
const PANIC: &str = "Kernel panic - not syncing";
/// How many lines a report of a panic has.
const REPORT_LINES: usize = 40;

/// Why a console could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its interrupt could not be duplicated.
    #[error("can't duplicate the serial console's interrupt")]
    Interrupt(#[from] std::io::Error),
    /// Its state is not one.
    #[error(transparent)]
    State(#[from] SerialStateError),
}

/// The guest's serial console.
pub struct Console {
    interrupt: EventFd,
    log: ConsoleLog,
}

impl Console {
    /// A console that writes to `file`, or keeps only its last lines.
    pub fn new(file: Option<File>) -> std::io::Result<Self> {
        let log = match file {
            Some(file) => ConsoleLog::with_file(file, CONSOLE_LIMIT)?,
            None => ConsoleLog::in_memory(),
        };
        Ok(Self {
            interrupt: EventFd::new(EFD_NONBLOCK)?,
            log,
        })
    }

    /// Connects its interrupt.
    pub fn connect(&self, vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
        vm.register_irqfd(&self.interrupt, SERIAL_IRQ)
    }

    /// The device, for the bus.
    pub fn serial(&self) -> std::io::Result<Mutex<Serial>> {
        Ok(Mutex::new(Serial::new(
            self.interrupt.try_clone()?,
            self.log.clone(),
        )))
    }

    /// The device in a saved state.
    pub fn restore(&self, state: &SerialState) -> Result<Mutex<Serial>, RestoreError> {
        let interrupt = self.interrupt.try_clone()?;
        Ok(Mutex::new(Serial::from_state(
            state,
            interrupt,
            self.log.clone(),
        )?))
    }

    /// The console's last lines, when the guest's kernel has panicked.
    pub fn panic(&self) -> Option<String> {
        let lines = self.log.last_lines(REPORT_LINES);
        lines.contains(PANIC).then_some(lines)
    }

    /// Writes what is left of an unfinished line to the file.
    pub fn finish(&self) {
        self.log.sync();
    }
}
