//! The runtime specification of a container: Docker's defaults, of which `defaults.json` is the one list, and the container's settings.

use oci_spec::runtime::{LinuxCpuBuilder, Mount, MountBuilder, Process, Spec};
use rvm_agent_protocol::CONTAINERS_DIR;

use super::files::BOUND;
use super::{bundle, guest};
use crate::container::Settings;
use crate::rootless;
use crate::seccomp::CompileError;

const DEFAULTS: &str = include_str!("defaults.json");

/// The length of the period in which a CPU quota holds, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Why there is no specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The built-in defaults don't parse.
    #[error("the built-in runtime specification is broken")]
    Defaults(#[from] serde_json::Error),
    /// The seccomp profile.
    #[error(transparent)]
    Seccomp(#[from] CompileError),
    /// A part could not be built.
    #[error("cannot build the container's runtime specification")]
    Build(#[from] oci_spec::OciSpecError),
}

/// What a container is called in its guest before it is known which one it will be.
pub const PREPARED: &str = "container";

/// The specification of a container in a microVM of its own, without what makes it this container: its process and its names. It has no network namespace: the
/// guest is its sandbox.
pub fn runtime_spec(settings: &Settings) -> Result<Spec, SpecError> {
    let mut spec: Spec = serde_json::from_str(DEFAULTS)?;
    spec.set_process(None);
    spec.root_mut()
        .get_or_insert_default()
        .set_readonly(Some(settings.read_only));
    guest::apply(&mut spec, &settings.guest)?;
    let mounts = spec.mounts_mut().get_or_insert_default();
    for (name, path) in BOUND {
        mounts.push(bind(format!("{CONTAINERS_DIR}/{PREPARED}/{name}"), path)?);
    }
    if let Some(quota) = settings.cpus.quota()
        && let Some(linux) = spec.linux_mut()
    {
        let cpu = LinuxCpuBuilder::default()
            .quota(quota)
            .period(CPU_PERIOD)
            .build()?;
        linux
            .resources_mut()
            .get_or_insert_default()
            .set_cpu(Some(cpu));
    }
    let limits = settings.limits.files();
    if let (false, Some(linux)) = (limits.is_empty(), spec.linux_mut()) {
        linux
            .resources_mut()
            .get_or_insert_default()
            .set_unified(Some(limits.into_iter().collect()));
    }
    if rootless::applies_to(settings) {
        rootless::adapt(&mut spec)?;
    }
    Ok(spec)
}

fn bind(source: String, destination: &str) -> Result<Mount, SpecError> {
    let options = ["rbind", "rprivate"].map(str::to_owned).to_vec();
    Ok(MountBuilder::default()
        .destination(destination)
        .typ("bind")
        .source(source)
        .options(options)
        .build()?)
}

/// The first process of a container of these settings.
pub fn first_process(settings: &Settings) -> Result<Process, SpecError> {
    let mut process = exec_process(settings)?;
    process.set_terminal(Some(settings.tty));
    process.set_args(Some(settings.args.clone()));
    if settings.runtime.is_some() {
        bundle::put_under_init(&mut process, &settings.guest);
    }
    Ok(process)
}

/// A further process in a container of these settings, before the caller's changes: the first process's environment and limits.
pub fn exec_process(settings: &Settings) -> Result<Process, SpecError> {
    let mut spec: Spec = serde_json::from_str(DEFAULTS)?;
    let mut process = spec.process_mut().take().unwrap_or_default();
    process.set_env(Some(settings.env.clone()));
    process.set_cwd(settings.working_dir.clone().into());
    guest::apply_process(&mut process, &settings.guest)?;
    if rootless::applies_to(settings) {
        // Only root lowers it, and it may be above the default's.
        process.set_oom_score_adj(None);
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_dockers() {
        let spec: Spec = serde_json::from_str(DEFAULTS).expect("valid");
        let process = spec.process().as_ref().expect("a process");
        let capabilities = process.capabilities().as_ref().expect("capabilities");
        for set in [
            capabilities.bounding(),
            capabilities.effective(),
            capabilities.permitted(),
        ] {
            assert_eq!(set.as_ref().expect("a set").len(), 14);
        }
        assert!(capabilities.ambient().is_none() && capabilities.inheritable().is_none());
        assert_eq!(spec.mounts().as_ref().expect("mounts").len(), 7);
        let linux = spec.linux().as_ref().expect("linux");
        assert!(
            linux
                .namespaces()
                .as_ref()
                .expect("namespaces")
                .iter()
                .all(|n| n.typ().to_string() != "network")
        );
    }
}
