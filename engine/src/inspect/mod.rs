//! A container as Docker's API describes it (`ContainerInspect`), its fields in Docker's order.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::container::{Container, NetworkMode, State};
use crate::lifecycle::Engine;
use crate::lock;
use crate::network::Endpoint;
use crate::options::port::Publish;

mod host_config;

/// Docker's way to write that something has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the container's files in `/etc` are bound from is in the guest.
const IN_THE_GUEST: &str = "";

impl Engine {
    /// The description.
    pub fn inspect(&self, container: &Container) -> Value {
        let settings = &container.settings;
        let (path, args) = settings
            .args
            .split_first()
            .map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
        json!({
            "Id": container.id.as_str(),
            "Created": container.created.to_string(),
            "Path": path,
            "Args": args,
            "State": self.state(container),
            "Image": settings.image_id,
            "ResolvConfPath": IN_THE_GUEST,
            "HostnamePath": IN_THE_GUEST,
            "HostsPath": IN_THE_GUEST,
            "LogPath": match settings.log.to_files {
                true => json!(self.root().container(&container.id).log()),
                false => json!(""),
            },
            "Name": format!("/{}", container.name),
            "RestartCount": container.restart_count,
            "Driver": "erofs",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": host_config::of(container),
            "GraphDriver": { "Data": null, "Name": "erofs" },
            "Mounts": [],
            "Config": config(container),
            "NetworkSettings": network_settings(container),
        })
    }

    fn state(&self, container: &Container) -> Value {
        let state = container.state;
        let time =
            |time: &Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
        let mut state_of = json!({
            "Status": state.shown(),
            "Running": state.is_up(),
            "Paused": state == State::Paused,
            "Restarting": state == State::Restarting,
            "OOMKilled": container.oom_killed,
            "Dead": state == State::Dead,
            "Pid": container.pid.unwrap_or(0),
            "ExitCode": container.exit_code.unwrap_or(0),
            "Error": container.error.as_deref().unwrap_or(""),
            "StartedAt": time(&container.started),
            "FinishedAt": time(&container.finished),
        });
        if let Some(health) = &container.health {
            state_of["Health"] = json!(health);
        }
        state_of
    }

    /// The monitor of a running container.
    pub fn monitor_pid(&self, container: &Container) -> Option<i32> {
        if !container.state.is_active() {
            return None;
        }
        lock::holder(&self.root().container(&container.id)).ok()?
    }
}

fn config(container: &Container) -> Value {
    let settings = &container.settings;
    let command = settings.args.get(settings.entrypoint.len()..);
    let mut first = json!({
        "Hostname": settings.hostname,
        "Domainname": settings.guest.domainname.as_deref().unwrap_or_default(),
        "User": settings.user,
        "AttachStdin": settings.open_stdin,
        "AttachStdout": true,
        "AttachStderr": true,
    });
    if !settings.exposed.is_empty() {
        let exposed = settings.exposed.iter();
        first["ExposedPorts"] = exposed
            .map(|port| (port.clone(), json!({})))
            .collect::<Map<_, _>>()
            .into();
    }
    let rest = json!({
        "Tty": settings.tty,
        "OpenStdin": settings.open_stdin,
        "StdinOnce": settings.open_stdin,
        "Env": settings.env,
        "Cmd": or_null(command.unwrap_or_default()),
        "Image": settings.image,
        "Volumes": null,
        "WorkingDir": settings.working_dir,
        "Entrypoint": or_null(&settings.entrypoint),
        "OnBuild": null,
        "Labels": settings.labels,
        "StopSignal": settings.stop_signal.to_string(),
        "StopTimeout": settings.stop_timeout,
    });
    let checked = settings.health_check.as_ref().map_or(json!({}), |check| {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        json!({ "Healthcheck": {
            "Test": check.test,
            "Interval": nanoseconds(check.interval),
            "Timeout": nanoseconds(check.timeout),
            "StartPeriod": nanoseconds(check.start_period),
            "StartInterval": nanoseconds(check.start_interval),
            "Retries": check.retries,
        } })
    });
    joined([first, rest, checked])
}

fn network_settings(container: &Container) -> Value {
    let endpoint = container.endpoint.as_ref();
    let mut ports = Map::new();
    if endpoint.is_some() {
        for exposed in &container.settings.exposed {
            ports.insert(exposed.clone(), Value::Null);
        }
    }
    for port in endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
        bind(&mut ports, port);
    }
    let place = place(endpoint);
    let network = json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "DriverOpts": null,
        "NetworkID": "",
        "EndpointID": "",
        "DNSNames": null,
    });
    let network = joined([network, place.clone()]);
    let settings = json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": ports,
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": "",
    });
    let networks = json!({ network_name(container.settings.network): network });
    joined([settings, place, json!({ "Networks": networks })])
}

/// A list that Docker has not made when nobody has given anything for it.
fn or_null<T: serde::Serialize>(list: &[T]) -> Value {
    match list {
        [] => Value::Null,
        list => json!(list),
    }
}

/// One object of the fields of several.
fn joined<const N: usize>(parts: [Value; N]) -> Value {
    let objects = parts.into_iter().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    objects.flatten().collect::<Map<_, _>>().into()
}

/// Where a container is in its network; empty while it is in none.
fn place(endpoint: Option<&Endpoint>) -> Value {
    let text = |text: fn(&Endpoint) -> String| endpoint.map_or(String::new(), text);
    json!({
        "Gateway": text(|endpoint| endpoint.gateway.to_string()),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": text(|endpoint| endpoint.address.to_string()),
        "IPPrefixLen": endpoint.map_or(0, |endpoint| endpoint.prefix),
        "IPv6Gateway": "",
        "MacAddress": text(|endpoint| endpoint.mac.map(|byte| format!("{byte:02x}")).join(":")),
    })
}

fn network_name(network: NetworkMode) -> &'static str {
    match network {
        NetworkMode::None => "none",
        NetworkMode::Bridge => "bridge",
    }
}

/// Adds a published port to a map of Docker's form, where a port of the container may have several of the host.
fn bind(ports: &mut Map<String, Value>, port: &Publish) {
    let host_ip = match port.host_address.is_unspecified() {
        true => "0.0.0.0".to_owned(),
        false => port.host_address.to_string(),
    };
    let binding = json!({ "HostIp": host_ip, "HostPort": port.host_port.to_string() });
    let bindings = ports
        .entry(format!("{}/{}", port.container_port, port.protocol))
        .or_insert(Value::Null);
    match bindings {
        Value::Array(bindings) => bindings.push(binding),
        empty => *empty = json!([binding]),
    }
}
