//! What a process has taken for its beginning and does not need while it waits.

/// How much of the main thread's stack a start may have used; within what the kernel maps for every program.
const STACK: usize = 112 << 10;
/// What the caller's own frame and those of the calls below may take.
const MARGIN: usize = 16 << 10;
const PAGE: usize = 4 << 10;

/// Lets the host have the heap's free pages and the stack below the caller, which must be on the main thread. The stack of a large
/// start, and what is left of what it has read, would otherwise stay for as long as the process lives.
pub fn give_back_memory() {
    // SAFETY: malloc_trim takes no pointers.
    unsafe { libc::malloc_trim(0) };
    let here = std::hint::black_box(0_u8);
    let end = ((&raw const here).addr() - MARGIN) & !(PAGE - 1);
    let start = end - STACK;
    // SAFETY: only frames of functions that have returned lie there, more than a margin below this one, and none of them is read
    // again; a new call finds zeros, as on the first day. Where a part is not mapped, the call refuses that part.
    unsafe {
        libc::madvise(
            std::ptr::without_provenance_mut(start),
            STACK,
            libc::MADV_DONTNEED,
        )
    };
}
