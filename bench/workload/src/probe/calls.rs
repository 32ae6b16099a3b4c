//! System calls, tried with arguments that change nothing even where they are allowed.

use std::collections::BTreeMap;

use rvm_workload::Reach;

/// A descriptor that is none.
const NONE: i64 = -1;

/// Flags, a command or a size that no kernel takes.
const NONSENSE: i64 = 0x7fff_0000;

/// What is tried: its name, its number, and arguments that no kernel does anything with, because a pointer is null, a descriptor is none
/// or flags are nonsense.
const CALLS: [(&str, i64, [i64; 5]); 30] = [
    ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [NONSENSE, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0]),
    (
        "delete_module",
        libc::SYS_delete_module,
        [0, NONSENSE, 0, 0, 0],
    ),
    (
        "fanotify_init",
        libc::SYS_fanotify_init,
        [NONSENSE, 0, 0, 0, 0],
    ),
    ("finit_module", libc::SYS_finit_module, [NONE, 0, 0, 0, 0]),
    ("fsopen", libc::SYS_fsopen, [0, 0, 0, 0, 0]),
    ("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0, 0]),
    ("ioperm", libc::SYS_ioperm, [NONSENSE, 1, 1, 0, 0]),
    ("iopl", libc::SYS_iopl, [NONSENSE, 0, 0, 0, 0]),
    ("kcmp", libc::SYS_kcmp, [1, 1, NONSENSE, 0, 0]),
    ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, NONSENSE, 0]),
    ("keyctl", libc::SYS_keyctl, [NONSENSE, 0, 0, 0, 0]),
    (
        "landlock",
        libc::SYS_landlock_create_ruleset,
        [0, 0, 2, 0, 0],
    ),
    ("mount", libc::SYS_mount, [0, 0, 0, 0, 0]),
    (
        "move_mount",
        libc::SYS_move_mount,
        [NONE, 0, NONE, 0, NONSENSE],
    ),
    (
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        [NONE, 0, 0, 0, NONSENSE],
    ),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [NONE, 0, 0, 0, 0],
    ),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        [0, 0, NONE, NONE, NONSENSE],
    ),
    ("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0]),
    (
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        [0, 0, 0, 0, 0],
    ),
    ("ptrace", libc::SYS_ptrace, [NONSENSE, 0, 0, 0, 0]),
    ("quotactl", libc::SYS_quotactl, [NONSENSE, 0, 0, 0, 0]),
    ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0]),
    ("setns", libc::SYS_setns, [NONE, 0, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, [0, NONSENSE, 0, 0, 0]),
    ("umount2", libc::SYS_umount2, [0, NONSENSE, 0, 0, 0]),
    ("unshare", libc::SYS_unshare, [0, 0, 0, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [NONSENSE, 0, 0, 0, 0]),
];

/// How far each call comes.
pub fn all() -> BTreeMap<String, Reach> {
    CALLS
        .iter()
        .map(|(name, number, [a, b, c, d, e])| {
            // SAFETY: no pointer among the arguments is other than null, and no call does anything with these (see CALLS).
            let result = unsafe { libc::syscall(*number, *a, *b, *c, *d, *e) };
            ((*name).to_owned(), reach(result))
        })
        .collect()
}

fn reach(result: i64) -> Reach {
    if result >= 0 {
        return Reach::Reachable;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOSYS) => Reach::Absent,
        Some(libc::EPERM | libc::EACCES) => Reach::Refused,
        _ => Reach::Reachable,
    }
}

/// Whether a child of this process can have a user namespace of its own.
pub fn user_namespace() -> bool {
    // SAFETY: the child calls nothing that could wait for another thread, and never returns.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: changes nothing but the child itself, which ends.
        let result = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(result != 0)) };
    }
    let mut status = 1;
    // SAFETY: the status lives as long as the call.
    child > 0 && unsafe { libc::waitpid(child, &raw mut status, 0) } == child && status == 0
}

/// Whether the clock could be set: neither a time nor a time zone is given, so that only the right to do it is looked at.
pub fn clock() -> bool {
    // SAFETY: both pointers may be null, which C libraries don't allow for, so that the kernel is asked itself.
    unsafe { libc::syscall(libc::SYS_settimeofday, 0, 0) == 0 }
}

/// Whether the kernel's log can be read (SYSLOG_ACTION_READ_ALL, which takes nothing out of it).
pub fn kernel_log() -> bool {
    let mut buffer = [0_u8; 4096];
    let size = buffer.len() as libc::c_int;
    // SAFETY: the buffer is of that size.
    unsafe { libc::klogctl(3, buffer.as_mut_ptr().cast(), size) >= 0 }
}
