//! The commands, each in a file of its own.

mod disk_usage;
mod exec;
mod images;
mod info;
mod inspect;
mod lifecycle;
mod logs;
mod monitor;
mod prune;
mod ps;
mod run;

use rvm_engine::Engine;
use rvm_engine::container::Container;
use rvm_engine::options::env::{self, EnvError, Setting};
use rvm_engine::root::Root;

use crate::arguments::{Arguments, Command, Environment, System};
use crate::failure::Failure;

/// Runs a command; its exit code.
pub fn run(arguments: Arguments) -> Result<u8, Failure> {
    let root = Root::open(arguments.root);
    // With run, what is below 125 is the container's.
    let root = root.map_err(|error| {
        Failure::from(error).with_code(if matches!(arguments.command, Command::Run(_)) {
            125
        } else {
            1
        })
    })?;
    match arguments.command {
        Command::Run(command) => run::run(root, *command),
        Command::Exec(command) => exec::run(&engine(root)?, command),
        Command::Ps(command) => ps::run(&engine(root)?, &command),
        Command::Stop(command) => lifecycle::stop(&engine(root)?, &command),
        Command::Kill(command) => lifecycle::kill(&engine(root)?, &command),
        Command::Rm(command) => lifecycle::remove(&engine(root)?, &command),
        Command::Wait(command) => lifecycle::wait(&engine(root)?, &command),
        Command::Logs(command) => logs::run(&engine(root)?, &command),
        Command::Inspect(command) => inspect::run(&engine(root)?, &command),
        Command::Images(command) => images::list::run(&root, &command),
        Command::Image(command) => images::run(root, command),
        Command::Pull(command) => images::pull::run(&root, &command),
        Command::Push(command) => images::push::run(&root, &command),
        Command::Tag(command) => images::names::tag(&root, &command),
        Command::Rmi(command) => images::names::remove(&engine(root)?, &command),
        Command::Load(command) => images::load::run(&root, &command),
        Command::Save(command) => images::save::run(&root, &command),
        Command::History(command) => images::inspect::history(&root, &command),
        Command::Import(command) => images::import::run(&root, &command),
        Command::System(System::Df(command)) => disk_usage::run(&engine(root)?, &command),
        Command::System(System::Prune(command)) => prune::system(&engine(root)?, &command),
        Command::System(System::Info(command)) => info::run(&root, &command),
        Command::Login(command) => images::login::login(&command),
        Command::Logout(command) => images::login::logout(&command),
        Command::Search(command) => images::search::run(&command),
        Command::Info(arguments) => info::run(&root, &arguments),
        Command::Monitor(command) => monitor::run(&root, &command),
    }
}

fn engine(root: Root) -> Result<Engine, Failure> {
    Ok(Engine::open(root)?)
}

/// Does something with each of several containers, going on when one fails; names those that it was done with.
fn each(
    engine: &Engine,
    references: &[String],
    act: impl Fn(&Container) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut failed = false;
    for reference in references {
        match engine
            .find(reference)
            .map_err(Failure::from)
            .and_then(|container| act(&container))
        {
            Ok(()) => println!("{reference}"),
            Err(failure) => {
                eprintln!("rvm: {failure}");
                failed = true;
            }
        }
    }
    Ok(failed.into())
}

/// The environment's changes: those of the files first, so that options win.
fn environment(arguments: &Environment) -> Result<Vec<Setting>, EnvError> {
    let host = |name: &str| std::env::var(name).ok();
    let mut settings = Vec::new();
    for file in &arguments.env_file {
        settings.extend(env::from_file(file, host)?);
    }
    for text in &arguments.env {
        settings.push(env::from_option(text, host)?);
    }
    Ok(settings)
}
