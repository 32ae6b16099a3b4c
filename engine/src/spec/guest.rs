//! What [`GuestOptions`] change in a runtime specification, and what they ask of the agent beside it.

use oci_spec::runtime::{
    Capabilities, LinuxCapabilities, LinuxPidsBuilder, LinuxResources, MountBuilder, PosixRlimit,
    Process, Spec,
};
use rvm_agent_protocol::{CreateOptions, Filter};
use serde_json::json;

use super::SpecError;
use crate::options::capability;
use crate::options::guest::GuestOptions;
use crate::options::security::Seccomp;
use crate::seccomp::{self, Profile};

/// What is read-only for containers that are not privileged.
const SYSTEM: [&str; 2] = ["/sys", "/sys/fs/cgroup"];

/// Applies the options to the specification of a container, all but those that its process and its names have.
pub fn apply(spec: &mut Spec, options: &GuestOptions) -> Result<(), SpecError> {
    mounts(spec, options)?;
    let linux = spec.linux_mut().get_or_insert_default();
    if options.privileged || options.security.system_paths {
        linux.set_masked_paths(None).set_readonly_paths(None);
    }
    if !options.sysctls.is_empty() {
        linux.set_sysctl(Some(options.sysctls.clone().into_iter().collect()));
    }
    let resources = linux.resources_mut().get_or_insert_default();
    limits(resources, options)
}

fn limits(resources: &mut LinuxResources, options: &GuestOptions) -> Result<(), SpecError> {
    if options.privileged {
        resources.set_devices(None);
    }
    if let Some(limit) = options.pids_limit.filter(|limit| *limit > 0) {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(())
}

fn mounts(spec: &mut Spec, options: &GuestOptions) -> Result<(), SpecError> {
    let mounts = spec.mounts_mut().get_or_insert_default();
    for mount in mounts.iter_mut() {
        let destination = mount.destination().to_string_lossy().into_owned();
        let mut list = mount.options().clone().unwrap_or_default();
        if options.privileged && SYSTEM.contains(&destination.as_str()) {
            list.retain(|option| option != "ro");
        }
        if let Some(size) = options.shm_size.filter(|_| destination == "/dev/shm") {
            list.retain(|option| !option.starts_with("size="));
            list.push(format!("size={}", size.bytes()));
        }
        mount.set_options(Some(list));
    }
    for tmpfs in &options.tmpfs {
        // In place of what every container has there.
        mounts.retain(|mount| mount.destination() != std::path::Path::new(&tmpfs.path));
        mounts.push(
            MountBuilder::default()
                .destination(&tmpfs.path)
                .typ("tmpfs")
                .source("tmpfs")
                .options(tmpfs.options.clone())
                .build()?,
        );
    }
    Ok(())
}

/// Applies the options to a process of the container.
pub fn apply_process(process: &mut Process, options: &GuestOptions) -> Result<(), SpecError> {
    let names = capabilities(process, options);
    set_capabilities(process, &names)?;
    process.set_no_new_privileges(Some(options.security.no_new_privileges));
    if !options.ulimits.is_empty() {
        let limit = |limit: &crate::options::ulimit::Ulimit| {
            serde_json::from_value::<PosixRlimit>(json!({
                "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
                "soft": limit.soft,
                "hard": limit.hard,
            }))
        };
        let limits = options.ulimits.iter().map(limit);
        process.set_rlimits(Some(limits.collect::<Result<_, _>>()?));
    }
    Ok(())
}

/// Gives a process every capability.
pub fn privilege(process: &mut Process) -> Result<(), SpecError> {
    set_capabilities(process, &capability::all())
}

fn capabilities(process: &Process, options: &GuestOptions) -> Vec<String> {
    if options.privileged {
        return capability::all();
    }
    capability::adjust(bounding(process), &options.cap_add, &options.cap_drop)
}

/// The most that a process can have.
pub fn bounding(process: &Process) -> Vec<String> {
    let sets = process.capabilities().as_ref();
    let names = sets.and_then(|sets| sets.bounding().as_ref());
    let names = names
        .into_iter()
        .flatten()
        .filter_map(|name| serde_json::to_value(name).ok());
    names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

fn set_capabilities(process: &mut Process, names: &[String]) -> Result<(), SpecError> {
    let set: Capabilities = serde_json::from_value(json!(names))?;
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// What is asked of the agent beside the specification of the first process.
pub fn create_options(options: &GuestOptions) -> CreateOptions {
    CreateOptions {
        init: options.init,
        groups: options.groups.clone(),
        hold: false,
    }
}

/// The seccomp profile of the container, if it is held to one.
pub fn profile(options: &GuestOptions) -> Result<Option<Profile>, SpecError> {
    let text = match &options.security.seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default if options.privileged => return Ok(None),
        Seccomp::Default => seccomp::DEFAULT,
        Seccomp::Profile(text) => text,
    };
    Ok(Some(serde_json::from_str(text)?))
}

/// The seccomp filter of the container whose first process is `process`, to which the options have been applied.
pub fn filter(options: &GuestOptions, process: &Process) -> Result<Filter, SpecError> {
    let Some(profile) = profile(options)? else {
        return Ok(Filter::default());
    };
    Ok(Filter {
        program: seccomp::compile(&profile, &bounding(process))?,
        // A terminal is mounted on /dev/console, which the profile forbids.
        early: options.security.seccomp == Seccomp::Default && process.terminal() != Some(true),
    })
}
