//! A sandbox with everything in it that a container needs, which has no microVM.

use std::fs::File;

use rvm_agent_protocol::{Prepare, READY_PORT, Request, Rootfs, Writable};

use super::boot::{BootError, program};
use super::guest::{Prepared, Process, append, explain};
use super::shared::Shared;
use crate::container::{Container, NetworkMode};
use crate::disk::Disk;
use crate::enclosure::Enclosure;
use crate::image::Images;
use crate::microvm::{
    Agent, Broker, BrokerError, LaunchError, MAX_LAYERS, agent_program, rootless_program,
};
use crate::network::{Connection, Link, Network};
use crate::root::Root;
use crate::rootless;
use crate::sandbox::{Plan, Sandbox, cgroup};
use crate::spec::{self, PREPARED, bundle, files, first_process, runtime_spec};
use crate::state::Database;
use crate::timing;

/// A sandbox in which the container's process waits, and its network, which it has if there is a `database` to lease it from.
pub fn prepare(
    root: &Root,
    container: &Container,
    shared: &Shared,
    database: Option<&Database>,
) -> Result<(Prepared, Option<Connection>), BootError> {
    let settings = &container.settings;
    let folder = root.container(&container.id);
    let layers = Images::open(root)?.layers(&settings.image_id, MAX_LAYERS)?;
    let rootless = match rootless::applies() {
        true => Some(rootless_program()?),
        false => None,
    };
    let disk = Disk::of(root, &container.id, settings);
    let disk = match &rootless {
        None => disk.as_ref().map(Disk::open).transpose()?,
        Some(_) => disk.map(|_| folder.open_writable()).transpose()?,
    };
    let network = database.filter(|_| settings.network == NetworkMode::Bridge);
    let own = network.filter(|_| rootless.is_some());
    let link = own.map(|_| Link::new()).transpose()?;
    let inside = link.as_ref().map(|link| link.inside.try_clone());
    let mut request = request(container, layers.len(), disk.as_ref())?;
    let plan = Plan {
        agent: agent_program()?,
        shares_root: settings.runtime.is_some(),
        id: container.id.clone(),
        layers,
        disk,
        disk_path: match rootless {
            None => folder.disk(),
            Some(_) => folder.writable(),
        },
        rootless,
        link: inside.transpose()?,
        log: append(folder.monitor_log())?,
    };
    let (sandbox, broker) = Sandbox::launch(plan)?;
    timing::mark("agent started");
    if shared.set_vm(sandbox.terminator()?) {
        return Err(BootError::Killed);
    }
    let connect = |database| {
        Network::of(root).connect(
            database,
            &container.id,
            &settings.publish,
            (None, settings.guest.mac_address),
            link.as_ref(),
        )
    };
    let connection = network.map(connect).transpose()?;
    timing::mark("network ready");
    request.network = connection.is_some();
    let prepared = agent(&sandbox, &broker).and_then(|mut agent| {
        shared.set_broker(broker);
        if let (Some(connection), None) = (&connection, &link) {
            Network::of(root).pair(&connection.endpoint, sandbox.pid())?;
        }
        agent.call(&Request::Prepare(Box::new(request)))?;
        timing::mark("container prepared");
        Ok(agent)
    });
    let enclosure = Enclosure::Sandbox(sandbox);
    match prepared {
        Ok(agent) => {
            let process = Process::Waiting(None);
            let prepared = Prepared {
                enclosure,
                agent,
                process,
                silent: None,
            };
            Ok((prepared, connection))
        }
        Err(_) if shared.killed() => Err(BootError::Killed),
        Err(error) => Err(explain(error, enclosure)),
    }
}

fn request(
    container: &Container,
    layers: usize,
    disk: Option<&File>,
) -> Result<Prepare, BootError> {
    let settings = &container.settings;
    let mut spec = runtime_spec(settings)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroup(&container.id)));
    }
    let writable = match disk {
        Some(_) if rootless::applies() => Writable::Folder {
            mount: Sandbox::file(layers),
        },
        Some(_) => Writable::Disk {
            device: Sandbox::file(layers),
        },
        None => Writable::Tmpfs { size: None },
    };
    let process = first_process(settings)?;
    let runtime = match &settings.runtime {
        Some(program) => {
            let agent = agent_program()?;
            let made = bundle::of(program, &agent, spec.clone(), &settings.guest, &process);
            Some(made?)
        }
        None => None,
    };
    Ok(Prepare {
        runtime,
        name: PREPARED.to_owned(),
        rootfs: Rootfs {
            layers: (0..layers).map(Sandbox::file).collect(),
            writable,
        },
        spec,
        files: files::names(),
        devices: settings.guest.privileged,
        network: false,
        filter: spec::guest::filter(&settings.guest, &process)?,
        program: program(settings),
    })
}

/// Waits for the connection that the agent opens when it is ready.
fn agent(sandbox: &Sandbox, broker: &Broker) -> Result<Agent, BootError> {
    sandbox.wait_ready(broker)?;
    timing::mark("agent ready");
    match broker.accept().map_err(LaunchError::from)? {
        (READY_PORT, stream) => Ok(Agent::new(stream)),
        _ => Err(LaunchError::from(BrokerError::Message).into()),
    }
}
