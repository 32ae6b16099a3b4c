//! The buses: which device answers at which I/O port and which guest-physical address.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rvm_devices::legacy::i8042::I8042;
use rvm_devices::legacy::power::PowerControl;
use rvm_devices::legacy::serial::{Serial, SerialState};
use rvm_devices::virtio::mmio::MmioTransport;
use rvm_devices::virtio::state::{StateError, TransportState};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::control::Stop;
use crate::layout::{I8042_PORTS, POWER_PORT, SERIAL_PORT, VIRTIO_MMIO_SIZE, VIRTIO_MMIO_START};

const SERIAL_LAST_PORT: u16 = SERIAL_PORT + 7;

/// Why saved devices do not fit.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There are more or fewer.
    #[error("the snapshot has {found} virtio devices, the configuration {expected}")]
    Count {
        /// How many there are.
        expected: usize,
        /// How many were saved.
        found: usize,
    },
    /// One is different.
    #[error("can't restore virtio device {index}")]
    Device {
        /// Its number.
        index: usize,
        /// What is different.
        #[source]
        source: StateError,
    },
}

/// The devices of a virtual machine, by address. Reads where there is no device give ones, writes there go nowhere.
pub struct Bus {
    virtio: Vec<Mutex<MmioTransport>>,
    serial: Mutex<Serial>,
    i8042: Mutex<I8042>,
    reset: EventFd,
    power: PowerControl,
    power_off: EventFd,
}

impl Bus {
    /// A bus with the virtio devices in the order of their addresses.
    pub fn new(virtio: Vec<Mutex<MmioTransport>>, serial: Mutex<Serial>) -> std::io::Result<Self> {
        let reset = EventFd::new(EFD_NONBLOCK)?;
        let power_off = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self {
            virtio,
            serial,
            i8042: Mutex::new(I8042::new(reset.try_clone()?)),
            reset,
            power: PowerControl::new(power_off.try_clone()?),
            power_off,
        })
    }

    /// A guest's read from a guest-physical address.
    pub fn mmio_read(&self, address: u64, data: &mut [u8]) {
        match self.virtio_device(address) {
            Some((device, offset)) => lock(device).read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// A guest's write to a guest-physical address.
    pub fn mmio_write(&self, address: u64, data: &[u8]) {
        if let Some((device, offset)) = self.virtio_device(address) {
            lock(device).write(offset, data);
        }
    }

    /// A guest's read from an I/O port.
    pub fn io_read(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        let [byte] = data else { return };
        *byte = match port {
            SERIAL_PORT..=SERIAL_LAST_PORT => lock(&self.serial).read((port - SERIAL_PORT) as u8),
            POWER_PORT => self.power.read(),
            port if I8042_PORTS.contains(&port) => {
                lock(&self.i8042).read((port - I8042_PORTS.start()) as u8)
            }
            _ => 0xff,
        };
    }

    /// A guest's write to an I/O port; says so when it ends the virtual machine.
    pub fn io_write(&self, port: u16, data: &[u8]) -> Option<Stop> {
        let [byte] = *data else { return None };
        match port {
            SERIAL_PORT..=SERIAL_LAST_PORT => {
                lock(&self.serial).write((port - SERIAL_PORT) as u8, byte);
                None
            }
            POWER_PORT => {
                self.power.write(byte);
                self.power_off.read().is_ok().then_some(Stop::PowerOff)
            }
            port if I8042_PORTS.contains(&port) => {
                let offset = (port - I8042_PORTS.start()) as u8;
                lock(&self.i8042).write(offset, byte);
                self.reset.read().is_ok().then_some(Stop::Reset)
            }
            _ => None,
        }
    }

    /// The state of the serial console and of the virtio devices. Neither vCPUs nor the device thread may run meanwhile.
    pub fn save(&self) -> (SerialState, Vec<TransportState>) {
        (
            lock(&self.serial).save(),
            self.virtio
                .iter()
                .map(|device| lock(device).save())
                .collect(),
        )
    }

    /// Gives the virtio devices a saved state.
    pub fn restore(&self, states: &[TransportState]) -> Result<(), RestoreError> {
        if states.len() != self.virtio.len() {
            let (expected, found) = (self.virtio.len(), states.len());
            return Err(RestoreError::Count { expected, found });
        }
        for (index, (device, state)) in self.virtio.iter().zip(states).enumerate() {
            lock(device)
                .restore(state)
                .map_err(|source| RestoreError::Device { index, source })?;
        }
        Ok(())
    }

    fn virtio_device(&self, address: u64) -> Option<(&Mutex<MmioTransport>, u64)> {
        let offset = address.checked_sub(VIRTIO_MMIO_START)?;
        let index = usize::try_from(offset / VIRTIO_MMIO_SIZE).ok()?;
        Some((self.virtio.get(index)?, offset % VIRTIO_MMIO_SIZE))
    }
}

/// Locks a device. One that panicked in another thread goes on with the state it had.
fn lock<T>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}
