//! The command line of where a container's output goes.

use clap::Args;
use rvm_engine::log::LogOptions;

use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct LogArguments {
    /// Where the container's output goes: json-file or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Options of the log: max-size=SIZE, max-file=NUMBER, labels=KEY,... or env=NAME,...
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
}

impl LogArguments {
    /// What they say.
    pub fn options(&self) -> Result<LogOptions, Failure> {
        let options = LogOptions::parse(self.log_driver.as_deref(), &self.log_opt);
        options.map_err(|error| Failure::new(125, error.to_string()))
    }
}
