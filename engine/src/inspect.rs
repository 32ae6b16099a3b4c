//! A container as Docker's API describes it, as far as it is known here.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::container::{Container, NetworkMode, State};
use crate::root::Root;

/// Docker's way to write that something has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The description.
pub fn container(container: &Container, root: &Root) -> Value {
    let Container {
        id,
        name,
        settings,
        state,
        created,
        started,
        finished,
        exit_code,
        error,
        endpoint,
    } = container;
    let time = |time: &Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
    let (path, args) = settings
        .args
        .split_first()
        .map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let mut ports = Map::new();
    for port in endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
        let binding = json!({ "HostIp": port.host_address.to_string(), "HostPort": port.host_port.to_string() });
        let bindings = ports
            .entry(format!("{}/{}", port.container_port, port.protocol))
            .or_insert(json!([]));
        if let Some(bindings) = bindings.as_array_mut() {
            bindings.push(binding);
        }
    }
    let address = endpoint
        .as_ref()
        .map_or(String::new(), |endpoint| endpoint.address.to_string());
    let gateway = endpoint
        .as_ref()
        .map_or(String::new(), |endpoint| endpoint.gateway.to_string());
    let mac = endpoint.as_ref().map_or(String::new(), |endpoint| {
        endpoint.mac.map(|byte| format!("{byte:02x}")).join(":")
    });
    json!({
        "Id": id.as_str(),
        "Created": created.to_string(),
        "Path": path,
        "Args": args,
        "State": {
            "Status": state.shown(),
            "Running": *state == State::Running,
            "ExitCode": exit_code.unwrap_or(0),
            "Error": error.as_deref().unwrap_or(""),
            "StartedAt": time(started),
            "FinishedAt": time(finished),
        },
        "Image": settings.image_id,
        "LogPath": root.container(id).log(),
        "Name": format!("/{name}"),
        "HostConfig": {
            "AutoRemove": settings.auto_remove,
            "Memory": settings.memory.bytes(),
            "NanoCpus": settings.cpus.nano(),
            "NetworkMode": match settings.network {
                NetworkMode::None => "none",
                NetworkMode::Bridge => "bridge",
            },
            "ReadonlyRootfs": settings.read_only,
        },
        "Config": {
            "Hostname": settings.hostname,
            "User": settings.user,
            "Tty": settings.tty,
            "OpenStdin": settings.open_stdin,
            "Env": settings.env,
            "Image": settings.image,
            "WorkingDir": settings.working_dir,
            "StopSignal": settings.stop_signal.to_string(),
        },
        "NetworkSettings": { "IPAddress": address, "Gateway": gateway, "MacAddress": mac, "Ports": ports },
    })
}
