//! The commands, each in a file of its own.

mod attach;
mod bench;
mod bench_progress;
mod boot;
mod checkpoint;
mod copy;
mod copy_progress;
mod create;
mod disk_usage;
mod events;
mod exec;
mod files;
mod images;
mod info;
mod inspect;
mod isolation;
mod joined;
mod lifecycle;
mod logs;
mod port;
mod prune;
mod ps;
mod run;
mod stats;
mod templates;
mod top;
mod version;

use rvm_engine::Engine;
use rvm_engine::container;
use rvm_engine::options::env::{self, EnvError, Setting};
use rvm_engine::root::Root;

use crate::arguments::{Arguments, Command};
use crate::arguments_create::Environment;
use crate::arguments_group::{Container, System};
use crate::completion;
use crate::failure::Failure;

/// Runs a command; its exit code.
pub fn run(arguments: Arguments) -> Result<u8, Failure> {
    // These need no root folder, and make none.
    match &arguments.command {
        Command::Completion(command) => {
            completion::script(&command.shell, &mut std::io::stdout())?;
            return Ok(0);
        }
        Command::Man(command) => {
            completion::man_pages(&command.folder)?;
            return Ok(0);
        }
        _ => {}
    }
    let root = Root::open(arguments.root);
    // With run, what is below 125 is the container's.
    let root = root.map_err(|error| {
        let code = if arguments.command.makes_container() {
            125
        } else {
            1
        };
        Failure::from(error).with_code(code)
    })?;
    match arguments.command {
        Command::Run(command) | Command::Container(Container::Run(command)) => {
            run::run(root, *command)
        }
        Command::Create(command) | Command::Container(Container::Create(command)) => {
            create::run(root, *command)
        }
        Command::Exec(command) | Command::Container(Container::Exec(command)) => {
            exec::run(&engine(root)?, command)
        }
        Command::Ps(command) | Command::Container(Container::Ls(command)) => {
            ps::run(&engine(root)?, &command)
        }
        Command::Start(command) | Command::Container(Container::Start(command)) => {
            lifecycle::start(&engine(root)?, &command)
        }
        Command::Stop(command) | Command::Container(Container::Stop(command)) => {
            lifecycle::stop(&engine(root)?, &command)
        }
        Command::Restart(command) | Command::Container(Container::Restart(command)) => {
            lifecycle::restart(&engine(root)?, &command)
        }
        Command::Kill(command) | Command::Container(Container::Kill(command)) => {
            lifecycle::kill(&engine(root)?, &command)
        }
        Command::Pause(command) | Command::Container(Container::Pause(command)) => {
            lifecycle::pause(&engine(root)?, &command)
        }
        Command::Unpause(command) | Command::Container(Container::Unpause(command)) => {
            lifecycle::unpause(&engine(root)?, &command)
        }
        Command::Rename(command) | Command::Container(Container::Rename(command)) => {
            lifecycle::rename(&engine(root)?, &command)
        }
        Command::Update(command) | Command::Container(Container::Update(command)) => {
            lifecycle::update(&engine(root)?, &command)
        }
        Command::Cp(command) | Command::Container(Container::Cp(command)) => {
            copy::run(&engine(root)?, &command)
        }
        Command::Export(command) | Command::Container(Container::Export(command)) => {
            files::export(&engine(root)?, &command)
        }
        Command::Commit(command) | Command::Container(Container::Commit(command)) => {
            files::commit(&engine(root)?, &command)
        }
        Command::Diff(command) | Command::Container(Container::Diff(command)) => {
            files::diff(&engine(root)?, &command)
        }
        Command::Attach(command) | Command::Container(Container::Attach(command)) => {
            attach::run(&engine(root)?, &command)
        }
        Command::Boot(command) => boot::run(&engine(root)?, &command),
        Command::System(System::EnableBoot) => boot::enable(&root),
        Command::System(System::DisableBoot) => boot::disable(&root),
        Command::Container(Container::Prune(command)) => {
            prune::containers(&engine(root)?, &command)
        }
        Command::Container(Container::Inspect(command)) => {
            inspect::run(&engine(root)?, &command.into())
        }
        Command::Rm(command) | Command::Container(Container::Rm(command)) => {
            lifecycle::remove(&engine(root)?, &command)
        }
        Command::Wait(command) | Command::Container(Container::Wait(command)) => {
            lifecycle::wait(&engine(root)?, &command)
        }
        Command::Logs(command) | Command::Container(Container::Logs(command)) => {
            logs::run(&engine(root)?, &command)
        }
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
        Command::Events(command) | Command::System(System::Events(command)) => {
            events::run(&engine(root)?, &command)
        }
        Command::System(System::Prune(command)) => prune::system(&engine(root)?, &command),
        Command::Info(command) | Command::System(System::Info(command)) => {
            info::run(&root, &command)
        }
        Command::Checkpoint(command) => checkpoint::run(&engine(root)?, &command),
        Command::Bench(command) => bench::run(&root, *command),
        Command::IsolationReport(command) => isolation::run(&root, &command),
        Command::Template(command) => templates::run(&root, command),
        Command::Login(command) => images::login::login(&command),
        Command::Logout(command) => images::login::logout(&command),
        Command::Search(command) => images::search::run(&command),
        Command::Top(command) | Command::Container(Container::Top(command)) => {
            top::run(&engine(root)?, &command)
        }
        Command::Stats(command) | Command::Container(Container::Stats(command)) => {
            stats::run(&engine(root)?, &command)
        }
        Command::Port(command) | Command::Container(Container::Port(command)) => {
            port::run(&engine(root)?, &command)
        }
        Command::Version(command) => version::run(&root, &command),
        Command::Completion(_) | Command::Man(_) => Ok(0),
    }
}

fn engine(root: Root) -> Result<Engine, Failure> {
    Ok(Engine::open(root)?)
}

/// Does something with each of several containers, going on when one fails; names those that it was done with.
fn each(
    engine: &Engine,
    references: &[String],
    act: impl Fn(&container::Container) -> Result<(), Failure>,
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
