//! The command line of templates.

use clap::{Args, Subcommand};
use rvm_engine::options::memory::Memory;

use crate::arguments_create::Create;

#[derive(Debug, Subcommand)]
pub enum Template {
    /// Make the template that containers of these options start from, ahead of the first of them
    Create(Box<Create>),
    /// List the templates that containers start from
    #[command(visible_alias = "list")]
    Ls(TemplateLs),
    /// Remove one or more templates; the next container of its kind boots, and makes it anew
    #[command(visible_alias = "remove")]
    Rm(TemplateRm),
    /// Remove templates, the least recently used first
    Prune(TemplatePrune),
}

#[derive(Debug, Args)]
pub struct TemplateLs {
    /// Only show ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
}

#[derive(Debug, Args)]
pub struct TemplateRm {
    /// Templates, by the beginnings of their ids
    #[arg(required = true, value_name = "TEMPLATE")]
    pub templates: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TemplatePrune {
    /// Keep the last used ones, up to this size in all
    #[arg(long, value_name = "BYTES")]
    pub keep_storage: Option<Memory>,
    /// Don't ask
    #[arg(short, long)]
    pub force: bool,
}
