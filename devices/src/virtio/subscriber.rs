//! How a device's events reach it: its share of the event loop.
//!
//! Queue notifications are watched from the start, before the driver is there. What happens on a vCPU thread and concerns the
//! event loop, activation and reset, is left as a mark in the device's cell and announced with an eventfd; the device thread
//! carries it out before it looks at any other event of the device. So only the device thread registers and
//! unregisters descriptors, no thread waits for another one, and a reset followed at once by a new activation comes out right.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::eventfd::EventFd;

use super::{Active, VirtioDevice};

/// Tokens from here on are not for devices.
pub const FIRST_RESERVED_TOKEN: u32 = 0xffff_0000;
const LIFECYCLE_TOKEN: u32 = u32::MAX;

/// A device and what it has while in use, shared by its transport and its subscriber.
pub(super) struct DeviceCell {
    pub(super) device: Box<dyn VirtioDevice>,
    pub(super) active: Option<Active>,
    /// Whether the device thread has started the device for the present `active`.
    started: bool,
    /// Whether the device thread has to stop the device.
    stopping: bool,
}

impl DeviceCell {
    pub(super) fn new(device: Box<dyn VirtioDevice>) -> Self {
        Self {
            device,
            active: None,
            started: false,
            stopping: false,
        }
    }

    /// Has the device thread start the device.
    pub(super) fn activate(&mut self, active: Active) {
        self.active = Some(active);
    }

    /// Has the device thread stop the device; the guest's memory is not touched any more from now on.
    pub(super) fn deactivate(&mut self) {
        self.active = None;
        self.stopping |= self.started;
        self.started = false;
    }

    /// Carries out what was left by [`activate`](Self::activate) and [`deactivate`](Self::deactivate).
    fn settle(&mut self, ops: &mut EventOps) {
        if self.stopping {
            self.stopping = false;
            self.device.stop(ops);
        }
        let Some(active) = self.active.as_mut().filter(|_| !self.started) else {
            return;
        };
        self.started = true;
        if let Err(error) = self.device.start(active, ops) {
            tracing::error!(
                "starting virtio device {}: {error}",
                self.device.device_type()
            );
            active.interrupt.signal_needs_reset();
            self.active = None;
            return;
        }
        for index in 0..active.queues.len() {
            self.device.process_queue(index, active, ops);
        }
    }
}

/// Locks a device. A panic elsewhere doesn't make the device unusable: each call leaves it consistent.
pub(super) fn lock(cell: &Mutex<DeviceCell>) -> MutexGuard<'_, DeviceCell> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The subscriber for one device.
pub struct DeviceSubscriber {
    pub(super) cell: Arc<Mutex<DeviceCell>>,
    pub(super) kicks: Arc<[EventFd]>,
    pub(super) lifecycle: Arc<EventFd>,
}

impl MutEventSubscriber for DeviceSubscriber {
    fn init(&mut self, ops: &mut EventOps) {
        let kicks = self.kicks.iter().zip(FIRST_RESERVED_TOKEN..);
        for (event, token) in kicks.chain([(&*self.lifecycle, LIFECYCLE_TOKEN)]) {
            if let Err(error) = ops.add(Events::with_data(event, token, EventSet::IN)) {
                tracing::error!("registering a virtio device's eventfd: {error}");
            }
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        let cell = &mut *lock(&self.cell);
        let token = events.data();
        if token == LIFECYCLE_TOKEN {
            let _ = self.lifecycle.read();
            return cell.settle(ops);
        }
        cell.settle(ops);
        let queue = token
            .checked_sub(FIRST_RESERVED_TOKEN)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(kick) = queue.and_then(|index| self.kicks.get(index)) {
            let _ = kick.read();
        }
        let Some(active) = cell.active.as_mut() else {
            return;
        };
        match queue {
            Some(index) => cell.device.process_queue(index, active, ops),
            None => cell.device.process_event(events, active, ops),
        }
    }
}
