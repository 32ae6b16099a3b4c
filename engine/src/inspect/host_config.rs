//! A container's `HostConfig`: what was asked for beside its image's configuration.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{bind, joined, network_name, or_null};
use crate::container::Container;
use crate::options::capability::Capability;
use crate::options::cpus::Cpus;
use crate::options::guest::GuestOptions;
use crate::options::isolation::Isolation;
use crate::options::memory::Memory;
use crate::options::oci_runtime::OWN;
use crate::options::security::Seccomp;
use crate::options::ulimit::Ulimit;
use crate::spec::runtime_spec;

/// The size of `/dev/shm` of a container that doesn't say.
const SHM_SIZE: Memory = Memory::mib(64);

/// The description.
pub(super) fn of(container: &Container) -> Value {
    let settings = &container.settings;
    let spec = runtime_spec(settings).ok();
    let linux = spec.and_then(|spec| spec.linux().clone());
    let guest = &settings.guest;
    let mut bindings: Map<String, Value> = Map::new();
    for port in &settings.publish {
        bind(&mut bindings, port);
    }
    let extra_hosts: Vec<String> = guest.extra_hosts.iter().map(ToString::to_string).collect();
    let options = json!({
        "Binds": null,
        "ContainerIDFile": "",
        "LogConfig": { "Type": settings.log.driver(), "Config": settings.log.given },
        "NetworkMode": network_name(settings.network),
        "PortBindings": bindings,
        "RestartPolicy": {
            "Name": settings.restart.name(),
            "MaximumRetryCount": settings.restart.retries(),
        },
        "AutoRemove": settings.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "CapAdd": or_null(&capabilities(&guest.cap_add)),
        "CapDrop": or_null(&capabilities(&guest.cap_drop)),
        "CgroupnsMode": "private",
        "Dns": guest.dns,
        "DnsOptions": guest.dns_options,
        "DnsSearch": guest.dns_search,
        "ExtraHosts": or_null(&extra_hosts),
        "GroupAdd": or_null(&guest.groups),
        "IpcMode": "private",
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": guest.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": settings.read_only,
        "SecurityOpt": or_null(&security(guest)),
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": guest.shm_size.unwrap_or(SHM_SIZE).bytes(),
        "Runtime": settings.runtime.as_deref().map_or(OWN.into(), Path::to_string_lossy),
        "Isolation": settings.isolation.as_str(),
    });
    let limits = &settings.limits;
    // Without a guest there is no size, but limits.
    let has_guest = settings.isolation == Isolation::Vm;
    let memory = has_guest.then_some(settings.memory);
    let cpus = has_guest.then_some(settings.cpus);
    let resources = json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.or(memory).map_or(0, Memory::bytes),
        "NanoCpus": limits.cpus.or(cpus).map_or(0, Cpus::nano),
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "Devices": [],
        "DeviceCgroupRules": null,
        "DeviceRequests": null,
        "MemoryReservation": limits.memory_reservation.map_or(0, Memory::bytes),
        "MemorySwap": 0,
        "MemorySwappiness": null,
        "OomKillDisable": null,
        "PidsLimit": limits.pids.or(guest.pids_limit).filter(|limit| *limit > 0),
        "Ulimits": guest.ulimits.iter().map(ulimit).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": linux.as_ref().map(|linux| linux.masked_paths()),
        "ReadonlyPaths": linux.as_ref().map(|linux| linux.readonly_paths()),
    });
    joined([options, resources, given_only(container)])
}

/// What is there only where something was given for it.
fn given_only(container: &Container) -> Value {
    let settings = &container.settings;
    let guest = &settings.guest;
    let mut given = Map::new();
    if let Some(size) = settings.storage_size {
        given.insert(
            "StorageOpt".to_owned(),
            json!({ "size": size.bytes().to_string() }),
        );
    }
    if !guest.tmpfs.is_empty() {
        let tmpfs = guest.tmpfs.iter();
        let tmpfs: Map<_, _> = tmpfs
            .map(|tmpfs| (tmpfs.path.clone(), json!(tmpfs.given())))
            .collect();
        given.insert("Tmpfs".to_owned(), tmpfs.into());
    }
    if !guest.sysctls.is_empty() {
        given.insert("Sysctls".to_owned(), json!(guest.sysctls));
    }
    if guest.init {
        given.insert("Init".to_owned(), json!(true));
    }
    given.into()
}

fn capabilities(list: &[Capability]) -> Vec<&str> {
    let name = |capability| match capability {
        &Capability::All => "ALL",
        Capability::One(name) => name.as_str(),
    };
    list.iter().map(name).collect()
}

/// In the form of `--security-opt`. Unconfined system paths are seen in the paths.
fn security(guest: &GuestOptions) -> Vec<String> {
    let mut options = Vec::new();
    if guest.security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &guest.security.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile(text) => options.push(format!("seccomp={}", compact(text))),
    }
    // As Docker has it of itself where nothing else is said.
    if guest.privileged && options.is_empty() {
        options.push("label=disable".to_owned());
    }
    options
}

/// JSON in one line.
fn compact(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |json| json.to_string())
}

fn ulimit(limit: &Ulimit) -> Value {
    // Docker's number for no limit is -1.
    let value = |value: u64| i64::try_from(value).unwrap_or(-1);
    json!({ "Name": limit.name, "Hard": value(limit.hard), "Soft": value(limit.soft) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::security::Security;

    #[test]
    fn security_options_are_shown_in_the_form_in_which_they_are_given() {
        let guest = |privileged, no_new_privileges, seccomp| GuestOptions {
            privileged,
            security: Security {
                no_new_privileges,
                seccomp,
                system_paths: false,
            },
            ..GuestOptions::default()
        };
        assert!(security(&guest(false, false, Seccomp::Default)).is_empty());
        assert_eq!(
            security(&guest(true, true, Seccomp::Unconfined)),
            ["no-new-privileges", "seccomp=unconfined"]
        );
        assert_eq!(
            security(&guest(true, false, Seccomp::Default)),
            ["label=disable"]
        );
        let profile = Seccomp::Profile("{ \"x\" :\n 1 }".to_owned());
        assert_eq!(
            security(&guest(false, false, profile)),
            ["seccomp={\"x\":1}"]
        );
    }

    #[test]
    fn no_limit_is_minus_one() {
        let limit: Ulimit = "core=5:-1".parse().expect("a limit");
        assert_eq!(
            ulimit(&limit),
            json!({ "Name": "core", "Hard": -1, "Soft": 5 })
        );
    }
}
