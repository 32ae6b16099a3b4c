//! One virtqueue of a device that its driver is using.

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

/// A descriptor chain in the guest's memory.
pub type GuestChain<'m> = DescriptorChain<&'m GuestMemoryMmap>;

/// A virtqueue, with the eventfd that announces new buffers in it.
pub struct VirtQueue {
    queue: Queue,
    kick: EventFd,
    errors: u64,
}

impl VirtQueue {
    /// A queue in the given state; fails when the state breaks the rules of section 2.7 of the specification.
    pub fn new(state: QueueState, kick: EventFd) -> Result<Self, virtio_queue::Error> {
        Ok(Self {
            queue: Queue::try_from(state)?,
            kick,
            errors: 0,
        })
    }

    /// Whether all rings lie in the guest's memory.
    pub fn is_valid(&self, memory: &GuestMemoryMmap) -> bool {
        self.queue.is_valid(memory)
    }

    /// How many descriptors the queue has.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next chain. When there is none, the driver is asked to announce the next one.
    ///
    /// A driver whose ring makes no sense is treated as one with no buffers.
    pub fn pop<'m>(&mut self, memory: &'m GuestMemoryMmap) -> Option<GuestChain<'m>> {
        match self.try_pop(memory) {
            Some(chain) => Some(chain),
            // A chain that came between looking and asking would not be announced, so look again, once.
            None => match self.queue.ready() && self.queue.enable_notification(memory).ok()? {
                true => {
                    let chain = self.try_pop(memory);
                    self.errors += u64::from(chain.is_none());
                    chain
                }
                false => None,
            },
        }
    }

    fn try_pop<'m>(&mut self, memory: &'m GuestMemoryMmap) -> Option<GuestChain<'m>> {
        self.queue.iter(memory).ok()?.next()
    }

    /// Puts the last `count` chains that were taken back; they will be taken again in the same order.
    pub fn undo_pop(&mut self, count: usize) {
        for _ in 0..count {
            self.queue.go_to_previous_position();
        }
    }

    /// Gives a chain back to the driver, with `length` bytes written to it.
    pub fn add_used(&mut self, memory: &GuestMemoryMmap, head: u16, length: u32) {
        if self.queue.add_used(memory, head, length).is_err() {
            self.errors += 1;
        }
    }

    /// Whether the driver wants an interrupt for the chains given back since this was last asked.
    pub fn needs_notification(&mut self, memory: &GuestMemoryMmap) -> bool {
        // In doubt an interrupt too many: one too few can stall the guest.
        self.queue.needs_notification(memory).unwrap_or(true)
    }

    /// Has the queue processed again, after the other devices had their turn.
    pub fn kick(&self) {
        let _ = self.kick.write(1);
    }

    /// How often the rings themselves were found broken.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// The state to be saved.
    pub fn state(&self) -> QueueState {
        self.queue.state()
    }
}
