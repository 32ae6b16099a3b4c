//! A device's interrupt: the status that the driver reads and the eventfd that raises it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The interrupt of one device; clones are the same interrupt.
#[derive(Clone)]
pub struct Interrupt(Arc<Shared>);

struct Shared {
    status: AtomicU32,
    generation: AtomicU32,
    needs_reset: AtomicBool,
    event: EventFd,
}

impl Interrupt {
    /// An interrupt that nothing has raised yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            status: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            event: EventFd::new(EFD_NONBLOCK)?,
        })))
    }

    /// Tells the driver that buffers were used. Call it through [`Active::notify_used`](super::Active::notify_used), which asks the
    /// queue first whether the driver wants to know.
    pub fn signal_used_queue(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// Tells the driver that the configuration space has changed.
    pub fn signal_config_change(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    /// Tells the driver that the device can only go on after a reset.
    pub fn signal_needs_reset(&self) {
        self.0.needs_reset.store(true, Ordering::Release);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    /// The eventfd to be wired to the interrupt line.
    pub fn event(&self) -> &EventFd {
        &self.0.event
    }

    pub(super) fn status(&self) -> u32 {
        self.0.status.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, bits: u32) {
        self.0.status.fetch_and(!bits, Ordering::AcqRel);
    }

    pub(super) fn generation(&self) -> u32 {
        self.0.generation.load(Ordering::Acquire)
    }

    pub(super) fn needs_reset(&self) -> bool {
        self.0.needs_reset.load(Ordering::Acquire)
    }

    pub(super) fn reset(&self) {
        self.0.status.store(0, Ordering::Release);
        self.0.needs_reset.store(false, Ordering::Release);
    }

    /// Takes over a saved status, and raises the line again when something is in it: the interrupt may have been on its way.
    pub(super) fn restore(&self, status: u32, generation: u32, needs_reset: bool) {
        self.0.generation.store(generation, Ordering::Release);
        self.0.needs_reset.store(needs_reset, Ordering::Release);
        if status != 0 {
            self.raise(status);
        }
    }

    fn raise(&self, bits: u32) {
        self.0.status.fetch_or(bits, Ordering::AcqRel);
        // This fails only when the counter is at its limit, and then the line is about to be raised anyway.
        let _ = self.0.event.write(1);
    }
}
