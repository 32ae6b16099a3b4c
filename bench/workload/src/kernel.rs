//! What a program asks of its kernel: a system call, a process, a page.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::repeat::nanoseconds;

const PAGE: usize = 4096;

/// Pages of one mapping.
const PAGES: u64 = 256;

/// The cheapest call that really enters the kernel.
pub fn system_call(budget: Duration) -> f64 {
    let batch = |times| {
        for _ in 0..times {
            // SAFETY: getppid has no arguments and always succeeds.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        Ok(())
    };
    nanoseconds(budget, batch).unwrap_or(f64::NAN)
}

/// A process that becomes this program, which then ends at once.
pub fn fork(program: &Path, budget: Duration) -> io::Result<f64> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    let argument = c"nothing";
    let arguments = [program.as_ptr(), argument.as_ptr(), std::ptr::null()];
    nanoseconds(budget, |times| {
        for _ in 0..times {
            once(&program, &arguments)?;
        }
        Ok(())
    })
}

fn once(program: &CString, arguments: &[*const libc::c_char; 3]) -> io::Result<()> {
    let environment = [std::ptr::null()];
    // SAFETY: between fork and execve the child calls nothing that could wait for another thread, and it never returns.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: both arrays end with a null pointer, and their strings outlive the call.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        // SAFETY: as above.
        unsafe { libc::_exit(127) };
    }
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    // SAFETY: the status lives as long as the call.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    match status {
        0 => Ok(()),
        _ => Err(io::Error::other("this program could not be run again")),
    }
}

/// The first touch of an anonymous page, with its share of mapping and unmapping.
pub fn fault(budget: Duration) -> io::Result<f64> {
    nanoseconds(budget, |times| {
        let mut left = times;
        while left > 0 {
            let pages = left.min(PAGES);
            touch(pages as usize)?;
            left -= pages;
        }
        Ok(())
    })
}

fn touch(pages: usize) -> io::Result<()> {
    let size = pages * PAGE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Huge pages would make one fault of many.
    // SAFETY: the mapping is of that size.
    unsafe { libc::madvise(memory, size, libc::MADV_NOHUGEPAGE) };
    for page in 0..pages {
        // SAFETY: the byte lies within the mapping, which nothing else refers to.
        unsafe { memory.cast::<u8>().add(page * PAGE).write_volatile(1) };
    }
    // SAFETY: nothing refers to the mapping any more.
    unsafe { libc::munmap(memory, size) };
    Ok(())
}
