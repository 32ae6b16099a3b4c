//! Random bytes from the kernel.

use rustix::rand::{GetRandomFlags, getrandom};

/// Fills `bytes`.
pub fn fill(bytes: &mut [u8]) -> rustix::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::io::retry_on_intr(|| getrandom(&mut bytes[filled..], GetRandomFlags::empty()))?;
    }
    Ok(())
}

/// A number below `bound`, which is not 0. Good enough for picking names; not free of bias.
pub fn below(bound: usize) -> rustix::io::Result<usize> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok((u64::from_le_bytes(bytes) % bound as u64) as usize)
}
