//! What a shell offers behind a word that is begun: commands, options, and the names of containers and images.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use rvm_engine::Engine;
use rvm_engine::image::{Images, Reference};
use rvm_engine::root::Root;

use crate::arguments::Arguments;

/// What the shell's function sets when it asks.
const VARIABLE: &str = "RVM_COMPLETE";

/// Answers a shell that asks, and ends the program; does nothing when none does.
pub fn answer() {
    CompleteEnv::with_factory(|| with_names(Arguments::command()))
        .var(VARIABLE)
        .complete();
}

/// Writes what a shell has to read for its user to be offered something.
pub fn script(shell: &str, out: &mut dyn io::Write) -> io::Result<()> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(shell)
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    shell.write_registration(VARIABLE, "rvm", "rvm", "rvm", out)
}

/// Writes a man page for each command into a folder.
pub fn man_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}

/// The arguments that are names learn to look them up.
fn with_names(command: clap::Command) -> clap::Command {
    let of_images = command.get_name() == "image";
    command.mut_subcommands(|command| {
        let inspects_images = of_images && command.get_name() == "inspect";
        with_names(command).mut_args(|argument| match argument.get_id().as_str() {
            _ if inspects_images => argument.add(ArgValueCompleter::new(images)),
            "container" | "containers" => argument.add(ArgValueCompleter::new(containers)),
            "image" | "images" | "source" | "words" => argument.add(ArgValueCompleter::new(images)),
            "names" => argument.add(ArgValueCompleter::new(containers_and_images)),
            _ => argument,
        })
    })
}

fn containers(begin: &OsStr) -> Vec<CompletionCandidate> {
    let engine = root().and_then(|root| Engine::open(root).ok());
    let containers = engine.and_then(|engine| engine.list(true).ok());
    let containers = containers.unwrap_or_default().into_iter();
    let names = containers.map(|container| {
        let state = container.state.shown();
        CompletionCandidate::new(container.name.to_string()).help(Some(state.into()))
    });
    matching(begin, names)
}

fn images(begin: &OsStr) -> Vec<CompletionCandidate> {
    let images = root().and_then(|root| Images::open(&root).ok());
    let listed = images.and_then(|images| images.list().ok());
    let listed = listed.unwrap_or_default();
    let names = listed.iter().filter_map(|image| image.reference.as_ref());
    matching(
        begin,
        names.map(Reference::familiar).map(CompletionCandidate::new),
    )
}

fn containers_and_images(begin: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = containers(begin);
    all.extend(images(begin));
    all
}

fn matching(
    begin: &OsStr,
    names: impl Iterator<Item = CompletionCandidate>,
) -> Vec<CompletionCandidate> {
    let begin = begin.as_encoded_bytes();
    let fits = |name: &CompletionCandidate| name.get_value().as_encoded_bytes().starts_with(begin);
    names.filter(fits).collect()
}

/// A line that is not complete is not parsed: the root folder is that of the environment, or the usual one.
fn root() -> Option<Root> {
    Root::open(std::env::var_os("RVM_ROOT").map(PathBuf::from)).ok()
}
