//! The virtio-mmio transport: the registers that a guest's driver sees (virtio 1.2, section 4.2, version 2 only).

mod persist;

use std::io;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE as ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER as DRIVER,
    VIRTIO_CONFIG_S_DRIVER_OK as DRIVER_OK, VIRTIO_CONFIG_S_FAILED as FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK as FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET as NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::interrupt::Interrupt;
use super::queue::VirtQueue;
use super::state::{DeviceMetrics, StateError};
use super::subscriber::{DeviceCell, DeviceSubscriber, lock};
use super::{Active, VirtioDevice};

/// The length of a device's window in guest-physical memory, in bytes.
pub const WINDOW_SIZE: u64 = 0x1000;

/// The offset of the register that announces buffers; the value written is the queue's index.
pub const QUEUE_NOTIFY: u64 = VIRTIO_MMIO_QUEUE_NOTIFY as u64;

const CONFIG: u64 = VIRTIO_MMIO_CONFIG as u64;
/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "rvm".
const VENDOR: u32 = 0x006d_7672;

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No eventfd.
    #[error("creating an eventfd for a virtio device")]
    EventFd(#[source] io::Error),
    /// The device has a queue of a size that is not possible.
    #[error("a virtio device's queue: {0}")]
    Queue(virtio_queue::Error),
}

/// A virtio device as its driver sees it.
pub struct MmioTransport {
    cell: Arc<Mutex<DeviceCell>>,
    kicks: Arc<[EventFd]>,
    lifecycle: Arc<EventFd>,
    interrupt: Interrupt,
    memory: GuestMemoryMmap,
    device_type: u32,
    device_features: u64,
    /// The queues as the driver has set them up; those in use are in the cell.
    queues: Vec<Queue>,
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    ignored: u64,
}

impl MmioTransport {
    /// Puts `device` behind a transport.
    pub fn new(
        memory: GuestMemoryMmap,
        device: Box<dyn VirtioDevice>,
    ) -> Result<Self, TransportError> {
        let queues = new_queues(device.queue_max_sizes()).map_err(TransportError::Queue)?;
        let kicks: Result<Vec<_>, _> = queues.iter().map(|_| EventFd::new(EFD_NONBLOCK)).collect();
        Ok(Self {
            kicks: kicks.map_err(TransportError::EventFd)?.into(),
            lifecycle: Arc::new(EventFd::new(EFD_NONBLOCK).map_err(TransportError::EventFd)?),
            interrupt: Interrupt::new().map_err(TransportError::EventFd)?,
            memory,
            device_type: device.device_type(),
            device_features: device.features(),
            queues,
            cell: Arc::new(Mutex::new(DeviceCell::new(device))),
            status: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            ignored: 0,
        })
    }

    /// The device's share of the event loop; to be taken once.
    pub fn subscriber(&self) -> DeviceSubscriber {
        DeviceSubscriber {
            cell: Arc::clone(&self.cell),
            kicks: Arc::clone(&self.kicks),
            lifecycle: Arc::clone(&self.lifecycle),
        }
    }

    /// One eventfd a queue, to be written when the driver writes the queue's index to [`QUEUE_NOTIFY`].
    pub fn queue_events(&self) -> &[EventFd] {
        &self.kicks
    }

    /// The eventfd that is written to interrupt the driver.
    pub fn interrupt_event(&self) -> &EventFd {
        self.interrupt.event()
    }

    /// The device's type, section 5 of the specification.
    pub fn device_type(&self) -> u32 {
        self.device_type
    }

    /// What the device has counted.
    pub fn metrics(&self) -> DeviceMetrics {
        lock(&self.cell).device.metrics()
    }

    /// How many bytes the device has taken from the guest that the host has not taken yet. A VMM whose guest has switched itself
    /// off can give the host some time for them before it ends.
    pub fn undelivered(&self) -> u64 {
        lock(&self.cell).device.undelivered()
    }

    /// How many accesses were ignored because they were out of place.
    pub fn ignored_accesses(&self) -> u64 {
        self.ignored
    }

    /// How often the rings of the queues in use made no sense.
    pub fn queue_errors(&self) -> u64 {
        let cell = lock(&self.cell);
        let queues = cell.active.iter().flat_map(|active| &active.queues);
        queues.map(VirtQueue::errors).sum()
    }

    /// The driver reads `data.len()` bytes at `offset` in the device's window.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset.checked_sub(CONFIG) {
            return lock(&self.cell).device.read_config(offset, data);
        }
        match (<&mut [u8; 4]>::try_from(data), u32::try_from(offset)) {
            (Ok(data), Ok(offset)) => *data = self.read_register(offset).to_le_bytes(),
            _ => self.ignored += 1,
        }
    }

    /// The driver writes `data` at `offset` in the device's window.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some(offset) = offset.checked_sub(CONFIG) {
            return lock(&self.cell).device.write_config(offset, data);
        }
        let accepted = match (<[u8; 4]>::try_from(data), u32::try_from(offset)) {
            (Ok(data), Ok(offset)) => self.write_register(offset, u32::from_le_bytes(data)),
            _ => false,
        };
        self.ignored += u64::from(!accepted);
    }

    fn read_register(&mut self, offset: u32) -> u32 {
        let queue = self.queues.get(self.queue_select as usize);
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device_type,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.device_features, self.device_features_select),
            VIRTIO_MMIO_QUEUE_NUM_MAX => queue.map_or(0, |queue| queue.max_size().into()),
            VIRTIO_MMIO_QUEUE_READY => queue.map_or(0, |queue| queue.ready().into()),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.status(),
            VIRTIO_MMIO_STATUS => self.status(),
            VIRTIO_MMIO_CONFIG_GENERATION => self.interrupt.generation(),
            // A region that is not there has a length and a base of -1.
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            _ => {
                self.ignored += 1;
                0
            }
        }
    }

    /// Whether the write was in place.
    fn write_register(&mut self, offset: u32, value: u32) -> bool {
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES => return self.write_driver_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.queue_select = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => return self.notify(value),
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt.acknowledge(value),
            VIRTIO_MMIO_STATUS => return self.write_status(value),
            // No region is there to be selected.
            VIRTIO_MMIO_SHM_SEL => {}
            _ => return self.write_queue_register(offset, value),
        }
        true
    }

    fn status(&self) -> u32 {
        match self.interrupt.needs_reset() {
            true => self.status | NEEDS_RESET,
            false => self.status,
        }
    }

    fn write_driver_features(&mut self, value: u32) -> bool {
        if self.status != ACKNOWLEDGE | DRIVER {
            return false;
        }
        let value = u64::from(value);
        self.driver_features = match self.driver_features_select {
            0 => self.driver_features & !0xffff_ffff | value,
            1 => self.driver_features & 0xffff_ffff | value << 32,
            // There are 64 feature bits; a driver may clear those that aren't there.
            _ => return value == 0,
        };
        true
    }

    fn notify(&self, queue: u32) -> bool {
        match self.kicks.get(queue as usize) {
            Some(kick) if self.status & DRIVER_OK != 0 => kick.write(1).is_ok(),
            _ => false,
        }
    }

    fn write_queue_register(&mut self, offset: u32, value: u32) -> bool {
        if self.status != ACKNOWLEDGE | DRIVER | FEATURES_OK {
            return false;
        }
        let Some(queue) = self.queues.get_mut(self.queue_select as usize) else {
            return false;
        };
        if offset == VIRTIO_MMIO_QUEUE_READY {
            queue.set_ready(value == 1);
            return value <= 1;
        }
        if queue.ready() {
            return false;
        }
        match offset {
            VIRTIO_MMIO_QUEUE_NUM => {
                return u16::try_from(value).is_ok_and(|size| queue.try_set_size(size).is_ok());
            }
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => return false,
        }
        true
    }

    /// Section 3.1.1: the driver sets one bit after the other, and clears them all at once.
    fn write_status(&mut self, value: u32) -> bool {
        let value = value & !NEEDS_RESET;
        if value == 0 {
            self.reset();
            return true;
        }
        if value & self.status != self.status {
            return false;
        }
        let added = value & !self.status;
        match (self.status & !FAILED, added) {
            (_, 0) => {}
            (_, FAILED) | (0, ACKNOWLEDGE) | (ACKNOWLEDGE, DRIVER) => self.status = value,
            // Linux writes both at once when it resumes.
            (0, both) if both == ACKNOWLEDGE | DRIVER => self.status = value,
            (status, FEATURES_OK) if status == ACKNOWLEDGE | DRIVER => {
                let known = self.driver_features & !self.device_features == 0;
                // The driver reads the status back to see whether its features were accepted.
                if !known || self.driver_features & 1 << VIRTIO_F_VERSION_1 == 0 {
                    return false;
                }
                self.status = value;
            }
            (status, DRIVER_OK) if status == ACKNOWLEDGE | DRIVER | FEATURES_OK => {
                self.status = value;
                if let Err(error) = self.activate() {
                    tracing::debug!("activating virtio device {}: {error}", self.device_type);
                    self.interrupt.signal_needs_reset();
                }
            }
            _ => return false,
        }
        true
    }

    fn activate(&mut self) -> Result<(), StateError> {
        let event_idx = self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let mut queues = Vec::with_capacity(self.queues.len());
        for (index, (queue, kick)) in self.queues.iter_mut().zip(self.kicks.iter()).enumerate() {
            queue.set_event_idx(event_idx);
            let kick = kick.try_clone().map_err(StateError::EventFd)?;
            let active = VirtQueue::new(queue.state(), kick)
                .map_err(|error| StateError::Queue(index, error))?;
            if queue.ready() && !active.is_valid(&self.memory) {
                return Err(StateError::QueueMemory(index));
            }
            queues.push(active);
        }
        lock(&self.cell).activate(Active {
            memory: self.memory.clone(),
            queues,
            interrupt: self.interrupt.clone(),
            features: self.driver_features,
        });
        let _ = self.lifecycle.write(1);
        Ok(())
    }

    fn reset(&mut self) {
        lock(&self.cell).deactivate();
        let _ = self.lifecycle.write(1);
        self.interrupt.reset();
        self.queues.iter_mut().for_each(Queue::reset);
        self.status = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
    }
}

fn new_queues(sizes: &[u16]) -> Result<Vec<Queue>, virtio_queue::Error> {
    sizes.iter().map(|&size| Queue::new(size)).collect()
}

fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
