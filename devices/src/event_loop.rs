//! The thread on which devices work: it waits for the events of all of them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use event_manager::{EventManager, MutEventSubscriber, RemoteEndpoint, SubscriberOps};

use crate::virtio::subscriber::DeviceSubscriber;

/// The device thread's stack, in bytes. The largest thing on it is a page of entropy.
const STACK_SIZE: usize = 256 << 10;

type Subscriber = Box<dyn MutEventSubscriber + Send>;

/// Why an event loop could not be started or reached.
#[derive(Debug, thiserror::Error)]
pub enum EventLoopError {
    /// No epoll instance or eventfd.
    #[error("setting up the device thread's event loop")]
    Create(#[source] event_manager::Error),
    /// No thread.
    #[error("starting the device thread")]
    Spawn(#[source] std::io::Error),
    /// The thread is gone.
    #[error("the device thread has ended")]
    Gone,
}

impl From<event_manager::Error> for EventLoopError {
    fn from(_: event_manager::Error) -> Self {
        Self::Gone
    }
}

/// A running device thread. It ends when this is dropped.
pub struct EventLoop {
    endpoint: RemoteEndpoint<Subscriber>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EventLoop {
    /// Starts a thread called `name` that serves `devices`.
    pub fn spawn(name: &str, devices: Vec<DeviceSubscriber>) -> Result<Self, EventLoopError> {
        let mut manager: EventManager<Subscriber> =
            EventManager::new_with_capacity(64).map_err(EventLoopError::Create)?;
        for device in devices {
            manager.add_subscriber(Box::new(device));
        }
        let endpoint = manager.remote_endpoint();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    if let Err(error) = manager.run() {
                        tracing::error!("waiting for device events: {error}");
                        return;
                    }
                }
            })
            .map_err(EventLoopError::Spawn)?;
        Ok(Self {
            endpoint,
            stop,
            thread: Some(thread),
        })
    }

    /// Serves one more device.
    pub fn add(&self, device: DeviceSubscriber) -> Result<(), EventLoopError> {
        self.endpoint.call_blocking(move |manager| {
            manager.add_subscriber(Box::new(device));
            Ok(())
        })
    }

    /// Waits until the thread has finished what it is doing and holds it there until the result is dropped.
    ///
    /// The caller must not hold a device's lock, and should have stopped the vCPUs when it means to save the devices' state.
    pub fn pause(&self) -> Result<Paused<'_>, EventLoopError> {
        let (paused, wait_paused) = channel();
        let (resume, wait_resume) = channel::<()>();
        self.endpoint.fire(move |_| {
            // Either channel only fails when `pause` has given up or `Paused` was dropped: then there is nothing to wait for.
            if paused.send(()).is_ok() {
                let _ = wait_resume.recv();
            }
        })?;
        wait_paused.recv().map_err(|_| EventLoopError::Gone)?;
        Ok(Paused {
            _resume: resume,
            _event_loop: PhantomData,
        })
    }

    /// Ends the thread after the event it is working on, and waits for that.
    pub fn stop(self) {}
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A failed kick means that the counter is full, so that the thread is about to wake up anyway.
            let _ = self.endpoint.kick();
            let _ = thread.join();
        }
    }
}

/// A device thread that stands still until this is dropped.
#[must_use = "the device thread goes on as soon as this is dropped"]
pub struct Paused<'a> {
    _resume: Sender<()>,
    _event_loop: PhantomData<&'a EventLoop>,
}
