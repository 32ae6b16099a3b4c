//! The devices of a microVM: a virtio-mmio transport, virtio devices and a few legacy devices. Nothing here knows KVM.
//!
//! # How the parts meet
//!
//! A virtio device is a [`virtio::VirtioDevice`], for example a [`virtio::block::Block`]. It is given to a
//! [`virtio::mmio::MmioTransport`], which is the device that a guest's driver sees:
//!
//! - the VMM passes the guest's accesses to [`MmioTransport::read`](virtio::mmio::MmioTransport::read) and
//!   [`write`](virtio::mmio::MmioTransport::write), with the offset in the device's window of
//!   [`WINDOW_SIZE`](virtio::mmio::WINDOW_SIZE) bytes;
//! - it registers [`queue_events`](virtio::mmio::MmioTransport::queue_events) as ioeventfds on the offset
//!   [`QUEUE_NOTIFY`](virtio::mmio::QUEUE_NOTIFY), with the index as the value to match, and
//!   [`interrupt_event`](virtio::mmio::MmioTransport::interrupt_event) as an irqfd;
//! - it gives [`subscriber`](virtio::mmio::MmioTransport::subscriber) to an [`event_loop::EventLoop`], the thread on which the
//!   device works.
//!
//! ```no_run
//! # use std::fs::File;
//! # use rvm_devices::{event_loop::EventLoop, virtio::{block::Block, mmio::MmioTransport}};
//! # fn example(memory: vm_memory::GuestMemoryMmap, disk: File) -> Result<(), Box<dyn std::error::Error>> {
//! let block = Block::new(disk, false, None, "root")?;
//! let transport = MmioTransport::new(memory, Box::new(block))?;
//! let devices = EventLoop::spawn("devices", vec![transport.subscriber()])?;
//! // Later, with all vCPUs stopped, to save the state:
//! let paused = devices.pause()?;
//! let state = transport.save();
//! drop(paused);
//! devices.stop();
//! # Ok(())
//! # }
//! ```
//!
//! # Threads and locks
//!
//! A device stands behind a mutex that its transport (on vCPU threads) and its subscriber (on the device thread) share. No code
//! waits for anything else while it holds it, and the transport reaches the interrupt status and the notifications
//! without it, so neither side can wait for the other in a circle. A device's own descriptors, such as a tap, are
//! registered by the device thread only: activation and reset, which happen on a vCPU thread, leave a mark and
//! write to an eventfd that the device thread watches; see [`virtio::subscriber`].
//!
//! # What a sandbox has to allow
//!
//! After construction the device thread opens nothing. It uses `epoll_wait`, `epoll_ctl`, `read` and `write` (eventfds), `futex`;
//! `preadv`, `pwritev`, `fdatasync` and `fallocate` (disks); `readv`, `writev` and the ioctl `TUNSETOFFLOAD` (taps);
//! `socketpair`, `sendmsg`, `recvmsg`, `sendto`, `recvfrom`, `shutdown` and `close` (vsock); `getrandom` (entropy). The serial console,
//! on vCPU threads, uses `pwrite64`, `pread64` and `ftruncate`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod event_loop;
pub mod legacy;
pub mod virtio;
