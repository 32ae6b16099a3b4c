//! A guest with everything in it that a container needs: gone on from a template, or booted, and then kept as one.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::Spec;
use rvm_agent_protocol::{
    AGENT_PORT, Create, Filter, Guest, Network, Prepare, Program, READY_PORT, Request, Rootfs,
    Writable,
};
use rvm_vmm::config::HostKind;

use super::boot::{BootError, nanoseconds};
use super::shared::Shared;
use crate::disk::Disk;
use crate::enclosure::Enclosure;
use crate::error::chain;
use crate::microvm::{
    Agent, AgentError, Artifacts, Broker, BrokerError, LaunchError, Machine, MicroVm, Origin,
};
use crate::network::Cable;
use crate::root::ContainerFolder;
use crate::snapshot::Snapshot;
use crate::spec::{PREPARED, files};
use crate::template::{About, Inputs, Key, Stage, Templates};
use crate::timing;

/// How long a guest may take until its agent is there. An emulated guest kernel on a busy machine takes many times what it should.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// How long the VMM's last word is waited for when its sockets are closed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What a guest is to be.
#[derive(Debug)]
pub struct GuestPlan {
    /// The container's specification, without what makes it this container.
    pub spec: Spec,
    /// What its processes may ask of the kernel.
    pub filter: Filter,
    /// Its program, which a template has in memory.
    pub program: Option<Program>,
    /// How the container is created if its process is to be held for a template. Its names are nobody's.
    pub held: Option<Create>,
    /// It is to be held although no container like this one has run before.
    pub hold: bool,
    /// The container gets all of the guest's devices; its specification tells of it, too.
    pub devices: bool,
    /// The container's folder.
    pub folder: ContainerFolder,
    /// What a template of this guest tells about itself.
    pub about: About,
    /// The templates, where they are to be used.
    pub templates: Option<Templates>,
    /// The kind of KVM.
    pub host: HostKind,
    /// What a microVM is made of.
    pub artifacts: Artifacts,
    /// `/dev/kvm`.
    pub kvm: OwnedFd,
    /// The image's layers, uppermost first.
    pub layers: Vec<File>,
    /// The disk for what the container writes, if it writes.
    pub disk: Option<Disk>,
    /// Its network interface.
    pub interface: Option<Interface>,
}

/// A guest's network interface.
#[derive(Debug)]
pub struct Interface {
    /// What it is on.
    pub cable: Cable,
    /// What it is set to.
    pub network: Network,
}

/// A guest in which a prepared container waits.
#[derive(Debug)]
pub struct Prepared {
    /// Its microVM, or its sandbox.
    pub enclosure: Enclosure,
    /// A connection to its agent.
    pub agent: Agent,
    /// What its process waits for.
    pub process: Process,
    /// A cable that is to be set up when the guest has its address: so far it has that of another guest.
    pub silent: Option<Cable>,
}

/// A container's process before its start.
#[derive(Debug)]
pub enum Process {
    /// It waits to be told who it is. Once it runs, it is to be noted that a template of it may be of use.
    Waiting(Option<(Templates, Key)>),
    /// So it does, and it is to be held for a template.
    ToHold(Box<Hold>),
    /// It is held in a guest that goes on from the template of this key, for whoever adopts it.
    Held(Key),
}

/// A template to be made of a held process.
#[derive(Debug)]
pub struct Hold {
    /// The template's key.
    pub key: Key,
    create: Create,
    templates: Templates,
    about: About,
    disk: Option<File>,
}

impl Hold {
    /// Has the process held, and saves the guest, which has its address.
    pub fn save(&self, agent: &mut Agent, enclosure: &Enclosure) -> Result<(), AgentError> {
        let Enclosure::MicroVm(vm) = enclosure else {
            return Ok(());
        };
        let create = Request::Create(Box::new(self.create.clone()));
        let id = self.create.id.clone();
        agent.call_all(&[create, Request::Hold { id }])?;
        let made = self
            .templates
            .make(&self.key, &self.about, vm, self.disk.as_ref());
        if let Err(error) = made {
            tracing::warn!(error = chain(&error), "no template could be made");
        }
        Ok(())
    }
}

/// The keys of the templates that a guest can go on from, where they are to be used and could be made out: that of a guest that is ready for
/// a container, and that of one with this container in it.
#[derive(Debug)]
struct Keys {
    ready: Option<Key>,
    prepared: Option<Key>,
}

impl GuestPlan {
    /// Starts the guest: from the template that has come farthest of those that fit, and else by booting it, which makes them for the
    /// next time.
    pub fn start(self, shared: &Shared) -> Result<Prepared, BootError> {
        let keys = self.keys();
        let held = match (&self.templates, &keys.prepared, &self.held) {
            (Some(templates), Some(key), Some(create)) => {
                let key = key.held(create).ok();
                key.map(|key| (templates, key, create))
            }
            _ => None,
        };
        if let Some((templates, key, _)) = &held
            && let Some(prepared) = self.try_resume(templates, key, Stage::Held, &keys, shared)
        {
            return prepared.map(|prepared| Prepared {
                process: Process::Held(key.clone()),
                ..prepared
            });
        }
        let mut prepared = self.prepare(&keys, shared)?;
        if let Some((templates, key, create)) = held {
            prepared.process = if self.hold || templates.was_wanted(&key) {
                Process::ToHold(Box::new(Hold {
                    create: create.clone(),
                    templates: templates.clone(),
                    key,
                    about: self.about_at(Stage::Held),
                    disk: self.disk.as_ref().map(Disk::open).transpose()?,
                }))
            } else {
                Process::Waiting(Some((templates.clone(), key)))
            };
        }
        Ok(prepared)
    }

    /// A guest in which the container's process waits to be told who it is.
    fn prepare(&self, keys: &Keys, shared: &Shared) -> Result<Prepared, BootError> {
        if let Some(templates) = &self.templates {
            let stages = [
                (&keys.prepared, Stage::Prepared),
                (&keys.ready, Stage::Ready),
            ];
            for (key, stage) in stages {
                if let Some(key) = key
                    && let Some(prepared) = self.try_resume(templates, key, stage, keys, shared)
                {
                    return prepared;
                }
            }
        }
        let origin = Origin::Boot {
            kernel: self.artifacts.open_kernel()?,
            initramfs: self.artifacts.open_initramfs()?,
        };
        let disk = self.disk.as_ref().map(Disk::open).transpose()?;
        let kept = disk.as_ref().map(File::try_clone).transpose()?;
        self.bring_up(origin, disk, false, shared, |vm, agent| {
            self.keep(keys.ready.as_ref(), Stage::Ready, vm, None);
            self.prepare_container(vm, agent, kept.as_ref(), keys)
        })
    }

    /// Prepares the container in a guest that is ready, and keeps that as a template.
    fn prepare_container(
        &self,
        vm: &MicroVm,
        agent: &mut Agent,
        disk: Option<&File>,
        keys: &Keys,
    ) -> Result<(), BootError> {
        agent.call(&Request::Prepare(Box::new(self.prepare_request())))?;
        timing::mark("container prepared");
        let Some(key) = &keys.prepared else {
            return Ok(());
        };
        if let Some(network) = self.network() {
            // Most often the next container of this kind gets the same address.
            agent.call(&Request::Configure(Guest {
                time_ns: nanoseconds(),
                network: Some(network.clone()),
                ..Guest::default()
            }))?;
        }
        self.keep(Some(key), Stage::Prepared, vm, disk);
        Ok(())
    }

    /// Keeps the guest as the template of `key`. The container runs as well without one, unless the guest is not there any more, which then
    /// shows.
    fn keep(&self, key: Option<&Key>, stage: Stage, vm: &MicroVm, disk: Option<&File>) {
        if let (Some(templates), Some(key)) = (&self.templates, key)
            && let Err(error) = templates.make(key, &self.about_at(stage), vm, disk)
        {
            tracing::warn!(error = chain(&error), "no template could be made");
        }
    }

    /// What a template of the guest tells of itself.
    fn about_at(&self, stage: Stage) -> About {
        let addressed = stage != Stage::Ready;
        About {
            stage,
            network: self.network().filter(|_| addressed).cloned(),
            ..self.about.clone()
        }
    }

    /// What the guest's interface is to be set to.
    fn network(&self) -> Option<&Network> {
        self.interface.as_ref().map(|interface| &interface.network)
    }

    /// Goes on from a template, if there is one that is of use.
    fn try_resume(
        &self,
        templates: &Templates,
        key: &Key,
        stage: Stage,
        keys: &Keys,
        shared: &Shared,
    ) -> Option<Result<Prepared, BootError>> {
        let (template, about) = templates.find(key)?;
        // Two with one address would take each other's packets.
        let silent = about.network.is_some() && about.network.as_ref() != self.network();
        match self.resume(template, (stage, silent), keys, shared) {
            Err(BootError::Launch(error @ (LaunchError::Failed(_) | LaunchError::Ended(_)))) => {
                tracing::warn!(
                    error = chain(&error),
                    "the template is not usable, and is made anew"
                );
                if let Err(error) = templates.remove(key) {
                    tracing::warn!(error = chain(&error), "the template could not be removed");
                }
                None
            }
            result => Some(result),
        }
    }

    fn keys(&self) -> Keys {
        let inputs = Inputs::new(
            self.host,
            (self.about.memory_mib, self.about.vcpus),
            self.interface
                .as_ref()
                .map(|interface| interface.cable.kind()),
            self.disk.as_ref().map(|disk| disk.size().bytes()),
            self.layers.len(),
            &self.artifacts,
        );
        // What is wrong with the files shows when they are opened to be used.
        let inputs = inputs.ok().filter(|_| self.templates.is_some());
        // What has been written to a disk is in no template.
        let fresh = !self.disk.as_ref().is_some_and(Disk::exists);
        Keys {
            ready: inputs.as_ref().and_then(|inputs| inputs.ready().ok()),
            prepared: inputs.filter(|_| fresh).and_then(|inputs| {
                let key = inputs.prepared(&self.spec, &self.filter, &self.layers);
                key.ok()
            }),
        }
    }

    /// Goes on from the template.
    fn resume(
        &self,
        template: Snapshot,
        (stage, silent): (Stage, bool),
        keys: &Keys,
        shared: &Shared,
    ) -> Result<Prepared, BootError> {
        let (origin, disk) = template.into_origin();
        let disk = match (&self.disk, disk) {
            (Some(disk), Some(from)) => Some(disk.copy_of(&from)?),
            (Some(disk), None) => Some(disk.open()?),
            (None, _) => None,
        };
        let kept = disk.as_ref().map(File::try_clone).transpose()?;
        self.bring_up(origin, disk, silent, shared, |vm, agent| match stage {
            Stage::Ready => self.prepare_container(vm, agent, kept.as_ref(), keys),
            Stage::Prepared | Stage::Held => Ok(()),
        })
    }

    /// Goes on from a checkpoint; a connection to the agent, which keeps the container still.
    pub fn go_on(
        &self,
        checkpoint: Snapshot,
        shared: &Shared,
    ) -> Result<(MicroVm, Agent), BootError> {
        let (origin, disk) = checkpoint.into_origin();
        let disk = match (&self.disk, disk) {
            (Some(disk), Some(from)) => Some(disk.copy_of(&from)?),
            _ => None,
        };
        let (vm, broker) = self.launch(origin, disk, shared)?;
        let connected = || -> Result<Agent, BootError> {
            vm.wait_running()?;
            timing::mark("guest ready");
            let agent = Agent::new(broker.connect(AGENT_PORT).map_err(LaunchError::from)?);
            shared.set_broker(broker);
            Ok(agent)
        };
        match connected() {
            Ok(agent) => Ok((vm, agent)),
            Err(_) if shared.killed() => Err(BootError::Killed),
            Err(error) => Err(error),
        }
    }

    fn prepare_request(&self) -> Prepare {
        let mut devices = ('a'..='z').map(|letter| format!("/dev/vd{letter}"));
        let layers = devices.by_ref().take(self.layers.len()).collect();
        let writable = match (&self.disk, devices.next()) {
            (Some(_), Some(device)) => Writable::Disk { device },
            _ => Writable::Tmpfs { size: None },
        };
        Prepare {
            name: PREPARED.to_owned(),
            rootfs: Rootfs { layers, writable },
            spec: self.spec.clone(),
            files: files::names(),
            devices: self.devices,
            network: self.interface.is_some(),
            filter: self.filter.clone(),
            program: self.program.clone(),
            runtime: None,
        }
    }

    fn bring_up(
        &self,
        origin: Origin,
        disk: Option<File>,
        silent: bool,
        shared: &Shared,
        prepare: impl FnOnce(&MicroVm, &mut Agent) -> Result<(), BootError>,
    ) -> Result<Prepared, BootError> {
        let cable = self.interface.as_ref().map(|interface| &interface.cable);
        if let (Some(cable), false) = (cable, silent) {
            cable.set_up()?;
        }
        let (vm, broker) = self.launch(origin, disk, shared)?;
        let prepared = connection(&vm, &broker).and_then(|mut agent| {
            shared.set_broker(broker);
            prepare(&vm, &mut agent)?;
            Ok(agent)
        });
        match prepared {
            Ok(agent) => Ok(Prepared {
                enclosure: Enclosure::MicroVm(vm),
                agent,
                process: Process::Waiting(None),
                silent: cable.filter(|_| silent).cloned(),
            }),
            Err(_) if shared.killed() => Err(BootError::Killed),
            Err(error) => Err(explain(error, Enclosure::MicroVm(vm))),
        }
    }

    fn launch(
        &self,
        origin: Origin,
        disk: Option<File>,
        shared: &Shared,
    ) -> Result<(MicroVm, Broker), BootError> {
        let clone = |file: &File| file.try_clone();
        let machine = Machine {
            vmm: self.artifacts.vmm.clone(),
            kvm: self.kvm.try_clone()?,
            host: self.host,
            origin,
            memory_mib: self.about.memory_mib,
            vcpus: self.about.vcpus,
            layers: self.layers.iter().map(clone).collect::<Result<_, _>>()?,
            disk,
            network: match &self.interface {
                Some(Interface { cable, network }) => Some((cable.device()?, network.mac)),
                None => None,
            },
            console: create(self.folder.console())?,
            log: append(self.folder.monitor_log())?,
        };
        let (vm, broker) = MicroVm::launch(machine)?;
        timing::mark("VMM started");
        tracing::debug!(pid = vm.pid(), "the VMM runs");
        if shared.set_vm(vm.terminator()?) {
            return Err(BootError::Killed);
        }
        Ok((vm, broker))
    }
}

/// Waits for the connection that the agent opens when it is ready; the VMM gives that of a guest that goes on from a template anew.
fn connection(vm: &MicroVm, broker: &Broker) -> Result<Agent, BootError> {
    vm.wait_ready(broker, BOOT_LIMIT)?;
    timing::mark("guest ready");
    let (port, stream) = broker.accept().map_err(LaunchError::from)?;
    if port != READY_PORT {
        return Err(LaunchError::from(BrokerError::Message).into());
    }
    Ok(Agent::new(stream))
}

/// A broken connection is not the reason when the container's enclosure has ended.
pub fn explain(error: BootError, enclosure: Enclosure) -> BootError {
    let broken = matches!(
        error,
        BootError::Agent(AgentError::Frame(_) | AgentError::Closed)
    );
    let end = broken.then(|| enclosure.wait_end(END_PATIENCE)).flatten();
    end.unwrap_or(error)
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

pub(super) fn append(path: PathBuf) -> Result<File, BootError> {
    let file = File::options().append(true).create(true).open(&path);
    file.map_err(|source| BootError::Open { path, source })
}
