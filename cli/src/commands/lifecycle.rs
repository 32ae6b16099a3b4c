//! `rvm start`, `stop`, `restart`, `kill`, `rename`, `rm` and `wait`.

use rvm_engine::Engine;
use rvm_engine::lifecycle::{self, Attach, FindError, StartError, Stop};
use rvm_engine::options::limits::Limits;

use super::{each, run};
use crate::arguments::Containers;
use crate::arguments_lifecycle::{
    self as arguments, Kill, Rename, Restart, Rm, Start, Stopping, Update,
};
use crate::failure::Failure;

impl From<&Stopping> for Stop {
    fn from(how: &Stopping) -> Self {
        Self {
            signal: how.signal,
            timeout: how.timeout,
        }
    }
}

pub fn start(engine: &Engine, command: &Start) -> Result<u8, Failure> {
    if command.attach || command.interactive {
        let [reference] = command.containers.as_slice() else {
            return Err(Failure::new(
                1,
                "you cannot start and attach multiple containers at once",
            ));
        };
        let container = engine.find(reference)?;
        let interactive = command.interactive && container.settings.open_stdin;
        if container.settings.tty && interactive {
            run::check_terminal().map_err(|failure| failure.with_code(1))?;
        }
        return run::start_attached(
            engine,
            &container,
            interactive,
            true,
            command.detach_keys.clone().unwrap_or_default(),
        );
    }
    if let Some(checkpoint) = &command.checkpoint {
        let [reference] = command.containers.as_slice() else {
            return Err(Failure::new(
                1,
                "you cannot restore multiple containers at once",
            ));
        };
        let container = engine.find(reference)?;
        let started = engine.start_from(&container, Attach::default(), Some(checkpoint));
        started.map_err(|error| Failure::from(error).with_code(1))?;
        println!("{reference}");
        return Ok(0);
    }
    let failed = each(engine, &command.containers, |container| {
        match engine.start(container, Attach::default()) {
            Ok(_) | Err(StartError::AlreadyRunning(_)) => Ok(()),
            Err(error) => Err(Failure::from(error)),
        }
    })?;
    Ok(failed)
}

pub fn stop(engine: &Engine, command: &arguments::Stop) -> Result<u8, Failure> {
    let how = Stop::from(&command.how);
    each(engine, &command.containers, |container| {
        Ok(engine.stop(container, how)?)
    })
}

pub fn restart(engine: &Engine, command: &Restart) -> Result<u8, Failure> {
    let how = Stop::from(&command.how);
    each(engine, &command.containers, |container| {
        Ok(engine.restart(container, how)?)
    })
}

pub fn kill(engine: &Engine, command: &Kill) -> Result<u8, Failure> {
    each(engine, &command.containers, |container| {
        Ok(engine.signal(container, command.signal)?)
    })
}

pub fn pause(engine: &Engine, command: &Containers) -> Result<u8, Failure> {
    each(engine, &command.containers, |container| {
        Ok(engine.pause(container)?)
    })
}

pub fn unpause(engine: &Engine, command: &Containers) -> Result<u8, Failure> {
    each(engine, &command.containers, |container| {
        Ok(engine.unpause(container)?)
    })
}

pub fn update(engine: &Engine, command: &Update) -> Result<u8, Failure> {
    let limits = Limits {
        cpus: command.cpus,
        cpu_shares: command.shares.cpu_shares,
        memory: command.memory,
        memory_reservation: command.shares.memory_reservation,
        pids: command.pids_limit,
    };
    let update = lifecycle::Update {
        limits,
        restart: command.restart,
    };
    if update.limits == Limits::default() && update.restart.is_none() {
        return Err(Failure::new(
            1,
            "you must provide one or more flags when using this command",
        ));
    }
    each(engine, &command.containers, |container| {
        Ok(engine.update(container, &update)?)
    })
}

pub fn rename(engine: &Engine, command: &Rename) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    engine.rename(&container, &command.name)?;
    Ok(0)
}

pub fn remove(engine: &Engine, command: &Rm) -> Result<u8, Failure> {
    let (mut missing, mut references) = (Vec::new(), Vec::new());
    for reference in &command.containers {
        match engine.find(reference) {
            // As Docker: with --force what is not there is as it should be.
            Err(error @ FindError::NotFound(_)) if command.force => missing.push(error),
            _ => references.push(reference.clone()),
        }
    }
    for error in missing {
        eprintln!("rvm: {}", Failure::from(error));
    }
    each(engine, &references, |container| {
        Ok(engine.remove(container, command.force)?)
    })
}

pub fn wait(engine: &Engine, command: &Containers) -> Result<u8, Failure> {
    let mut failed = false;
    for reference in &command.containers {
        let waited = engine
            .find(reference)
            .map_err(Failure::from)
            .and_then(|container| Ok(engine.wait(&container)?));
        match waited {
            Ok(exit) => println!("{}", exit.code),
            Err(failure) => {
                eprintln!("rvm: {failure}");
                failed = true;
            }
        }
    }
    Ok(failed.into())
}
