//! The end of the guest.

use std::os::unix::fs::FileExt;

use crate::machine::Machine;

/// The I/O port of the VMM's power register, and what switches off through it.
const POWER_PORT: u64 = 0x600;
const POWER_OFF: u8 = 0x34;

impl Machine {
    /// Writes everything back and switches the machine off; where it is not the agent's, only that ends.
    pub fn off(self) -> ! {
        if self == Self::Own {
            // Through the VMM's register.
            self.sync();
            // /dev/port performs the OUT in the kernel, which works whatever the privileges of ring 3 are.
            if let Ok(port) = std::fs::OpenOptions::new().write(true).open("/dev/port") {
                let _ = port.write_at(&[POWER_OFF], POWER_PORT);
            }
            // Still there: another VMM, which understands a reset.
            let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
        }
        // SAFETY: ends the process without running anything more of it.
        unsafe { libc::_exit(0) }
    }
}

/// The name by which a panic tells the agent from the processes that it forks: the first process of a container, too, has the
/// id 1.
pub const FORKED: &std::ffi::CStr = c"rvm-container";

/// Makes a panic of the agent switch the machine off: the panic of PID 1 would be the kernel's. Its forks share the hook, but only
/// end.
pub fn power_off_on_panic(machine: Machine) {
    std::panic::set_hook(Box::new(move |panic| {
        crate::console::say(&format!("bug: {panic}"));
        if rustix::thread::name().is_ok_and(|name| name.as_c_str() == FORKED) {
            // SAFETY: ends the process without running anything more of it.
            unsafe { libc::_exit(255) }
        }
        machine.off()
    }));
}
