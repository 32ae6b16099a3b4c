//! The program that `rvm bench` and `rvm isolation-report` run inside containers, static and alone.

mod compute;
mod file;
mod kernel;
mod network;
mod probe;
mod repeat;

use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rvm_workload::{Answer, Ready, Request, Work};
use serde::Serialize;

use compute::Memory;
use file::Scratch;

const USAGE: &str = "usage: rvm-workload serve ADDRESS FOLDER | probe | nothing";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let end = match words[..] {
        ["serve", address, folder] => serve(address, Path::new(folder)),
        ["probe"] => tell(&probe::look()),
        ["nothing"] => Ok(()),
        _ => Err(io::Error::other(USAGE)),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rvm-workload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.flush()
}

/// Answers requests until standard input ends: so the program ends with its caller.
fn serve(address: &str, folder: &Path) -> io::Result<()> {
    // Parsed here: a static program can't ask a resolver.
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    let port = listener.local_addr()?.port();
    network::serve(listener);
    let mut state = State {
        program: std::env::current_exe()?,
        file: Scratch::new(folder)?,
        memory: None,
    };
    tell(&Ready { port })?;
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        tell(&state.answer(&request))?;
    }
    Ok(())
}

struct State {
    program: PathBuf,
    file: Scratch,
    memory: Option<Memory>,
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let budget = Duration::from_millis(request.budget_ms);
        let mut answer = Answer::default();
        for work in &request.workloads {
            match self.measure(*work, budget) {
                Ok(figure) => drop(answer.figures.insert(*work, figure)),
                Err(error) => drop(answer.failures.insert(*work, error.to_string())),
            }
        }
        answer
    }

    fn measure(&mut self, work: Work, budget: Duration) -> io::Result<f64> {
        match work {
            Work::Syscall => Ok(kernel::system_call(budget)),
            Work::Fork => kernel::fork(&self.program, budget),
            Work::Fault => kernel::fault(budget),
            Work::Cpu => Ok(compute::arithmetic(budget)),
            Work::Bandwidth => {
                let memory = match self.memory.take() {
                    Some(memory) => memory,
                    None => Memory::new()?,
                };
                Ok(self.memory.insert(memory).copy(budget))
            }
            Work::Write => self.file.write(budget),
            Work::Read => self.file.read(budget),
        }
    }
}
