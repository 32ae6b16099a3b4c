//! From a container's settings to its running process in a microVM.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rvm_agent_protocol::{
    self as agent, Create, FailureKind, Guest, READY_PORT, Request, Rootfs, Writable,
};

use super::protocol::Failure;
use super::shared::Shared;
use crate::container::{Container, NetworkMode, Settings};
use crate::error::chain;
use crate::image::{ImageError, Images};
use crate::microvm::{
    self, Agent, AgentError, ArtifactError, Artifacts, Broker, BrokerError, HostError, LaunchError,
    MAX_LAYERS, Machine, MicroVm,
};
use crate::network::{Connection, Endpoint, MTU, Network, NetworkError};
use crate::root::Root;
use crate::spec::{SpecError, files, runtime_spec};
use crate::state::Database;

/// How long a guest may take until its agent is there. An emulated guest kernel on a busy machine takes many times what it should.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// How long the VMM's last word is waited for when its sockets are closed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of fresh entropy for a guest.
const ENTROPY: usize = 64;

/// A container that runs.
#[derive(Debug)]
pub struct Booted {
    /// Its microVM.
    pub vm: MicroVm,
    /// Its process's stream.
    pub stream: UnixStream,
    /// Its network, held as long as it runs.
    pub connection: Option<Connection>,
}

/// Why a container does not run.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The host can't.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file is missing.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The image is not usable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file could not be opened.
    #[error("cannot open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The microVM.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No random bytes, no process handle.
    #[error("a system call failed")]
    System(#[from] std::io::Error),
    /// Killed while it started.
    #[error("the container was killed while it started")]
    Killed,
}

impl BootError {
    /// As it is told to commands, with Docker's exit codes.
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::Agent(AgentError::Refused(refused)) => match refused.kind {
                FailureKind::CommandNotFound => 127,
                FailureKind::CommandNotExecutable => 126,
                _ => 125,
            },
            Self::Killed => 137,
            _ => 125,
        };
        Failure {
            code,
            message: chain(self),
        }
    }
}

/// Starts the container. The database is told of what is to be given back before it is taken.
pub fn boot(
    root: &Root,
    database: &Database,
    container: &Container,
    shared: &Shared,
) -> Result<Booted, BootError> {
    let settings = &container.settings;
    let kvm = microvm::open_kvm()?;
    let host = microvm::kind(root, &kvm)?.kind;
    let artifacts = Artifacts::find(settings.kernel.as_deref())?;
    let kernel = artifacts.open_kernel()?;
    let layers = Images::open(root)?.layers(&settings.image_id, MAX_LAYERS)?;
    let folder = root.container(&container.id);
    let (connection, tap) = match settings.network {
        NetworkMode::None => (None, None),
        NetworkMode::Bridge => {
            let (connection, tap) =
                Network::of(root).connect(database, &container.id, &settings.publish)?;
            let mac = connection.endpoint.mac;
            (Some(connection), Some((tap, mac)))
        }
    };
    let disks = layers.len();
    let machine = Machine {
        vmm: artifacts.vmm.clone(),
        kvm,
        host,
        kernel,
        initramfs: artifacts.open_initramfs()?,
        memory_mib: settings.memory.whole_mib(),
        vcpus: settings.cpus.vcpus(),
        layers,
        network: tap,
        console: create(folder.console())?,
        log: append(folder.monitor_log())?,
    };
    let (vm, broker) = MicroVm::launch(machine)?;
    tracing::debug!(pid = vm.pid(), "the VMM runs");
    if shared.set_vm(vm.terminator()?) {
        return Err(BootError::Killed);
    }
    let endpoint = connection.as_ref().map(|connection| &connection.endpoint);
    match start_process(container, disks, endpoint, shared, &vm, broker) {
        Ok(stream) => Ok(Booted {
            vm,
            stream,
            connection,
        }),
        Err(_) if shared.killed() => Err(BootError::Killed),
        Err(error) => Err(explain(error, vm)),
    }
}

/// Waits for the guest, makes the container in it, and starts its process once the first client is attached.
fn start_process(
    container: &Container,
    disks: usize,
    endpoint: Option<&Endpoint>,
    shared: &Shared,
    vm: &MicroVm,
    broker: Broker,
) -> Result<UnixStream, BootError> {
    vm.wait_ready(&broker, BOOT_LIMIT)?;
    let (port, stream) = broker.accept().map_err(LaunchError::from)?;
    if port != READY_PORT {
        return Err(LaunchError::from(BrokerError::Message).into());
    }
    let mut agent = Agent::new(stream);
    shared.set_broker(broker);
    agent.call(&Request::Configure(guest(&container.settings, endpoint)?))?;
    agent.call(&Request::Create(Box::new(create_request(
        container, disks, endpoint,
    )?)))?;
    let window = shared
        .wait_first_client()
        .filter(|_| container.settings.tty);
    agent.call(&Request::Start {
        id: container.id.to_string(),
        window,
    })?;
    Ok(agent.into_stream())
}

/// A broken connection is not the reason when the microVM has ended.
fn explain(error: BootError, vm: MicroVm) -> BootError {
    let broken = matches!(
        error,
        BootError::Agent(AgentError::Frame(_) | AgentError::Closed)
    );
    match broken.then(|| vm.wait_end(END_PATIENCE)).flatten() {
        Some(end) => LaunchError::Ended(end).into(),
        None => error,
    }
}

fn guest(settings: &Settings, endpoint: Option<&Endpoint>) -> Result<Guest, BootError> {
    let mut entropy = vec![0; ENTROPY];
    crate::random::fill(&mut entropy).map_err(std::io::Error::from)?;
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Guest {
        time_ns: since_epoch.as_nanos() as u64,
        entropy,
        hostname: settings.hostname.clone(),
        network: endpoint.map(|endpoint| agent::Network {
            address: endpoint.address,
            prefix: endpoint.prefix,
            gateway: endpoint.gateway,
            mtu: MTU,
        }),
        sysctls: BTreeMap::new(),
    })
}

fn create_request(
    container: &Container,
    disks: usize,
    endpoint: Option<&Endpoint>,
) -> Result<Create, BootError> {
    let settings = &container.settings;
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Ok(Create {
        id: container.id.to_string(),
        rootfs: Rootfs {
            layers: ('a'..='z')
                .take(disks)
                .map(|letter| format!("/dev/vd{letter}"))
                .collect(),
            writable: Writable::Tmpfs { size: None },
        },
        spec: runtime_spec(&container.id, settings)?,
        user: settings.user.clone(),
        files: files::files(
            &settings.hostname,
            endpoint.map(|endpoint| endpoint.address),
            &resolv_conf,
        ),
        stdin: settings.open_stdin,
    })
}

fn create(path: PathBuf) -> Result<File, BootError> {
    // Readable too, so that the VMM can drop the oldest lines.
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path);
    file.map_err(|source| BootError::Open { path, source })
}

fn append(path: PathBuf) -> Result<File, BootError> {
    let file = File::options().append(true).create(true).open(&path);
    file.map_err(|source| BootError::Open { path, source })
}
