//! What a process may do: its limits, its user and groups, its capabilities.

use std::io;
use std::path::Path;

use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{chdir, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rvm_agent_protocol::{Failure, FailureKind};

use super::{capability, failure};

/// Applies everything to the calling process, which afterwards may do no more than its command may.
pub fn apply(process: &Process) -> Result<(), Failure> {
    for limit in process.rlimits().iter().flatten() {
        set_limit(limit).map_err(|e| failure(&format!("the limit {:?} could not be set", limit.typ()), &e))?;
    }
    if let Some(adjustment) = process.oom_score_adj() {
        std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .map_err(|e| failure("the out-of-memory score could not be set", &e))?;
    }
    // As root, because the folder may belong to another user than the process's; what root may not enter, perhaps that may.
    let entered = chdir(process.cwd());
    let capabilities = process.capabilities().as_ref();
    let sets = capabilities.map(|list| CapabilitySets {
        effective: capability::bits(list.effective().as_ref()),
        permitted: capability::bits(list.permitted().as_ref()),
        inheritable: capability::bits(list.inheritable().as_ref()),
    });
    let bounding = capabilities.map(|list| capability::bits(list.bounding().as_ref()));
    let ambient = capability::bits(capabilities.and_then(|list| list.ambient().as_ref()));
    limit_capabilities(bounding).map_err(|e| failure("the capabilities could not be limited", &e.into()))?;
    set_user(process).map_err(|e| failure("the user could not be set", &e.into()))?;
    if let Some(sets) = sets {
        set_sets(sets, ambient).map_err(|e| failure("the capabilities could not be set", &e.into()))?;
    }
    if process.no_new_privileges().unwrap_or(false) {
        set_no_new_privs(true).map_err(|e| failure("new privileges could not be ruled out", &e.into()))?;
    }
    match entered {
        Err(Errno::ACCESS | Errno::PERM) => chdir(process.cwd()),
        result => result,
    }
    .map_err(|e| folder_failure(process.cwd(), e))?;
    close_on_exec();
    Ok(())
}

fn limit_capabilities(bounding: Option<CapabilitySet>) -> Result<(), Errno> {
    if let Some(bounding) = bounding {
        for capability in CapabilitySet::all().iter().filter(|c| c.bits().count_ones() == 1 && !bounding.contains(*c)) {
            match remove_capability_from_bounding_set(capability) {
                // Newer than the kernel.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
    }
    set_keep_capabilities(true)
}

fn set_user(process: &Process) -> Result<(), Errno> {
    let user = process.user();
    if let Some(mask) = user.umask() {
        umask(Mode::from_raw_mode(mask & 0o777));
    }
    let groups = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect::<Vec<_>>();
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)
}

fn set_sets(sets: CapabilitySets, ambient: CapabilitySet) -> Result<(), Errno> {
    set_capabilities(None, sets)?;
    for capability in ambient.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

fn set_limit(limit: &PosixRlimit) -> io::Result<()> {
    let resource = match limit.typ() {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    let value = libc::rlimit { rlim_cur: limit.soft(), rlim_max: limit.hard() };
    // SAFETY: `value` lives through the call.
    match unsafe { libc::setrlimit(resource, &raw const value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The command gets the standard streams and nothing else of the agent's.
fn close_on_exec() {
    // SAFETY: close_range takes no pointers, and with this flag closes nothing yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

fn folder_failure(folder: &Path, error: Errno) -> Failure {
    let kind = match error {
        Errno::NOENT => FailureKind::CommandNotFound,
        _ => FailureKind::CommandNotExecutable,
    };
    let what = format!("chdir to cwd (\"{}\") set in config.json failed", folder.display());
    Failure { kind, ..failure(&what, &error.into()) }
}
