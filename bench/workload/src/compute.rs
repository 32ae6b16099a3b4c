//! What a program does without its kernel: arithmetic, and copying in memory.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use crate::repeat::nanoseconds;

/// Steps between two looks at the clock, at least.
const STEPS: u64 = 10_000;

/// Bytes that are copied at a time: more than a core's own caches have, and little enough for a small microVM.
const SIZE: usize = 16 << 20;

/// Steps per second of a generator of pseudo-random numbers, each of which needs the one before it.
pub fn arithmetic(budget: Duration) -> f64 {
    let mut state = black_box(1_u64);
    let batch = |times: u64| {
        for _ in 0..times * STEPS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^= state >> 29;
        }
        state = black_box(state);
        Ok(())
    };
    STEPS as f64 * 1e9 / nanoseconds(budget, batch).unwrap_or(f64::NAN)
}

/// Memory to copy from and to, touched once.
#[derive(Debug)]
pub struct Memory {
    from: &'static [u64],
    to: &'static mut [u64],
}

impl Memory {
    /// Maps it, in huge pages where there are any: page faults are measured elsewhere.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            from: map()?,
            to: map()?,
        })
    }

    /// Bytes copied per second. The loop is the same machine code everywhere, which a C library's `memcpy` is not.
    pub fn copy(&mut self, budget: Duration) -> f64 {
        let batch = |times| {
            for _ in 0..times {
                for (to, from) in self.to.iter_mut().zip(black_box(self.from)) {
                    *to = from.wrapping_add(1);
                }
                black_box(&mut self.to);
            }
            Ok(())
        };
        SIZE as f64 * 1e9 / nanoseconds(budget, batch).unwrap_or(f64::NAN)
    }
}

fn map() -> io::Result<&'static mut [u64]> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_DONTFORK] {
        // SAFETY: the mapping is of that size. A kernel without huge pages refuses the first advice, which changes nothing.
        unsafe { libc::madvise(memory, SIZE, advice) };
    }
    // SAFETY: the mapping is of that size, aligned to pages, zeroed, never unmapped, and referred to by nothing else.
    let slice = unsafe { std::slice::from_raw_parts_mut(memory.cast::<u64>(), SIZE / 8) };
    slice.fill(1);
    Ok(slice)
}
