//! A virtual machine put together from its configuration: memory, interrupt chips, devices, kernel, vCPUs.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use linux_loader::cmdline::Cmdline;
use rvm_devices::event_loop::EventLoop;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::bus::Bus;
use crate::config::{Config, MAX_VCPUS};
use crate::console::Console;
use crate::control::Stop;
use crate::devices::{self, Device};
use crate::image::Image;
use crate::vcpu::{self, Vcpu};
use crate::{boot, cpuid, host, layout, memory, mptable, registers};

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
}

/// A virtual machine that is ready to run.
pub struct Machine {
    // Fields are dropped in this order: nothing that uses guest memory outlives it.
    vcpus: Vec<Vcpu>,
    devices: EventLoop,
    console: Console,
    vm: VmFd,
    memory: GuestMemoryMmap,
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
        let memory = memory::map(file(config.memory_fd), config.memory_mib)?;
        let vm = create_vm(&kvm, &memory)?;
        let console = Console::new(config.console_fd.map(file)).map_err(Error::Console)?;
        console
            .connect(&vm)
            .map_err(|e| Error::Kvm("connect the serial console's interrupt", e))?;
        let virtio = devices::create(&config, &vm, &memory)?;
        let cmdline = cmdline(&config, &virtio)?;
        let entry = boot::load(
            &memory,
            &mut Image::new(file(config.kernel_fd)),
            config.initramfs_fd.map(|fd| Image::new(file(fd))).as_mut(),
            &cmdline,
        )?;
        mptable::write(&memory, config.vcpus).map_err(Error::MpTable)?;
        let devices = devices::spawn(&virtio)?;
        let transports = virtio
            .into_iter()
            .map(|device| Mutex::new(device.transport))
            .collect();
        let serial = console.serial().map_err(Error::Console)?;
        let bus = Arc::new(Bus::new(transports, serial).map_err(Error::Bus)?);
        let template = cpuid::template(&kvm, config.host)
            .map_err(|e| Error::Kvm("say what CPUID it supports", e))?;
        let vcpus = (0..config.vcpus)
            .map(|id| Vcpu::new(&vm, id, config.vcpus, &template, bus.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(boot_processor) = vcpus.first() {
            registers::set_up_long_mode(boot_processor.fd(), &memory, entry)?;
        }
        Ok(Self {
            vcpus,
            devices,
            console,
            vm,
            memory,
        })
    }

    /// Runs every vCPU in a thread of its own; the first one that stops says on `stopped` how.
    pub fn run(self, stopped: Sender<Stop>) -> std::io::Result<Running> {
        for (id, vcpu) in self.vcpus.into_iter().enumerate() {
            let stopped = stopped.clone();
            std::thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(move || {
                    // Nobody listens any more once another vCPU has stopped.
                    let _ = stopped.send(vcpu.run());
                })?;
        }
        Ok(Running {
            console: self.console,
            _devices: self.devices,
            _vm: self.vm,
            _memory: self.memory,
        })
    }
}

/// A virtual machine whose vCPUs run. Its threads end with the process.
pub struct Running {
    console: Console,
    _devices: EventLoop,
    _vm: VmFd,
    _memory: GuestMemoryMmap,
}

impl Running {
    /// What `stop` really was, in the light of what the guest wrote to its console.
    pub fn explain(&self, stop: Stop) -> Stop {
        self.console.finish();
        match stop {
            Stop::Reset => self
                .console
                .panic()
                .map_or(Stop::Reset, |console| Stop::GuestPanic { console }),
            other => other,
        }
    }
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
fn cmdline(config: &Config, virtio: &[Device]) -> Result<Cmdline, Error> {
    let mut cmdline = Cmdline::new(layout::CMDLINE_MAX).map_err(Error::Cmdline)?;
    for part in [config.cmdline.as_str(), host::cmdline(config.host)] {
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
