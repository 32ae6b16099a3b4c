//! From a container's settings to its running process.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rvm_agent_protocol::{
    self as agent, Adopt, Create, CreateOptions, FailureKind, Guest, Program, Request,
};

use super::guest::{GuestPlan, Interface, Prepared, Process, explain};
use super::protocol::Failure;
use super::sandboxed;
use super::shared::Shared;
use crate::checkpoint::{CheckpointError, Checkpoints};
use crate::container::{Container, NetworkMode, Settings};
use crate::disk::{Disk, DiskError};
use crate::enclosure::Enclosure;
use crate::error::chain;
use crate::image::{ImageError, Images};
use crate::microvm::{
    self, Agent, AgentError, ArtifactError, Artifacts, HostError, LaunchError, MAX_LAYERS,
};
use crate::name::Name;
use crate::network::{Cable, Connection, Endpoint, Link, MTU, Network, NetworkError};
use crate::options::isolation::Isolation;
use crate::root::Root;
use crate::rootless;
use crate::sandbox::SandboxError;
use crate::spec::{self, PREPARED, SpecError, files, first_process, runtime_spec};
use crate::state::Database;
use crate::template::{About, Key, Stage, Templates};
use crate::timing;

/// Bytes of fresh entropy for a guest.
const ENTROPY: usize = 64;

/// The host name of a container that is held for whoever comes: as long as those of all who have not asked for another.
const NOBODY: &str = "000000000000";

/// A container that runs.
#[derive(Debug)]
pub struct Booted {
    /// Its microVM, or its sandbox.
    pub enclosure: Enclosure,
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
    /// No writable layer.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The microVM.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
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
    let (prepared, connection) = prepare(root, database, container, shared, false)?;
    let endpoint = connection.as_ref().map(|connection| &connection.endpoint);
    let Prepared {
        enclosure,
        agent,
        process,
        silent,
    } = prepared;
    let started = start_process(
        container,
        endpoint,
        shared,
        &enclosure,
        (agent, silent),
        process,
    );
    match started {
        Ok(stream) => Ok(Booted {
            enclosure,
            stream,
            connection,
        }),
        Err(_) if shared.killed() => Err(BootError::Killed),
        Err(error) => Err(explain(error, enclosure)),
    }
}

/// Makes the templates from which containers of these settings go on, as far as they are missing; the last one's key. The container's
/// own process never runs, but what it has been given is to be given back.
pub fn make_templates(
    root: &Root,
    database: &Database,
    container: &Container,
) -> Result<Option<Key>, BootError> {
    let shared = Shared::new(false);
    let (prepared, connection) = prepare(root, database, container, &shared, true)?;
    let endpoint = connection.as_ref().map(|connection| &connection.endpoint);
    let Prepared {
        enclosure,
        mut agent,
        process,
        silent,
    } = prepared;
    match process {
        Process::Waiting(made) => Ok(made.map(|(_, key)| key)),
        Process::Held(key) => Ok(Some(key)),
        Process::ToHold(hold) => {
            let made = introduce(container, endpoint, &mut agent, silent)
                .and_then(|()| Ok(hold.save(&mut agent, &enclosure)?));
            match made {
                Ok(()) => Ok(Some(hold.key)),
                Err(error) => Err(explain(error, enclosure)),
            }
        }
    }
}

/// A guest or a sandbox in which the container's process waits, and its network.
fn prepare(
    root: &Root,
    database: &Database,
    container: &Container,
    shared: &Shared,
    hold: bool,
) -> Result<(Prepared, Option<Connection>), BootError> {
    if container.settings.isolation == Isolation::Container {
        return sandboxed::prepare(root, container, shared, Some(database));
    }
    let mut plan = plan(root, container)?;
    plan.held = held_create(container)?;
    plan.hold = hold;
    let (connection, interface) = connect(root, database, container, None)?;
    timing::mark("network ready");
    let prepared = GuestPlan { interface, ..plan }.start(shared)?;
    Ok((prepared, connection))
}

/// The container's network, and the guest's interface.
fn connect(
    root: &Root,
    database: &Database,
    container: &Container,
    address: Option<Ipv4Addr>,
) -> Result<(Option<Connection>, Option<Interface>), BootError> {
    let settings = &container.settings;
    if settings.network == NetworkMode::None {
        return Ok((None, None));
    }
    let link = rootless::applies().then(Link::new).transpose()?;
    let network = Network::of(root);
    let connection = network.connect(
        database,
        &container.id,
        &settings.publish,
        (address, settings.guest.mac_address),
        link.as_ref(),
    )?;
    let cable = match link {
        Some(link) => Cable::Link(Arc::new(link.inside)),
        None => Cable::Tap(network.tap(&connection.endpoint)?),
    };
    let network = addresses(&connection.endpoint);
    Ok((Some(connection), Some(Interface { cable, network })))
}

/// Starts the container from a checkpoint.
pub fn go_on(
    root: &Root,
    database: &Database,
    container: &Container,
    shared: &Shared,
    name: &Name,
) -> Result<Booted, BootError> {
    let settings = &container.settings;
    if settings.isolation == Isolation::Container {
        return Err(CheckpointError::NoMicroVm(container.id.to_string()).into());
    }
    let mut plan = plan(root, container)?;
    let checkpoints = Checkpoints::of(&plan.folder, &container.id);
    let checkpoint = checkpoints.open(name, &plan.artifacts)?;
    plan.about.memory_mib = checkpoint.about.memory_mib;
    plan.about.vcpus = checkpoint.about.vcpus;
    let before = checkpoint
        .about
        .endpoint
        .as_ref()
        .map(|before| before.address);
    let (connection, interface) = connect(root, database, container, before)?;
    let endpoint = connection.as_ref().map(|connection| &connection.endpoint);
    let silent = interface.as_ref().map(|interface| interface.cable.clone());
    let (vm, mut agent) = GuestPlan { interface, ..plan }.go_on(checkpoint.snapshot, shared)?;
    let attach = Request::Attach {
        id: container.id.to_string(),
        files: own_files(settings, endpoint),
    };
    shared.wait_first_client();
    let enclosure = Enclosure::MicroVm(vm);
    let attached =
        introduce(container, endpoint, &mut agent, silent).and_then(|()| Ok(agent.call(&attach)?));
    match attached {
        Ok(()) => Ok(Booted {
            enclosure,
            stream: agent.into_stream(),
            connection,
        }),
        Err(_) if shared.killed() => Err(BootError::Killed),
        Err(error) => Err(explain(error, enclosure)),
    }
}

/// The guest of a container, without a network.
pub(super) fn plan(root: &Root, container: &Container) -> Result<GuestPlan, BootError> {
    let settings = &container.settings;
    let kvm = microvm::open_kvm()?;
    Ok(GuestPlan {
        spec: runtime_spec(settings)?,
        filter: spec::guest::filter(&settings.guest, &first_process(settings)?)?,
        held: None,
        hold: false,
        program: program(settings),
        devices: settings.guest.privileged,
        folder: root.container(&container.id),
        disk: Disk::of(root, &container.id, settings),
        about: About {
            image: settings.image.clone(),
            image_id: settings.image_id.clone(),
            memory_mib: settings.memory.whole_mib(),
            vcpus: settings.cpus.vcpus(),
            created: Timestamp::now(),
            stage: Stage::Ready,
            network: None,
        },
        templates: (!settings.no_template).then(|| Templates::of(root)),
        host: microvm::kind(root, &kvm)?.kind,
        artifacts: Artifacts::find(settings.kernel.as_deref())?,
        kvm,
        layers: Images::open(root)?.layers(&settings.image_id, MAX_LAYERS)?,
        interface: None,
    })
}

pub(super) fn program(settings: &Settings) -> Option<Program> {
    let mut variables = settings.env.iter();
    let search = variables.find_map(|variable| variable.strip_prefix("PATH="));
    Some(Program {
        name: settings.args.first()?.clone(),
        search: search.map(str::to_owned),
    })
}

/// Tells the guest which it is, its address too, after which its cable may be set up.
fn introduce(
    container: &Container,
    endpoint: Option<&Endpoint>,
    agent: &mut Agent,
    silent: Option<Cable>,
) -> Result<(), BootError> {
    agent.call(&Request::Configure(guest(&container.settings, endpoint)?))?;
    if let Some(cable) = silent {
        cable.set_up()?;
    }
    Ok(())
}

/// Makes the prepared container this one, and starts its process once the first client is attached.
fn start_process(
    container: &Container,
    endpoint: Option<&Endpoint>,
    shared: &Shared,
    enclosure: &Enclosure,
    (mut agent, silent): (Agent, Option<Cable>),
    process: Process,
) -> Result<UnixStream, BootError> {
    let mut introduced = silent.is_some();
    if introduced || matches!(process, Process::ToHold(_)) {
        introduce(container, endpoint, &mut agent, silent)?;
    }
    if let Process::ToHold(hold) = &process {
        hold.save(&mut agent, enclosure)?;
        timing::mark("template of the held process made");
        // From here on the template's guests would have the same random numbers.
        introduced = false;
    }
    let mut requests = Vec::new();
    if !introduced {
        requests.push(Request::Configure(guest(&container.settings, endpoint)?));
    }
    let become_this = match &process {
        Process::Waiting(_) => Request::Create(Box::new(Create {
            files: own_files(&container.settings, endpoint),
            ..create_request(container)?
        })),
        Process::ToHold(_) | Process::Held(_) => {
            Request::Adopt(Box::new(adopt_request(container, endpoint)?))
        }
    };
    let window = shared
        .wait_first_client()
        .filter(|_| container.settings.tty);
    let id = container.id.to_string();
    requests.extend([become_this, Request::Start { id, window }]);
    agent.call_all(&requests)?;
    if let Process::Waiting(Some((templates, key))) = &process {
        templates.note_wanted(key);
    }
    Ok(agent.into_stream())
}

/// What makes the guest this container's.
pub(super) fn guest(settings: &Settings, endpoint: Option<&Endpoint>) -> Result<Guest, BootError> {
    let mut entropy = vec![0; ENTROPY];
    crate::random::fill(&mut entropy).map_err(std::io::Error::from)?;
    Ok(Guest {
        time_ns: nanoseconds(),
        entropy,
        hostname: settings.hostname.clone(),
        network: endpoint.map(addresses),
        sysctls: BTreeMap::new(),
    })
}

/// The wall clock, as the agent takes it.
pub(super) fn nanoseconds() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_epoch.as_nanos() as u64
}

/// What a guest's interface is to be set to.
fn addresses(endpoint: &Endpoint) -> agent::Network {
    agent::Network {
        mac: endpoint.mac,
        address: endpoint.address,
        prefix: endpoint.prefix,
        gateway: endpoint.gateway,
        mtu: MTU,
    }
}

/// How the container is created, but for the content of its files.
fn create_request(container: &Container) -> Result<Create, BootError> {
    let settings = &container.settings;
    Ok(Create {
        prepared: PREPARED.to_owned(),
        id: container.id.to_string(),
        options: spec::guest::create_options(&settings.guest),
        process: first_process(settings)?,
        hostname: Some(settings.hostname.clone()),
        domainname: settings.guest.domainname.clone(),
        user: settings.user.clone(),
        files: Vec::new(),
        stdin: settings.open_stdin,
    })
}

/// How a container like this one is created before it is known which it will be. There is none whose process is another one's child.
fn held_create(container: &Container) -> Result<Option<Create>, BootError> {
    if container.settings.guest.init {
        return Ok(None);
    }
    let mut anyone = container.clone();
    let settings = &mut anyone.settings;
    if settings.hostname == container.id.short() {
        settings.hostname = NOBODY.to_owned();
        let named = format!("HOSTNAME={}", container.id.short());
        for variable in settings
            .env
            .iter_mut()
            .filter(|variable| **variable == named)
        {
            *variable = format!("HOSTNAME={NOBODY}");
        }
    }
    let create = create_request(&anyone)?;
    Ok(Some(Create {
        id: PREPARED.to_owned(),
        options: CreateOptions {
            hold: true,
            ..create.options
        },
        ..create
    }))
}

fn adopt_request(container: &Container, endpoint: Option<&Endpoint>) -> Result<Adopt, BootError> {
    let settings = &container.settings;
    let mut random = [0; 16];
    crate::random::fill(&mut random).map_err(std::io::Error::from)?;
    Ok(Adopt {
        held: PREPARED.to_owned(),
        id: container.id.to_string(),
        hostname: Some(settings.hostname.clone()),
        domainname: settings.guest.domainname.clone(),
        files: own_files(settings, endpoint),
        random,
    })
}

fn own_files(settings: &Settings, endpoint: Option<&Endpoint>) -> Vec<agent::File> {
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    files::files(
        &settings.hostname,
        &settings.guest,
        endpoint.map(|endpoint| (endpoint.address, endpoint.gateway)),
        &resolv_conf,
    )
}
