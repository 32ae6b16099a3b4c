//! The virtual machine's virtio devices: made from the configuration and connected to KVM.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};

use kvm_ioctls::{IoEventAddress, VmFd};
use rvm_devices::virtio::VirtioDevice;
use rvm_devices::virtio::balloon::{Balloon, BalloonControl};
use rvm_devices::virtio::block::Block;
use rvm_devices::virtio::mmio::{MmioTransport, QUEUE_NOTIFY};
use rvm_devices::virtio::net::Net;
use rvm_devices::virtio::rng::Rng;
use rvm_devices::virtio::vsock::Vsock;
use vm_memory::GuestMemoryMmap;

use crate::config::{Config, Link};
use crate::layout::{MAX_VIRTIO_DEVICES, VIRTIO_IRQ_START, VIRTIO_MMIO_SIZE, VIRTIO_MMIO_START};

/// Why a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More devices than there are interrupts.
    #[error("{0} virtio devices are more than the {MAX_VIRTIO_DEVICES} a guest can have")]
    TooMany(usize),
    /// A device's own reason.
    #[error("can't set up virtio device {index} ({kind})")]
    Create {
        /// Its number.
        index: usize,
        /// What it is.
        kind: &'static str,
        /// The device's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// KVM refused to connect it.
    #[error("can't connect virtio device {index} to KVM")]
    Connect {
        /// Its number.
        index: usize,
        /// What KVM said.
        #[source]
        source: kvm_ioctls::Error,
    },
}

/// A virtio device at its place.
pub struct Device {
    /// Its transport.
    pub transport: MmioTransport,
    /// Its registers' guest-physical address.
    pub address: u64,
    /// Its interrupt.
    pub irq: u32,
}

/// Makes the devices of `config` in a fixed order: disks, networks, vsock, entropy, balloon. The balloon comes with what sets its size.
pub fn create(
    config: &Config,
    vm: &VmFd,
    memory: &GuestMemoryMmap,
) -> Result<(Vec<Device>, BalloonControl), Error> {
    let mut made: Vec<(&'static str, Made)> = Vec::new();
    for disk in &config.disks {
        // SAFETY: by the contract of `Config` the descriptor is open and belongs to this process.
        let file = unsafe { File::from_raw_fd(disk.fd) };
        made.push((
            "disk",
            boxed(Block::new(file, disk.read_only, disk.size, &disk.serial)),
        ));
    }
    for network in &config.networks {
        // SAFETY: as above.
        let owned = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
        let net = match network.link {
            Link::TapFd(tap) => boxed(Net::new(owned(tap), network.mac)),
            Link::StreamFd(socket) => boxed(Net::on_socket(owned(socket), network.mac)),
        };
        made.push(("network", net));
    }
    if let Some(vsock) = &config.vsock {
        // SAFETY: as above.
        let broker = unsafe { OwnedFd::from_raw_fd(vsock.broker_fd) };
        made.push(("vsock", boxed(Vsock::new(vsock.cid, broker))));
    }
    made.push(("entropy", Ok(Box::new(Rng::new()))));
    let balloon = Balloon::new().map_err(|source| Error::Create {
        index: made.len(),
        kind: "balloon",
        source: Box::new(source),
    })?;
    let control = balloon.control();
    made.push(("balloon", Ok(Box::new(balloon))));
    if made.len() > MAX_VIRTIO_DEVICES {
        return Err(Error::TooMany(made.len()));
    }
    let devices = made.into_iter().enumerate().map(|(index, (kind, device))| {
        let transport = device
            .and_then(|device| Ok(MmioTransport::new(memory.clone(), device)?))
            .map_err(|source| Error::Create {
                index,
                kind,
                source,
            })?;
        let address = VIRTIO_MMIO_START + VIRTIO_MMIO_SIZE * index as u64;
        let irq = VIRTIO_IRQ_START + index as u32;
        let device = Device {
            transport,
            address,
            irq,
        };
        connect(&device, vm).map_err(|source| Error::Connect { index, source })?;
        Ok(device)
    });
    Ok((devices.collect::<Result<_, _>>()?, control))
}

type Source = Box<dyn std::error::Error + Send + Sync>;
type Made = Result<Box<dyn VirtioDevice>, Source>;

fn boxed<D, E>(device: Result<D, E>) -> Made
where
    D: VirtioDevice + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    match device {
        Ok(device) => Ok(Box::new(device)),
        Err(error) => Err(Box::new(error)),
    }
}

/// Lets KVM signal the device's queue events itself, and raise its interrupt.
fn connect(device: &Device, vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
    let notify = IoEventAddress::Mmio(device.address + QUEUE_NOTIFY);
    for (queue, event) in device.transport.queue_events().iter().enumerate() {
        vm.register_ioevent(event, &notify, queue as u32)?;
    }
    vm.register_irqfd(device.transport.interrupt_event(), device.irq)
}
