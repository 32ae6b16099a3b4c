//! Arguments of `attach`, and the keys that leave a container.

use clap::Args;

use crate::detach_keys::DetachKeys;

/// `rvm attach`
#[derive(Debug, Args)]
pub struct Attach {
    /// Do not attach standard input
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass received signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
    /// Container
    pub container: String,
}
