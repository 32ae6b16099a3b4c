//! An instance that stays: the workload program inside, which does what it is told over its standard streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rvm_workload::{Answer, PORT, Ready, Request, Work};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::driver::{Driver, Error};
use crate::target::Target;

/// Where the program is inside.
pub const INSIDE: &str = "/rvm-workload";

/// No answer is longer.
const LONGEST: u64 = 1 << 20;

/// A container that is removed when it is no longer wanted.
#[derive(Debug)]
pub struct Container {
    driver: Driver,
    /// Its name.
    pub name: String,
}

impl Container {
    /// The container of that name, which may not be there yet.
    pub fn named(driver: &Driver, name: String) -> Self {
        Self {
            driver: driver.clone(),
            name,
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.driver.remove(&[&self.name]);
    }
}

/// An image with the workload program in a layer above those of another one; removed when it is no longer wanted.
#[derive(Debug)]
pub struct Prepared {
    driver: Driver,
    name: String,
}

impl Prepared {
    /// Makes it, in a container without a microVM, since nothing has to run in it.
    pub fn of(driver: &Driver, image: &str) -> Result<Self, Error> {
        let process = std::process::id();
        let container = Container::named(driver, format!("rvm-workload-{process}"));
        let name = container.name.as_str();
        let options = Target::Container.options();
        driver.text(&[&["create", "--quiet", "--name", name], options, &[image]].concat())?;
        let to = format!("{name}:{INSIDE}");
        driver.text(&["cp", &driver.workload.to_string_lossy(), &to])?;
        let prepared = Self {
            driver: driver.clone(),
            name: format!("rvm-workload:{process}"),
        };
        driver.text(&["commit", name, &prepared.name])?;
        Ok(prepared)
    }

    /// `rvm run` of the program in it. Without a template, which would be of no use once the image is gone.
    pub fn run(&self, target: Target, name: &str, options: &[&str], arguments: &[&str]) -> Command {
        let run = ["run", "--rm", "--interactive", "--name", name];
        let template: &[&str] = match target {
            Target::Vm => &["--no-template"],
            _ => &[],
        };
        let entry = ["--entrypoint", INSIDE];
        let image = [self.name.as_str()];
        let own = target.options();
        let words = [&run, own, template, options, &entry, &image, arguments];
        self.driver.command(&words.concat())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // An image that stays behind is listed by 'rvm images'; there is nobody left to tell.
        let _ = self.driver.text(&["rmi", "--force", &self.name]);
    }
}

/// The program at work.
#[derive(Debug)]
pub struct Instance {
    target: Target,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where its network's workloads are reached.
    pub address: SocketAddr,
    container: Option<Container>,
}

impl Instance {
    /// Starts it in a container.
    pub fn start(
        driver: &Driver,
        prepared: &Prepared,
        target: Target,
        name: String,
    ) -> Result<Self, Error> {
        let container = Container::named(driver, name);
        let publish = format!("127.0.0.1::{PORT}");
        let listen = format!("0.0.0.0:{PORT}");
        let options = ["--publish", &publish];
        let command = prepared.run(target, &container.name, &options, &["serve", &listen, "/"]);
        let port = PORT.to_string();
        let ask = ["port".to_owned(), container.name.clone(), port];
        let mut instance = Self::of(target, command, Some(container))?;
        let published = driver.text(&ask.each_ref().map(String::as_str))?;
        instance.address = published.parse().map_err(|_| Error::Ended {
            target: target.name(),
            reason: format!("its published port is '{published}'"),
        })?;
        Ok(instance)
    }

    /// Starts it as a process of the host.
    pub fn bare(driver: &Driver) -> Result<Self, Error> {
        let mut command = Command::new(&driver.workload);
        command.args(["serve", "127.0.0.1:0"]).arg(&driver.root);
        Self::of(Target::Bare, command, None)
    }

    fn of(
        target: Target,
        mut command: Command,
        container: Option<Container>,
    ) -> Result<Self, Error> {
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().map_err(|source| Error::Run {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        let requests = child.stdin.take();
        let Some(answers) = child.stdout.take() else {
            return Err(Error::Ended {
                target: target.name(),
                reason: "it has no standard output".to_owned(),
            });
        };
        let mut instance = Self {
            target,
            child,
            requests,
            answers: BufReader::new(answers),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            container,
        };
        let ready: Ready = instance.answer()?;
        instance.address.set_port(ready.port);
        Ok(instance)
    }

    /// Has it do some work.
    pub fn work(&mut self, budget: Duration, workloads: Vec<Work>) -> Result<Answer, Error> {
        let request = Request {
            budget_ms: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX),
            workloads,
        };
        self.ask(&request)?;
        self.answer()
    }

    fn ask(&mut self, request: &impl Serialize) -> Result<(), Error> {
        let line = serde_json::to_string(request).map_err(|source| self.nonsense(source))?;
        let requests = self.requests.as_mut();
        let written = requests.map(|requests| requests.write_all(format!("{line}\n").as_bytes()));
        match written {
            Some(Ok(())) => Ok(()),
            _ => Err(self.ended()),
        }
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut line = String::new();
        match (&mut self.answers).take(LONGEST).read_line(&mut line) {
            Ok(count) if count > 0 => {
                serde_json::from_str(&line).map_err(|source| self.nonsense(source))
            }
            _ => Err(self.ended()),
        }
    }

    fn nonsense(&self, source: serde_json::Error) -> Error {
        Error::Answer {
            command: format!("rvm-workload serve ({})", self.target.name()),
            source,
        }
    }

    fn ended(&mut self) -> Error {
        drop(self.requests.take());
        let said = self.child.stderr.take().map(std::io::read_to_string);
        let said = said.and_then(Result::ok).unwrap_or_default();
        Error::Ended {
            target: self.target.name(),
            reason: match said.trim().lines().last() {
                Some(line) => line
                    .trim_start_matches("rvm: ")
                    .trim_end_matches('.')
                    .to_owned(),
                None => "it said nothing".to_owned(),
            },
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The program ends when nobody asks any more.
        drop(self.requests.take());
        // Removed in any case, so that a client that is attached to it ends, too.
        drop(self.container.take());
        let _ = self.child.wait();
    }
}
