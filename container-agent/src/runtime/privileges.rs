//! What a process may do: its limits, its user and groups, its capabilities.

use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{chdir, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rvm_agent_protocol::{Failure, FailureKind};

use crate::spec::{self, Process, Rlimit};

use super::{capability, failure, seccomp};

/// Installs a seccomp filter in the calling process.
pub fn install(filter: &[u64]) -> Result<(), Failure> {
    seccomp::install(filter).map_err(|e| failure("the seccomp filter could not be installed", &e))
}

/// Applies everything to the calling process, which afterwards may do no more than its command may. `filter` is as in
/// [`Filter::program`](rvm_agent_protocol::Filter::program).
pub fn apply(process: &Process, filter: &[u64]) -> Result<(), Failure> {
    if let Some(adjustment) = process.oom_score_adj {
        std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .map_err(|e| failure("the out-of-memory score could not be set", &e))?;
    }
    // Nothing is opened from here on: the agent has more descriptors open than a low limit allows.
    for limit in &process.rlimits {
        set_limit(limit)
            .map_err(|e| failure(&format!("the limit {} could not be set", limit.name), &e))?;
    }
    // As root, because the folder may belong to another user than the process's; what root may not enter, perhaps that may.
    let entered = chdir(&process.cwd);
    let capabilities = process
        .capabilities
        .as_ref()
        .map(Capabilities::new)
        .transpose()?;
    // Without no_new_privs only an administrator may: it has to be before that is given up.
    if !process.no_new_privileges {
        install(filter)?;
    }
    let bounding = capabilities.as_ref().map(|c| c.bounding);
    limit_capabilities(bounding)
        .map_err(|e| failure("the capabilities could not be limited", &e.into()))?;
    set_user(process).map_err(|e| failure("the user could not be set", &e.into()))?;
    if let Some(capabilities) = capabilities {
        capabilities
            .set()
            .map_err(|e| failure("the capabilities could not be set", &e.into()))?;
    }
    if process.no_new_privileges {
        set_no_new_privs(true)
            .map_err(|e| failure("new privileges could not be ruled out", &e.into()))?;
    }
    match entered {
        Err(Errno::ACCESS | Errno::PERM) => chdir(&process.cwd),
        result => result,
    }
    .map_err(|e| folder_failure(&process.cwd, e))?;
    close_on_exec();
    if process.no_new_privileges {
        install(filter)?;
    }
    Ok(())
}

struct Capabilities {
    sets: CapabilitySets,
    bounding: CapabilitySet,
    ambient: CapabilitySet,
}

impl Capabilities {
    fn new(names: &spec::Capabilities) -> Result<Self, Failure> {
        let set = |names| {
            capability::bits(names).map_err(|name| Failure {
                kind: FailureKind::Other,
                message: format!("{name} is not a capability"),
            })
        };
        let sets = CapabilitySets {
            effective: set(&names.effective)?,
            permitted: set(&names.permitted)?,
            inheritable: set(&names.inheritable)?,
        };
        Ok(Self {
            sets,
            bounding: set(&names.bounding)?,
            ambient: set(&names.ambient)?,
        })
    }

    fn set(self) -> Result<(), Errno> {
        set_capabilities(None, self.sets)?;
        for capability in capability::all().filter(|c| self.ambient.contains(*c)) {
            configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(())
    }
}

fn limit_capabilities(bounding: Option<CapabilitySet>) -> Result<(), Errno> {
    if let Some(bounding) = bounding {
        for capability in capability::all().filter(|c| !bounding.contains(*c)) {
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
    let user = &process.user;
    if let Some(mask) = user.umask {
        umask(Mode::from_raw_mode(mask & 0o777));
    }
    let groups = user
        .additional_gids
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect::<Vec<_>>();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    match set_thread_groups(&groups) {
        // A user namespace of a single user has no groups that could be given up.
        Err(Errno::PERM) if groups_are_fixed() => {}
        result => result?,
    }
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)
}

/// Whether the kernel lets nobody in this user namespace set their groups.
fn groups_are_fixed() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

fn set_limit(limit: &Rlimit) -> io::Result<()> {
    let resource = match limit.name.as_str() {
        "RLIMIT_CPU" => libc::RLIMIT_CPU,
        "RLIMIT_FSIZE" => libc::RLIMIT_FSIZE,
        "RLIMIT_DATA" => libc::RLIMIT_DATA,
        "RLIMIT_STACK" => libc::RLIMIT_STACK,
        "RLIMIT_CORE" => libc::RLIMIT_CORE,
        "RLIMIT_RSS" => libc::RLIMIT_RSS,
        "RLIMIT_NPROC" => libc::RLIMIT_NPROC,
        "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
        "RLIMIT_MEMLOCK" => libc::RLIMIT_MEMLOCK,
        "RLIMIT_AS" => libc::RLIMIT_AS,
        "RLIMIT_LOCKS" => libc::RLIMIT_LOCKS,
        "RLIMIT_SIGPENDING" => libc::RLIMIT_SIGPENDING,
        "RLIMIT_MSGQUEUE" => libc::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => libc::RLIMIT_NICE,
        "RLIMIT_RTPRIO" => libc::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => libc::RLIMIT_RTTIME,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let value = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: `value` lives through the call.
    match unsafe { libc::setrlimit(resource, &raw const value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The command gets the standard streams and nothing else of the agent's.
fn close_on_exec() {
    // SAFETY: close_range takes no pointers, and with this flag closes nothing yet.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

fn folder_failure(folder: &Path, error: Errno) -> Failure {
    let kind = match error {
        Errno::NOENT => FailureKind::CommandNotFound,
        _ => FailureKind::CommandNotExecutable,
    };
    let what = format!(
        "chdir to cwd (\"{}\") set in config.json failed",
        folder.display()
    );
    Failure {
        kind,
        ..failure(&what, &error.into())
    }
}
