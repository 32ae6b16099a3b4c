//! Making a container: everything that can be seen to be wrong is said here, before anything exists.

use std::path::PathBuf;

use jiff::Timestamp;
use rvm_vmm::config::MIN_MEMORY_MIB;

use super::Engine;
use crate::container::{Container, NetworkMode, Settings};
use crate::disk;
use crate::id::ContainerId;
use crate::image::{Image, ImageError, Images};
use crate::log::LogOptions;
use crate::microvm::{self, ArtifactError, Artifacts, HostError, agent_program, rootless_program};
use crate::name::Name;
use crate::options::cpus::Cpus;
use crate::options::env::Setting;
use crate::options::guest::GuestOptions;
use crate::options::health::Parts;
use crate::options::isolation::{self, InvalidIsolation, Isolation};
use crate::options::label::Labels;
use crate::options::limits::Limits;
use crate::options::memory::Memory;
use crate::options::oci_runtime::{self, UnknownRuntime};
use crate::options::port::Publish;
use crate::options::restart::RestartPolicy;
use crate::options::signal::{InvalidSignal, Signal};
use crate::rootless::{self, RootlessError};
use crate::spec;
use crate::spec::process::{self, NoCommand};
use crate::spec::{SpecError, first_process, runtime_spec};
use crate::state::DatabaseError;

/// The memory of a container that doesn't say.
pub const DEFAULT_MEMORY: Memory = Memory::mib(256);

/// How often a random name is tried before numbers are added.
const NAME_TRIES: usize = 8;

/// The least memory that Docker holds a container to.
const SMALLEST_LIMIT: Memory = Memory::mib(6);

/// The longest host name that the kernel takes, in bytes.
const HOSTNAME_LIMIT: usize = 64;

/// A container that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The image's reference.
    pub image: String,
    /// The command and its arguments; empty for the image's own.
    pub command: Vec<String>,
    /// The name; random without.
    pub name: Option<Name>,
    /// In place of the image's entry point.
    pub entrypoint: Option<String>,
    /// Changes to the environment.
    pub env: Vec<Setting>,
    /// In place of the image's working folder.
    pub working_dir: Option<String>,
    /// In place of the image's user.
    pub user: Option<String>,
    /// In place of the id's beginning.
    pub hostname: Option<String>,
    /// The process gets a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Remove the container when it has ended.
    pub auto_remove: bool,
    /// The root file system can't be written.
    pub read_only: bool,
    /// What it runs in; without, what [`isolation::VARIABLE`] says.
    pub isolation: Option<Isolation>,
    /// Which OCI runtime makes and runs it; without, what [`oci_runtime::VARIABLE`] says, or rvm's own.
    pub runtime: Option<String>,
    /// Memory; [`DEFAULT_MEMORY`] without, or in a sandbox as much as there is.
    pub memory: Option<Memory>,
    /// Processors; one without.
    pub cpus: Option<Cpus>,
    /// How to connect it.
    pub network: NetworkMode,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// Where its output goes.
    pub log: LogOptions,
    /// In place of the installed kernel.
    pub kernel: Option<PathBuf>,
    /// Labels, above those of the image.
    pub labels: Labels,
    /// In place of the image's stop signal.
    pub stop_signal: Option<Signal>,
    /// Seconds to end after the stop signal.
    pub stop_timeout: Option<i64>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How its health is checked, above what the image says.
    pub health_check: Parts,
    /// What it may take of its guest.
    pub limits: Limits,
    /// The size of its writable layer; [`disk::DEFAULT_SIZE`] without.
    pub storage_size: Option<Memory>,
    /// Boot instead of going on from a template.
    pub no_template: bool,
    /// What takes effect inside the guest.
    pub guest: GuestOptions,
}

/// Why a container is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Too little memory.
    #[error(
        "Minimum memory limit allowed is {MIN_MEMORY_MIB}m: a guest's kernel and the container need that much"
    )]
    TooLittleMemory,
    /// More memory than there is.
    #[error(
        "the host has {host} MiB of memory, and {asked} MiB were asked for: give less with --memory"
    )]
    TooMuchMemory {
        /// Of the host, in MiB.
        host: u64,
        /// Asked for, in MiB.
        asked: u64,
    },
    /// The working folder is not absolute.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDir(String),
    /// The host name is not one.
    #[error(
        "invalid hostname '{0}': it has letters, digits, hyphens and dots, {HOSTNAME_LIMIT} at most"
    )]
    Hostname(String),
    /// Ports without a network.
    #[error(
        "a container without a network (--network none) can't publish ports: leave out --network or --publish"
    )]
    PortsWithoutNetwork,
    /// A container can't be removed and started again.
    #[error("Conflicting options: cannot specify both --restart and --rm")]
    RestartAndRemove,
    /// Too small or too large a writable layer.
    #[error(
        "invalid size of the writable layer (--storage-opt size=): from {} MiB to {} GiB are possible",
        disk::SMALLEST.whole_mib(), disk::LARGEST.whole_mib() >> 10
    )]
    StorageSize,
    /// A MAC address without a network.
    #[error(
        "conflicting options: a container without a network (--network none) can't have a mac-address"
    )]
    MacWithoutNetwork,
    /// Neither vm nor container.
    #[error("{} is not usable", isolation::VARIABLE)]
    Isolation(#[from] InvalidIsolation),
    /// The host can't have a sandbox.
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    /// A kernel for a container that has none of its own.
    #[error(
        "conflicting options: with --isolation container the kernel is the host's, and --kernel has no meaning"
    )]
    KernelOfHost,
    /// Less than a container can live with.
    #[error("Minimum memory limit allowed is 6MB")]
    TooSmallLimit,
    /// No such runtime.
    #[error(transparent)]
    Runtime(#[from] UnknownRuntime),
    /// A runtime in a guest.
    #[error("the OCI runtime {0} can't run in a microVM: --runtime needs --isolation container")]
    RuntimeOfGuest(String),
    /// A kernel parameter that is not the container's.
    #[error(
        "sysctl \"{0}\" is not in a separate kernel namespace: with --isolation container it would be the host's"
    )]
    ParameterOfHost(String),
    /// The options can't be turned into a specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The image's stop signal.
    #[error("the image's StopSignal is not usable")]
    StopSignal(#[source] InvalidSignal),
    /// Nothing to run.
    #[error(transparent)]
    NoCommand(#[from] NoCommand),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The host can't.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of the microVM is missing.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The database, or a name that is taken.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// No random bytes.
    #[error("the kernel gives no random bytes")]
    Random(#[source] rustix::io::Errno),
}

impl Engine {
    /// Makes a container.
    pub fn create(&self, request: Request) -> Result<Container, CreateError> {
        let isolation = match request.isolation {
            Some(isolation) => isolation,
            None => Isolation::of_environment()?,
        };
        check(&request, isolation)?;
        let runtime = runtime(&request, isolation)?;
        let images = Images::open(&self.root)?;
        // Until the container is in the database, nobody removes its image.
        let _hold = images.store().hold_names(false).map_err(ImageError::from)?;
        let image = images.resolve(&request.image)?;
        let name = request.name.clone();
        let (memory, cpus) = (request.memory, request.cpus);
        let id = ContainerId::random().map_err(CreateError::Random)?;
        let settings = Settings {
            isolation,
            runtime,
            ..settings(&id, request, image.id.to_string(), &image)?
        };
        let settings = match isolation {
            Isolation::Vm => settings,
            Isolation::Container => in_sandbox(settings, memory, cpus),
        };
        // What the options ask for has to be possible.
        runtime_spec(&settings)?;
        spec::guest::filter(&settings.guest, &first_process(&settings)?)?;
        self.insert(&id, name, &settings)?;
        Ok(self
            .database
            .get(&id)?
            .ok_or_else(|| DatabaseError::Content {
                what: "container",
                text: id.to_string(),
            })?)
    }

    fn insert(
        &self,
        id: &ContainerId,
        name: Option<Name>,
        settings: &Settings,
    ) -> Result<(), CreateError> {
        let created = Timestamp::now();
        if let Some(name) = name {
            return Ok(self.database.insert(id, &name, settings, created)?);
        }
        for number in 0.. {
            let random = Name::random().map_err(CreateError::Random)?;
            let name = if number < NAME_TRIES {
                random
            } else {
                random.numbered(number)
            };
            match self.database.insert(id, &name, settings, created) {
                Err(DatabaseError::NameTaken { .. }) => {}
                result => return Ok(result?),
            }
        }
        Ok(())
    }
}

fn check(request: &Request, isolation: Isolation) -> Result<(), CreateError> {
    match isolation {
        Isolation::Vm => check_size(request.memory.unwrap_or(DEFAULT_MEMORY))?,
        Isolation::Container => check_shared(request)?,
    }
    if let Some(folder) = &request.working_dir
        && !folder.starts_with('/')
    {
        return Err(CreateError::WorkingDir(folder.clone()));
    }
    if let Some(hostname) = &request.hostname
        && !is_hostname(hostname)
    {
        return Err(CreateError::Hostname(hostname.clone()));
    }
    if let Some(size) = request.storage_size
        && !(disk::SMALLEST..=disk::LARGEST).contains(&size)
    {
        return Err(CreateError::StorageSize);
    }
    if request.auto_remove && request.restart != RestartPolicy::No {
        return Err(CreateError::RestartAndRemove);
    }
    if request.network == NetworkMode::None && !request.publish.is_empty() {
        return Err(CreateError::PortsWithoutNetwork);
    }
    if request.network == NetworkMode::None && request.guest.mac_address.is_some() {
        return Err(CreateError::MacWithoutNetwork);
    }
    if let Some(domain) = &request.guest.domainname
        && !is_hostname(domain)
    {
        return Err(CreateError::Hostname(domain.clone()));
    }
    match isolation {
        Isolation::Vm => {
            microvm::open_kvm()?;
            Artifacts::find(request.kernel.as_deref())?.open_kernel()?;
        }
        Isolation::Container => {
            agent_program()?;
            if rootless::applies() {
                rootless_program()?;
            }
        }
    }
    Ok(())
}

/// A guest's memory.
fn check_size(memory: Memory) -> Result<(), CreateError> {
    let memory = memory.whole_mib();
    let host = microvm::memory_mib();
    if memory < MIN_MEMORY_MIB {
        return Err(CreateError::TooLittleMemory);
    }
    if memory > host {
        return Err(CreateError::TooMuchMemory {
            host,
            asked: memory,
        });
    }
    Ok(())
}

/// What can't be had where the kernel is the host's.
fn check_shared(request: &Request) -> Result<(), CreateError> {
    if request.kernel.is_some() {
        return Err(CreateError::KernelOfHost);
    }
    if request.memory.is_some_and(|memory| memory < SMALLEST_LIMIT) {
        return Err(CreateError::TooSmallLimit);
    }
    if rootless::applies() {
        rootless::check(request)?;
    }
    let foreign = |name: &&String| !isolation::is_own_parameter(name);
    match request.guest.sysctls.keys().find(foreign) {
        Some(name) => Err(CreateError::ParameterOfHost(name.clone())),
        None => Ok(()),
    }
}

/// The runtime that is asked for, if it is not rvm's own.
fn runtime(request: &Request, isolation: Isolation) -> Result<Option<PathBuf>, CreateError> {
    if isolation == Isolation::Vm {
        return match request.runtime.as_deref() {
            None | Some(oci_runtime::OWN) => Ok(None),
            Some(name) => Err(CreateError::RuntimeOfGuest(name.to_owned())),
        };
    }
    match oci_runtime::find(request.runtime.as_deref())? {
        Some(_) if rootless::applies() => Err(RootlessError::Runtime.into()),
        found => Ok(found),
    }
}

/// Without a guest that is made to measure, what was asked for are limits.
fn in_sandbox(settings: Settings, memory: Option<Memory>, cpus: Option<Cpus>) -> Settings {
    Settings {
        memory: Memory::mib(microvm::memory_mib()),
        cpus: Cpus::MOST,
        limits: Limits {
            memory,
            cpus,
            ..settings.limits
        },
        ..settings
    }
}

fn is_hostname(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= HOSTNAME_LIMIT
        && text.bytes().all(allowed)
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

fn settings(
    id: &ContainerId,
    request: Request,
    image_id: String,
    image: &Image,
) -> Result<Settings, CreateError> {
    // One that is not understood is none, as with Docker.
    let of_image: Option<Parts> = image
        .health_check
        .clone()
        .and_then(|parts| serde_json::from_value(parts).ok());
    let image = image.config.config().as_ref();
    let text = |value: Option<&String>| value.filter(|text| !text.is_empty()).cloned();
    let hostname = request.hostname.unwrap_or_else(|| id.short().to_owned());
    let mut labels: Labels = image
        .and_then(|image| image.labels().clone())
        .unwrap_or_default()
        .into_iter()
        .collect();
    labels.extend(request.labels);
    let stop_signal = match image.and_then(|image| text(image.stop_signal().as_ref())) {
        _ if request.stop_signal.is_some() => request.stop_signal.unwrap_or(Signal::TERM),
        Some(signal) => signal.parse().map_err(CreateError::StopSignal)?,
        None => Signal::TERM,
    };
    let (entrypoint, command) =
        process::args(image, request.entrypoint.as_deref(), &request.command)?;
    Ok(Settings {
        args: [&*entrypoint, &*command].concat(),
        entrypoint,
        labels,
        env: process::environment(image, &hostname, request.tty, &request.env),
        working_dir: request
            .working_dir
            .or_else(|| image.and_then(|image| text(image.working_dir().as_ref())))
            .unwrap_or_else(|| "/".to_owned()),
        user: request
            .user
            .or_else(|| image.and_then(|image| text(image.user().as_ref())))
            .unwrap_or_default(),
        exposed: image
            .and_then(|image| image.exposed_ports().clone())
            .unwrap_or_default(),
        image: request.image,
        image_id,
        hostname,
        tty: request.tty,
        open_stdin: request.open_stdin,
        auto_remove: request.auto_remove,
        read_only: request.read_only,
        isolation: Isolation::default(),
        runtime: None,
        memory: request.memory.unwrap_or(DEFAULT_MEMORY),
        cpus: request.cpus.unwrap_or(Cpus::ONE),
        stop_signal,
        stop_timeout: request.stop_timeout,
        restart: request.restart,
        storage_size: request.storage_size,
        limits: request.limits,
        health_check: request.health_check.above(of_image.as_ref()),
        network: request.network,
        publish: request.publish,
        log: request.log,
        kernel: request
            .kernel
            .map(|kernel| std::path::absolute(&kernel).unwrap_or(kernel)),
        no_template: request.no_template,
        guest: request.guest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked() {
        for good in ["web", "a.b-c", "9"] {
            assert!(is_hostname(good), "{good}");
        }
        for bad in ["", "-a", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(!is_hostname(bad), "{bad}");
        }
    }
}
