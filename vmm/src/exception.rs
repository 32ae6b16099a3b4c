//! What completing an instruction outside of KVM takes: going past it, and the exceptions that it raises.

use kvm_ioctls::VcpuFd;

/// An exception, as the processor would raise it (Intel SDM, volume 3, chapter 6).
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Its error code, for those that have one.
    pub code: Option<u32>,
    /// The address of a page fault.
    pub address: Option<u64>,
}

impl Exception {
    /// Has the vCPU take it when it runs next.
    pub fn raise(self, vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        if let Some(address) = self.address {
            let mut sregs = vcpu.get_sregs()?;
            sregs.cr2 = address;
            vcpu.set_sregs(&sregs)?;
        }
        let mut events = vcpu.get_vcpu_events()?;
        events.exception.injected = 1;
        events.exception.nr = self.vector;
        events.exception.has_error_code = self.code.is_some().into();
        events.exception.error_code = self.code.unwrap_or_default();
        vcpu.set_vcpu_events(&events)
    }
}

/// Moves a vCPU past an instruction of `length` bytes.
pub fn advance(vcpu: &VcpuFd, length: u64) -> Result<(), kvm_ioctls::Error> {
    let mut regs = vcpu.get_regs()?;
    regs.rip = regs.rip.wrapping_add(length);
    vcpu.set_regs(&regs)
}
