//! A container's `config.json` for an installed OCI runtime, which wants all of it in the specification's own terms.

use std::path::Path;

use oci_spec::runtime::{MountBuilder, Process, Spec};
use rvm_agent_protocol::{CONTAINERS_DIR, INIT, NETWORK_PARAMETERS, OciRuntime};
use serde_json::{Value, json};

use super::{PREPARED, SpecError, guest};
use crate::options::guest::GuestOptions;
use crate::seccomp::Profile;

/// The init of `--init` in a container, in a folder that no layer has.
const INIT_PATH: &str = "/dev/init";

/// The runtime, with what it is to make of the specification; the process and what the agent does itself come later. `agent` is the
/// program that can be an init.
pub fn of(
    program: &Path,
    agent: &Path,
    mut spec: Spec,
    options: &GuestOptions,
    process: &Process,
) -> Result<OciRuntime, SpecError> {
    if options.init {
        let init = MountBuilder::default()
            .destination(INIT_PATH)
            .typ("bind")
            .source(agent)
            .options(["bind", "ro"].map(str::to_owned))
            .build()?;
        spec.mounts_mut().get_or_insert_default().push(init);
    }
    let mut config = serde_json::to_value(spec)?;
    if let Some(all) = config.as_object_mut() {
        for name in ["process", "hostname", "domainname"] {
            all.remove(name);
        }
    }
    let parameters = config.pointer_mut("/linux/sysctl");
    if let Some(parameters) = parameters.and_then(Value::as_object_mut) {
        parameters.retain(|name, _| !name.starts_with(NETWORK_PARAMETERS));
    }
    // Nothing in it is newer, and some runtimes take no newer version.
    config["ociVersion"] = json!("1.0.2");
    config["root"]["path"] = json!(format!("{CONTAINERS_DIR}/{PREPARED}/rootfs"));
    // The agent has set the other limits, in whichever version of control groups the host has. Without rules there are runtimes that
    // forbid all devices.
    let devices = config["linux"]["resources"]["devices"].take();
    config["linux"]["resources"] = match devices {
        Value::Null => json!({ "devices": [{ "allow": true, "access": "rwm" }] }),
        devices => json!({ "devices": devices }),
    };
    if let Some(profile) = guest::profile(options)? {
        config["linux"]["seccomp"] = filter(&profile, &guest::bounding(process));
    }
    Ok(OciRuntime {
        program: program.to_string_lossy().into_owned(),
        config: config.to_string(),
    })
}

/// Has an init run the command of `process`, as far as the options ask for one.
pub fn put_under_init(process: &mut Process, options: &GuestOptions) {
    if options.init {
        let init = [INIT_PATH, INIT].map(str::to_owned).into_iter();
        let command = process.args().iter().flatten().cloned();
        process.set_args(Some(init.chain(command).collect()));
    }
}

/// What of a profile holds for a container with these capabilities, in the specification's terms.
fn filter(profile: &Profile, capabilities: &[String]) -> Value {
    let rules = profile.syscalls.iter();
    let rules = rules.filter(|rule| rule.holds(capabilities)).map(|rule| {
        let args = rule.args.iter().map(|argument| {
            json!({
                "index": argument.index,
                "value": argument.value,
                "valueTwo": argument.value_two,
                "op": argument.op,
            })
        });
        let mut filter = json!({
            "names": rule.all_names().collect::<Vec<_>>(),
            "action": rule.action,
            "args": args.collect::<Vec<_>>(),
        });
        if let Some(error) = rule.errno_ret {
            filter["errnoRet"] = error.into();
        }
        filter
    });
    let mut filter = json!({
        "defaultAction": profile.default_action,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules.collect::<Vec<_>>(),
    });
    if let Some(error) = profile.default_errno_ret {
        filter["defaultErrnoRet"] = error.into();
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_for_the_container_is_in_its_filter() {
        let profile: Profile = serde_json::from_str(crate::seccomp::DEFAULT).expect("a profile");
        let names = |capabilities: &[String]| filter(&profile, capabilities).to_string();
        let with = names(&["CAP_SYS_CHROOT".to_owned()]);
        assert!(with.contains("\"chroot\"") && !names(&[]).contains("\"chroot\""));
        assert!(with.contains("\"SCMP_ACT_ERRNO\"") && !with.contains("includes"));
    }
}
