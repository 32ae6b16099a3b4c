//! Saving and restoring a transport with its device.

use virtio_queue::{Queue, QueueT};

use super::{DRIVER_OK, FEATURES_OK, MmioTransport, lock};
use crate::virtio::state::{StateError, TransportState};

impl MmioTransport {
    /// The state of transport and device. The device thread must be paused and the vCPUs stopped.
    pub fn save(&self) -> TransportState {
        let cell = lock(&self.cell);
        let queues = match &cell.active {
            Some(active) => active
                .queues
                .iter()
                .map(|queue| queue.state().into())
                .collect(),
            None => self
                .queues
                .iter()
                .map(|queue| queue.state().into())
                .collect(),
        };
        TransportState {
            status: self.status,
            device_features_select: self.device_features_select,
            driver_features_select: self.driver_features_select,
            driver_features: self.driver_features,
            queue_select: self.queue_select,
            interrupt_status: self.interrupt.status(),
            config_generation: self.interrupt.generation(),
            needs_reset: self.interrupt.needs_reset(),
            queues,
            device: cell.device.save(),
        }
    }

    /// Takes over a saved state, in a transport that was not used yet. A device that was in use is so again at once, and
    /// looks at all its queues when its event loop runs.
    pub fn restore(&mut self, state: &TransportState) -> Result<(), StateError> {
        if state.queues.len() != self.queues.len() {
            return Err(StateError::QueueCount {
                expected: self.queues.len(),
                found: state.queues.len(),
            });
        }
        let unknown = state.driver_features & !self.device_features;
        if state.status & FEATURES_OK != 0 && unknown != 0 {
            return Err(StateError::Features(unknown));
        }
        for (index, (queue, state)) in self.queues.iter_mut().zip(&state.queues).enumerate() {
            let mut state = virtio_queue::QueueState::from(*state);
            state.max_size = queue.max_size();
            *queue = Queue::try_from(state).map_err(|error| StateError::Queue(index, error))?;
        }
        lock(&self.cell).device.restore(&state.device)?;
        self.status = state.status;
        self.device_features_select = state.device_features_select;
        self.driver_features_select = state.driver_features_select;
        self.driver_features = state.driver_features;
        self.queue_select = state.queue_select;
        if self.status & DRIVER_OK != 0 && !state.needs_reset {
            self.activate()?;
        }
        self.interrupt.restore(
            state.interrupt_status,
            state.config_generation,
            state.needs_reset,
        );
        Ok(())
    }
}
