//! What the devices' unit tests share: a driver that sets a device up through its transport.

use event_manager::{EventManager, SubscriberOps};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::{AvailRing, DescriptorTable, UsedRing};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::VirtioDevice;
use super::mmio::{MmioTransport, QUEUE_NOTIFY};
use super::state::TransportState;
use super::subscriber::DeviceSubscriber;

pub const MEMORY_SIZE: u64 = 4 << 20;
/// Buffers start here; the queues lie below.
pub const BUFFERS: u64 = 1 << 20;

pub const NEXT: u16 = VRING_DESC_F_NEXT as u16;
pub const WRITE: u16 = VRING_DESC_F_WRITE as u16;

/// A queue from the driver's side. (The mock queue of `virtio-queue` lays its rings out so that they overlap.)
pub struct Queue<'m> {
    base: u64,
    size: u16,
    pub table: DescriptorTable<'m, GuestMemoryMmap>,
    avail: AvailRing<'m, GuestMemoryMmap>,
    used: UsedRing<'m, GuestMemoryMmap>,
}

const AVAIL: u64 = 0x4000;
const USED: u64 = 0x8000;

pub fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE as usize)]).unwrap()
}

/// The `index`th queue of a device, with `size` descriptors.
pub fn queue(memory: &GuestMemoryMmap, index: u64, size: u16) -> Queue<'_> {
    let base = 0x10000 * (index + 1);
    Queue {
        base,
        size,
        table: DescriptorTable::new(memory, GuestAddress(base), size),
        avail: AvailRing::new(memory, GuestAddress(base + AVAIL), size),
        used: UsedRing::new(memory, GuestAddress(base + USED), size),
    }
}

/// Makes a chain available. Its descriptors are (address, length, flags) and are put at `at` in the table, one after the other.
pub fn offer(queue: &Queue, at: u16, chain: &[(u64, u32, u16)]) {
    for (&(address, length, flags), index) in chain.iter().zip(at..) {
        let last = usize::from(index - at) + 1 == chain.len();
        let flags = if last { flags } else { flags | NEXT };
        let descriptor = Descriptor::new(address, length, flags, index + 1);
        queue
            .table
            .store(index, RawDescriptor::from(descriptor))
            .unwrap();
    }
    let next = u16::from_le(queue.avail.idx().load());
    queue
        .avail
        .ring()
        .ref_at((next % queue.size).into())
        .unwrap()
        .store(at.to_le());
    queue.avail.idx().store(next.wrapping_add(1).to_le());
}

/// The entry of the used ring at `index`: head and length; `None` when the device has not come so far.
pub fn used(queue: &Queue, index: u16) -> Option<(u32, u32)> {
    let written = u16::from_le(queue.used.idx().load());
    (index != written).then(|| {
        let element = queue
            .used
            .ring()
            .ref_at((index % queue.size).into())
            .unwrap()
            .load();
        (element.id(), element.len())
    })
}

/// A device behind a transport, and its event loop, which runs when it is told to.
pub struct Rig {
    pub memory: GuestMemoryMmap,
    pub transport: MmioTransport,
    manager: EventManager<DeviceSubscriber>,
}

impl Rig {
    pub fn new(memory: &GuestMemoryMmap, device: impl VirtioDevice + 'static) -> Self {
        let transport = MmioTransport::new(memory.clone(), Box::new(device)).unwrap();
        let mut manager = EventManager::new().unwrap();
        manager.add_subscriber(transport.subscriber());
        Self {
            memory: memory.clone(),
            transport,
            manager,
        }
    }

    /// A device that was set up by its driver with the given queues and all features but `without`.
    pub fn active(
        memory: &GuestMemoryMmap,
        device: impl VirtioDevice + 'static,
        queues: &[&Queue],
        without: u64,
    ) -> Self {
        let features = device.features() & !without;
        let mut rig = Self::new(memory, device);
        rig.set_up(queues, features);
        rig.turn();
        rig
    }

    /// A restored device.
    pub fn restored(
        memory: &GuestMemoryMmap,
        device: impl VirtioDevice + 'static,
        state: &TransportState,
    ) -> Self {
        let text = serde_json::to_string(state).unwrap();
        let mut rig = Self::new(memory, device);
        rig.transport
            .restore(&serde_json::from_str(&text).unwrap())
            .unwrap();
        rig.turn();
        rig
    }

    /// What a driver does: section 3.1.1 of the specification.
    pub fn set_up(&mut self, queues: &[&Queue], features: u64) {
        self.write(VIRTIO_MMIO_STATUS, 1);
        self.write(VIRTIO_MMIO_STATUS, 3);
        for half in 0..2 {
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.write(
                VIRTIO_MMIO_DRIVER_FEATURES,
                (features >> (32 * half)) as u32,
            );
        }
        self.write(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 11);
        for (index, queue) in queues.iter().enumerate() {
            self.write(VIRTIO_MMIO_QUEUE_SEL, index as u32);
            self.write(VIRTIO_MMIO_QUEUE_NUM, queue.size.into());
            self.write(VIRTIO_MMIO_QUEUE_DESC_LOW, queue.base as u32);
            self.write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (queue.base + AVAIL) as u32);
            self.write(VIRTIO_MMIO_QUEUE_USED_LOW, (queue.base + USED) as u32);
            self.write(VIRTIO_MMIO_QUEUE_READY, 1);
        }
        self.write(VIRTIO_MMIO_STATUS, 15);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 15);
    }

    pub fn read(&mut self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.transport.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    pub fn write(&mut self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    /// Announces buffers in a queue and lets the device work.
    pub fn kick(&mut self, queue: u32) {
        self.transport.write(QUEUE_NOTIFY, &queue.to_le_bytes());
        self.turn();
    }

    /// Lets the device work until it has nothing to do any more.
    pub fn turn(&mut self) {
        for _ in 0..10_000 {
            if self.manager.run_with_timeout(0).unwrap() == 0 {
                return;
            }
        }
        panic!("the device doesn't come to rest");
    }

    /// Whether the driver was interrupted since this was last asked.
    pub fn interrupted(&mut self) -> bool {
        self.transport.interrupt_event().read().is_ok()
    }

    pub fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }

    pub fn put(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }
}
