//! The agent's process: a process namespace of its own, and everything it needs as open descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::clean_up;
use crate::error::chain;
use crate::id::ContainerId;
use crate::microvm::{Broker, Terminator};
use crate::rootless;

/// The agent's first inherited descriptor: its socket. The files follow.
const SOCKET_FD: RawFd = 3;

/// How long the agent may take until it is there.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long an agent may take to end that was asked to.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// The most that is listened to of an agent that can't.
pub(super) const LOG_LIMIT: usize = 4096;

/// What a sandbox is made of.
#[derive(Debug)]
pub struct Plan {
    /// The program `rvm-agent`.
    pub agent: PathBuf,
    /// The program `rvm-rootless`, where the sandbox is in a user namespace.
    pub rootless: Option<PathBuf>,
    /// It keeps the host's files in sight, for an OCI runtime that is one of them.
    pub shares_root: bool,
    /// Which container it is for.
    pub id: ContainerId,
    /// The image's layers, uppermost first.
    pub layers: Vec<File>,
    /// The writable layer: a disk, or in a user namespace a folder.
    pub disk: Option<File>,
    /// Where that is, or would be.
    pub disk_path: PathBuf,
    /// In a user namespace its end of a link, behind which the network is.
    pub link: Option<OwnedFd>,
    /// For what the agent has to say itself.
    pub log: File,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A descriptor or a namespace for it could not be made.
    #[error("cannot prepare the container's sandbox")]
    Prepare(#[source] io::Error),
    /// The agent could not be started.
    #[error("cannot start {path}")]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent said why it can't.
    #[error("the container's sandbox could not be set up: {0}")]
    Failed(String),
    /// The agent has ended.
    #[error("the container's agent was killed or crashed")]
    Ended,
    /// The agent did not answer in time.
    #[error("the container's agent was not ready after {0} seconds")]
    Timeout(u64),
}

/// A running sandbox. It ends at the latest when this value is dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// The agent, or in a user namespace what has started it and serves its layers.
    child: Child,
    rootless: bool,
    agent: PathBuf,
    id: ContainerId,
    disk: PathBuf,
    /// The agent was asked to end.
    ends: bool,
}

impl Sandbox {
    /// Starts the agent; the files are its descriptors from [`Sandbox::file`] on. To be called from a thread that lives as long as the sandbox shall.
    pub fn launch(plan: Plan) -> Result<(Self, Broker), SandboxError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| SandboxError::Prepare(error.into()))?;
        let mut command = plan.command();
        let files = plan.layers.into_iter().chain(plan.disk);
        let files = files.map(OwnedFd::from).chain(plan.link);
        let inherited = std::iter::once(theirs).chain(files);
        let mappings = inherited
            .zip(SOCKET_FD..)
            .map(|(parent_fd, child_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(plan.log);
        command
            .fd_mappings(mappings.collect())
            .map_err(|error| SandboxError::Prepare(io::Error::other(error)))?;
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                // With it everything ends that is in its process namespace.
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        let child = match plan.rootless {
            None => spawn_first(&mut command, &plan.agent)?,
            Some(_) => command.spawn().map_err(|source| SandboxError::Spawn {
                path: PathBuf::from(command.get_program()),
                source,
            })?,
        };
        let sandbox = Self {
            child,
            rootless: plan.rootless.is_some(),
            agent: plan.agent,
            id: plan.id,
            disk: plan.disk_path,
            ends: false,
        };
        Ok((sandbox, Broker::new(ours)))
    }

    /// The name by which the agent knows the file of that number, layers and then the disk.
    pub fn file(number: usize) -> String {
        format!("fd:{}", SOCKET_FD as usize + 1 + number)
    }

    /// The agent's process, or while there is none what starts it.
    pub fn pid(&self) -> u32 {
        let child = self.child.id();
        match self.rootless {
            false => child,
            true => first_child(child).unwrap_or(child),
        }
    }

    /// The container's first process, once it is there.
    pub fn first_process(&self) -> Option<u32> {
        first_child(self.pid())
    }

    /// Waits until the agent has made a connection.
    pub fn wait_ready(&self, broker: &Broker) -> Result<(), SandboxError> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(broker, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(SandboxError::Timeout(READY_LIMIT.as_secs())),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(SandboxError::Prepare(error.into())),
            }
        }
        // A connection comes with its port, and a reason is longer.
        let mut said = [0; LOG_LIMIT];
        match rustix::net::recv(broker, said.as_mut_slice(), RecvFlags::PEEK) {
            Ok((_, 4)) => Ok(()),
            Ok((_, 0)) | Err(_) => Err(SandboxError::Ended),
            Ok((_, length)) => {
                let said = String::from_utf8_lossy(&said[..length.min(LOG_LIMIT)]);
                Err(SandboxError::Failed(said.into_owned()))
            }
        }
    }

    /// Waits for the agent's end, at most `patience`; whether it has ended.
    pub fn wait_end(&self, patience: Duration) -> bool {
        let Ok(process) = self.process() else {
            return true;
        };
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: patience.subsec_nanos().into(),
        };
        matches!(
            poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)),
            Ok(1..)
        )
    }

    /// Notes that the agent was asked to end, and has put everything away.
    pub fn expect_end(&mut self) {
        self.ends = true;
    }

    /// A handle with which another thread can end the sandbox.
    pub fn terminator(&self) -> io::Result<Terminator> {
        Ok(Terminator::new(self.process()?))
    }

    fn kill(&mut self) -> io::Result<()> {
        if self.rootless {
            let group = Pid::from_child(&self.child);
            return Ok(rustix::process::kill_process_group(group, Signal::KILL)?);
        }
        self.child.kill()
    }

    fn process(&self) -> io::Result<OwnedFd> {
        let pid = Pid::from_child(&self.child);
        Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.ends && self.wait_end(END_PATIENCE) && self.child.wait().is_ok_and(|s| s.success())
        {
            return;
        }
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "cannot kill the container's agent");
        }
        // Before anybody waits for the agent: it does not end before processes that stand still.
        if !self.rootless
            && let Err(error) = clean_up(&self.agent, &self.id, &self.disk)
        {
            tracing::error!(
                error = chain(&error),
                "the container's control group could not be removed"
            );
        }
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for the container's agent");
        }
    }
}

impl Plan {
    /// The program to start, without its descriptors.
    fn command(&self) -> Command {
        let Some(rootless) = &self.rootless else {
            let mut command = Command::new(&self.agent);
            command
                .env_clear()
                .arg("--sandbox")
                .arg(SOCKET_FD.to_string())
                .args(self.shares_root.then_some("--shared-root"));
            return command;
        };
        let mut command = rootless::command();
        // unshare has a helper, which waits for ever for one that is killed too early.
        command.process_group(0);
        // What the agent leaves for its container's it comes back to only if it belongs to the user namespace.
        command
            .args(["--mount", "--uts", "--net", "--"])
            .arg(rootless)
            .arg(&self.agent);
        command.arg(self.layers.len().to_string());
        command.arg(if self.link.is_some() { "link" } else { "none" });
        command.args(self.disk.as_ref().map(|_| &self.disk_path));
        command
    }
}

fn first_child(of: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

/// Starts a program as the first process of a new process namespace.
fn spawn_first(command: &mut Command, path: &Path) -> Result<Child, SandboxError> {
    let failed = |error: rustix::io::Errno| SandboxError::Prepare(error.into());
    let own = File::open("/proc/thread-self/ns/pid").map_err(SandboxError::Prepare)?;
    // SAFETY: it changes nothing of this thread's but in which namespace its children are born.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.map_err(failed)?;
    let child = command.spawn();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID)).map_err(failed)?;
    child.map_err(|source| SandboxError::Spawn {
        path: path.to_owned(),
        source,
    })
}
