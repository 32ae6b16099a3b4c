//! A virtual machine put together from its configuration: memory, interrupt chips, devices, kernel, vCPUs.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use kvm_bindings::{CpuId, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use linux_loader::cmdline::Cmdline;
use rvm_devices::event_loop::{EventLoop, EventLoopError};
use rvm_devices::virtio::balloon::BalloonControl;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::bus::Bus;
use crate::bus::RestoreError;
use crate::config::{Config, MAX_VCPUS, Start};
use crate::console::{self, Console};
use crate::devices::{self, Device};
use crate::image::Image;
use crate::memory::Mapping;
use crate::running::{Occurrence, Running};
use crate::state::MachineState;
use crate::vcpu::{self, Vcpu};
use crate::{boot, cpuid, host, layout, memory, mptable, registers, snapshot, state};

/// Why a virtual machine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for no vCPU, or for too many.
    #[error("a guest has 1 to {MAX_VCPUS} vCPUs, not {0}")]
    VcpuCount(u8),
    /// KVM refused.
    #[error("KVM can't {0}")]
    Kvm(&'static str, #[source] kvm_ioctls::Error),
    /// Guest memory.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The memory regions' addresses.
    #[error("can't find guest memory's mapping")]
    Region(#[source] vm_memory::GuestMemoryError),
    /// The console.
    #[error("can't set up the serial console")]
    Console(#[source] std::io::Error),
    /// The legacy devices.
    #[error("can't set up the legacy devices")]
    Bus(#[source] std::io::Error),
    /// A device.
    #[error(transparent)]
    Device(#[from] devices::Error),
    /// The kernel, or what belongs to it.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// The command line.
    #[error("the kernel command line is not valid")]
    Cmdline(#[source] linux_loader::cmdline::Error),
    /// The MP table.
    #[error("can't write the MP table into guest memory")]
    MpTable(#[source] vm_memory::GuestMemoryError),
    /// A vCPU.
    #[error(transparent)]
    Vcpu(#[from] vcpu::Error),
    /// The boot processor's registers.
    #[error(transparent)]
    Registers(#[from] registers::Error),
    /// The device thread.
    #[error("can't start the device thread")]
    DeviceThread(#[source] EventLoopError),
    /// A vCPU's thread.
    #[error("can't start a vCPU's thread")]
    Thread(#[source] std::io::Error),
    /// The snapshot can't be used.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The snapshot is of a machine of another size.
    #[error("the snapshot is of a guest with {memory_mib} MiB and {vcpus} vCPUs")]
    OtherMachine {
        /// Its memory in MiB.
        memory_mib: u64,
        /// Its vCPUs.
        vcpus: usize,
    },
    /// The snapshot was made with another processor or kernel.
    #[error("the snapshot was made with another processor or another KVM; make it anew")]
    OtherProcessor,
    /// The snapshot's state could not be given to KVM, or this host's not be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The snapshot's devices are different.
    #[error(transparent)]
    Devices(#[from] RestoreError),
    /// The snapshot's console can't be restored.
    #[error(transparent)]
    RestoreConsole(#[from] console::RestoreError),
}

/// A virtual machine that is ready to run.
pub struct Machine {
    // Fields are dropped in this order: nothing that uses guest memory outlives it.
    vcpus: Vec<Vcpu>,
    devices: EventLoop,
    console: Console,
    bus: Arc<Bus>,
    vm: VmFd,
    memory: GuestMemoryMmap,
    images: Vec<Range<usize>>,
    balloon: BalloonControl,
    cpuid: CpuId,
    msrs: Arc<[u32]>,
    memory_mib: u64,
}

impl Machine {
    /// Builds the machine that `config` describes, and takes over all its descriptors but
    /// [`Config::control_fd`](crate::config::Config::control_fd).
    pub fn new(config: Config) -> Result<Self, Error> {
        if !(1..=MAX_VCPUS).contains(&config.vcpus) {
            return Err(Error::VcpuCount(config.vcpus));
        }
        // SAFETY: by the contract of `Config` the descriptor is open and belongs to this process.
        let kvm = unsafe { Kvm::from_raw_fd(config.kvm_fd) };
        let cpuid = cpuid::template(&kvm, config.host)
            .map_err(|e| Error::Kvm("say what CPUID it supports", e))?;
        let (memory_fd, mapping, saved) = match config.start {
            Start::Boot { memory_fd, .. } => (memory_fd, Mapping::Shared, None),
            Start::Restore {
                state_fd,
                memory_fd,
            } => {
                let saved = snapshot::read_state(&mut file(state_fd))?;
                check(&saved, &config, &cpuid)?;
                (memory_fd, Mapping::CopyOnWrite, Some(saved))
            }
        };
        let memory = memory::map(file(memory_fd), config.memory_mib, mapping)?;
        let vm = create_vm(&kvm, &memory)?;
        let console = Console::new(config.console_fd.map(file)).map_err(Error::Console)?;
        console
            .connect(&vm)
            .map_err(|e| Error::Kvm("connect the serial console's interrupt", e))?;
        let (virtio, balloon) = devices::create(&config, &vm, &memory)?;
        let mut images = Vec::new();
        let entry = boot(&config, &virtio, &memory, &mut images)?;
        let subscribers = virtio
            .iter()
            .map(|device| device.transport.subscriber())
            .collect();
        let serial = match &saved {
            Some(saved) => console.restore(&saved.serial)?,
            None => console.serial().map_err(Error::Console)?,
        };
        let transports = virtio
            .into_iter()
            .map(|device| Mutex::new(device.transport))
            .collect();
        let bus = Arc::new(Bus::new(transports, serial).map_err(Error::Bus)?);
        let vcpus = (0..config.vcpus)
            .map(|id| {
                let state = saved
                    .as_ref()
                    .and_then(|saved| saved.vcpus.get(usize::from(id)));
                let (bus, memory) = (bus.clone(), memory.clone());
                match state {
                    Some(state) => Vcpu::restore(&vm, id, config.vcpus, &cpuid, bus, memory, state),
                    None => Vcpu::new(&vm, id, config.vcpus, &cpuid, bus, memory),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if let (Some(entry), Some(boot_processor)) = (entry, vcpus.first()) {
            registers::set_up_long_mode(boot_processor.fd(), &memory, entry)?;
        }
        if let Some(saved) = saved {
            // The devices come last: an interrupt that was on its way is raised again, and must find the chips restored.
            saved.chips.restore(&vm)?;
            bus.restore(&saved.devices)?;
        }
        let devices = EventLoop::spawn("devices", subscribers).map_err(Error::DeviceThread)?;
        let msrs = state::msr_indices(&kvm)?.into();
        let memory_mib = config.memory_mib;
        Ok(Self {
            vcpus,
            devices,
            console,
            bus,
            vm,
            memory,
            images,
            balloon,
            cpuid,
            msrs,
            memory_mib,
        })
    }

    /// Runs every vCPU in a thread of its own; the first one that stops says on `happened` how.
    pub fn run(self, happened: &Sender<Occurrence>) -> Result<Running, Error> {
        vcpu::handle_kicks().map_err(|e| Error::Thread(e.into()))?;
        let vcpus = self
            .vcpus
            .into_iter()
            .map(|vcpu| vcpu.start(happened.clone()))
            .collect::<Result<_, _>>()
            .map_err(Error::Thread)?;
        Ok(Running {
            vcpus,
            devices: self.devices,
            console: self.console,
            bus: self.bus,
            vm: self.vm,
            memory: self.memory,
            images: self.images,
            balloon: self.balloon,
            cpuid: self.cpuid.as_slice().to_vec(),
            msrs: self.msrs,
            memory_mib: self.memory_mib,
            paused: false,
        })
    }
}

/// Whether `saved` is of a machine like `config`'s on a host like this one.
fn check(saved: &MachineState, config: &Config, cpuid: &CpuId) -> Result<(), Error> {
    if saved.memory_mib != config.memory_mib || saved.vcpus.len() != usize::from(config.vcpus) {
        return Err(Error::OtherMachine {
            memory_mib: saved.memory_mib,
            vcpus: saved.vcpus.len(),
        });
    }
    if saved.cpuid != cpuid.as_slice() {
        return Err(Error::OtherProcessor);
    }
    Ok(())
}

/// Loads what a machine that boots needs, and returns where it starts. Adds to `images` where files are mapped.
fn boot(
    config: &Config,
    virtio: &[Device],
    memory: &GuestMemoryMmap,
    images: &mut Vec<Range<usize>>,
) -> Result<Option<GuestAddress>, Error> {
    let Start::Boot {
        kernel_fd,
        initramfs_fd,
        ref cmdline,
        ..
    } = config.start
    else {
        return Ok(None);
    };
    let mut kernel = Image::new(file(kernel_fd));
    let mut initramfs = initramfs_fd.map(|fd| Image::new(file(fd)));
    let cmdline = full_cmdline(cmdline, &host::cmdline(config.host), virtio)?;
    let irqs = virtio.iter().map(|device| device.irq);
    mptable::write(memory, config.vcpus, irqs).map_err(Error::MpTable)?;
    let entry = boot::load(memory, &mut kernel, initramfs.as_mut(), &cmdline)?;
    for image in [Some(&kernel), initramfs.as_ref()].into_iter().flatten() {
        images.extend_from_slice(image.mapped());
    }
    Ok(Some(entry))
}

/// Makes a virtual machine with `memory` and with KVM's interrupt chips and timer.
fn create_vm(kvm: &Kvm, memory: &GuestMemoryMmap) -> Result<VmFd, Error> {
    let vm = kvm
        .create_vm()
        .map_err(|e| Error::Kvm("make a virtual machine", e))?;
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
        .map_err(|e| Error::Kvm("set the identity map's address", e))?;
    vm.set_tss_address(layout::KVM_TSS)
        .map_err(|e| Error::Kvm("set the TSS address", e))?;
    for (slot, region) in memory.iter().enumerate() {
        let address = region.get_host_address(vm_memory::MemoryRegionAddress(0));
        let region = kvm_userspace_memory_region {
            slot: slot as u32,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: address.map_err(Error::Region)? as u64,
            flags: 0,
        };
        // SAFETY: the region is mapped, and `Machine` and `Running` drop the virtual machine before the memory.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(|e| Error::Kvm("take guest memory", e))?;
    }
    vm.create_irq_chip()
        .map_err(|e| Error::Kvm("make interrupt chips", e))?;
    let pit = kvm_pit_config {
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    };
    vm.create_pit2(pit)
        .map_err(|e| Error::Kvm("make a timer chip", e))?;
    Ok(vm)
}

/// The configuration's command line, what this kind of host needs, and the virtio devices.
fn full_cmdline(base: &str, host: &str, virtio: &[Device]) -> Result<Cmdline, Error> {
    let mut cmdline = Cmdline::new(layout::CMDLINE_MAX).map_err(Error::Cmdline)?;
    for part in [base, host] {
        if !part.is_empty() {
            cmdline.insert_str(part).map_err(Error::Cmdline)?;
        }
    }
    for device in virtio {
        cmdline
            .add_virtio_mmio_device(
                layout::VIRTIO_MMIO_SIZE,
                GuestAddress(device.address),
                device.irq,
                None,
            )
            .map_err(Error::Cmdline)?;
    }
    Ok(cmdline)
}

/// A file from the configuration.
fn file(fd: RawFd) -> File {
    // SAFETY: by the contract of `Config` each descriptor in it is open and belongs to this process, which takes it over once.
    File::from(unsafe { OwnedFd::from_raw_fd(fd) })
}
