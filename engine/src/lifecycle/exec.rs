//! Further processes in a running container. The caller speaks to the guest's agent itself, over a connection that the monitor hands out.

use rvm_agent_protocol::{Exec, FailureKind, Request as AgentRequest, WindowSize};

use super::Engine;
use crate::container::{Container, State};
use crate::exec_events::ExecEvents;
use crate::microvm::{Agent, AgentError};
use crate::monitor_client::{self, ClientError};
use crate::options::env::{self, Setting};
use crate::session::Session;
use crate::spec::{self, SpecError, exec_process};

/// A process that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Changes to the container's environment.
    pub env: Vec<Setting>,
    /// In place of the container's working folder.
    pub working_dir: Option<String>,
    /// In place of the container's user.
    pub user: Option<String>,
    /// The process gets a terminal.
    pub tty: bool,
    /// The process gets every capability.
    pub privileged: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// The caller's terminal.
    pub window: Option<WindowSize>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The container doesn't run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Its vCPUs stand still.
    #[error("container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// The working folder is not absolute.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDir(String),
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] ClientError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// No descriptor for the session.
    #[error("the process was started, but its streams can't be followed")]
    Session(#[source] std::io::Error),
    /// The specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl ExecError {
    /// The exit code that Docker has for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Agent(AgentError::Refused(refused)) => match refused.kind {
                FailureKind::CommandNotFound => 127,
                FailureKind::CommandNotExecutable | FailureKind::UnknownUser => 126,
                _ => 1,
            },
            _ => 1,
        }
    }
}

impl Engine {
    /// Starts a process in a running container.
    pub fn exec(&self, container: &Container, request: Request) -> Result<Session, ExecError> {
        let not_running = || ExecError::NotRunning(container.id.to_string());
        if container.state == State::Paused {
            return Err(ExecError::Paused(container.id.to_string()));
        }
        if container.state != State::Running {
            return Err(not_running());
        }
        if let Some(folder) = request
            .working_dir
            .as_ref()
            .filter(|folder| !folder.starts_with('/'))
        {
            return Err(ExecError::WorkingDir(folder.clone()));
        }
        let mut process = exec_process(&container.settings)?;
        let mut base = container.settings.env.clone();
        if request.tty && !container.settings.tty {
            base.push("TERM=xterm".to_owned());
        }
        let command = request.command;
        process.set_args(Some(command.clone()));
        process.set_env(Some(env::merge(base, &request.env)));
        process.set_terminal(Some(request.tty));
        if request.privileged {
            spec::guest::privilege(&mut process)?;
        }
        if let Some(folder) = request.working_dir {
            process.set_cwd(folder.into());
        }
        let stream = monitor_client::connect_agent(&self.root.container(&container.id)).map_err(
            |error| match error {
                ClientError::NotRunning => not_running(),
                other => other.into(),
            },
        )?;
        let events = ExecEvents::begin(&self.root, &container.id, &command);
        let mut agent = Agent::new(stream);
        agent.call(&AgentRequest::Exec(Box::new(Exec {
            id: container.id.to_string(),
            process,
            user: request
                .user
                .unwrap_or_else(|| container.settings.user.clone()),
            stdin: request.open_stdin,
            window: request.window.filter(|_| request.tty),
        })))?;
        Session::with_events(agent.into_stream(), events).map_err(ExecError::Session)
    }
}
