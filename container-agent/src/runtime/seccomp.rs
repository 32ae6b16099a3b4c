//! Installing a seccomp filter that the host has compiled.

use std::io;

/// From linux/seccomp.h.
const SECCOMP_SET_MODE_FILTER: libc::c_ulong = 1;

/// Installs a filter for the calling process and its descendants; an empty one is none. The kernel checks the program.
pub fn install(filter: &[u64]) -> io::Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let length = libc::c_ushort::try_from(filter.len())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: a sock_filter is 8 bytes that an aligned u64 can hold; `program` and its instructions outlive the call, which
    // only reads them.
    match unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
