//! Why a command fails, and with which exit code.

use std::fmt;

use rvm_engine::error::chain;
use rvm_engine::lifecycle::{CreateError, ExecError, StartError};

/// A command's failure.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    message: String,
}

impl Failure {
    /// A failure with an exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The same failure, with another exit code.
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.message.trim_end_matches('.'))
    }
}

/// Exit code 1, as most commands have it.
macro_rules! plain {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(1, chain(&error))
            }
        }
    )*};
}

plain!(
    crate::template::TemplateError,
    rvm_bench::Error,
    rvm_engine::template::TemplateError,
    rvm_engine::lifecycle::TemplateMakeError,
    rvm_engine::checkpoint::CheckpointError,
    rvm_engine::lifecycle::CheckpointRequestError,
    std::io::Error,
    serde_json::Error,
    rvm_engine::listing::FilterError,
    rvm_engine::lifecycle::OpenError,
    rvm_engine::lifecycle::EventFilterError,
    rvm_engine::lifecycle::EventsError,
    rvm_engine::lifecycle::ArchiveError,
    rvm_engine::lifecycle::AttachError,
    rvm_engine::lifecycle::CommitError,
    rvm_engine::lifecycle::CopyError,
    rvm_engine::lifecycle::FindError,
    rvm_engine::log::LogError,
    rvm_engine::lifecycle::RemoveError,
    rvm_engine::lifecycle::PauseError,
    rvm_engine::lifecycle::RenameError,
    rvm_engine::lifecycle::RestartError,
    rvm_engine::lifecycle::SignalError,
    rvm_engine::lifecycle::UnitError,
    rvm_engine::lifecycle::UpdateError,
    rvm_engine::image::ImageError,
    rvm_engine::image::ChangeError,
    rvm_engine::image::CredentialError,
    rvm_engine::image::ReferenceError,
    rvm_engine::image::RegistryError,
    rvm_engine::image_removal::RemoveImageError,
    rvm_engine::microvm::ArtifactError,
    rvm_engine::microvm::HostError,
    rvm_engine::options::env::EnvError,
    rvm_engine::options::label::InvalidLabel,
    rvm_engine::options::moment::InvalidMoment,
    rvm_engine::processes::TopError,
    rvm_engine::stats::ObserveError,
    rvm_engine::prune::FilterError,
    rvm_engine::prune::PruneError,
    rvm_engine::root::RootError,
    rvm_engine::state::DatabaseError,
    rvm_engine::usage::UsageError,
);

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        Self::new(125, chain(&error))
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(code(error.exit_code()), chain(&error))
    }
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        Self::new(code(error.exit_code()), chain(&error))
    }
}

/// An exit code as a process can have it.
pub fn code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(1)
}
