//! Holding a process between its exec and its first instruction, so that a guest can be saved there, and making it another container's.

use std::io::{self, Read};

use rvm_agent_protocol::{Failure, FailureKind};

use super::failure;
use super::glimpse::Glimpse;

/// From elf.h.
const AT_RANDOM: u64 = 25;
/// Which field of /proc/PID/stat, counted from the one behind the command's name, says where the environment is.
const ENV_START: usize = 47;
/// The most of an environment that is looked through.
const ENVIRONMENT: u64 = 2 << 20;
const PAGE: u64 = 4096;
/// How many bytes of a file the kernel maps at a fault, as far as they are in memory.
const FAULT_AROUND: u64 = 64 << 10;
/// How much of a program is brought into memory, in bytes.
const WARM: u64 = 8 << 20;
/// How much of what it can write to: each of these pages is a copy, in the template and in its clones.
const WARM_WRITABLE: u64 = 256 << 10;
/// How much of its stack, which is larger than that.
const STACK: u64 = 4 * PAGE;
const HOSTNAME: &[u8] = b"HOSTNAME=";

/// Has the caller stop when it execs.
pub fn stop_at_exec() -> io::Result<()> {
    // SAFETY: with this request the other arguments are not used.
    match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A process that stands before its first instruction.
pub struct Held {
    pid: i32,
    /// Where it will look for its random bytes.
    random: u64,
    /// Where its environment has a host name, and which.
    hostname: Option<(u64, Vec<u8>)>,
}

impl Held {
    /// Waits until the process, whose exec has succeeded, stands.
    pub fn wait(pid: i32) -> Result<Self, Failure> {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if waited != pid || !libc::WIFSTOPPED(status) {
            return Err(Failure {
                kind: FailureKind::Other,
                message: "the process ended before it could be held".to_owned(),
            });
        }
        let looked = || -> io::Result<Self> {
            let glimpse = Glimpse::of(pid)?;
            let held = Self::look(pid, &glimpse)?;
            // A process without it is only slower.
            let _ = held.warm(&glimpse);
            Ok(held)
        };
        looked().map_err(|e| failure("the held process could not be looked at", &e))
    }

    /// Brings the program into memory and into the process's page tables, as far as it is not very large: what is there before a guest
    /// is saved is there in all that go on from it.
    fn warm(&self, glimpse: &Glimpse) -> io::Result<()> {
        let (mut readable, mut writable) = (WARM / FAULT_AROUND, WARM_WRITABLE / PAGE);
        for line in glimpse.read("maps")?.lines() {
            let mut fields = line.split_ascii_whitespace();
            let range = fields.next().and_then(|range| range.split_once('-'));
            let address = |text| u64::from_str_radix(text, 16).ok();
            let range = range.and_then(|(start, end)| Some(address(start)?..address(end)?));
            let (Some(mut range), Some(access)) = (range, fields.next()) else {
                continue;
            };
            let of = fields.nth(3).unwrap_or_default();
            if of == "[stack]" {
                range.start = range.end - STACK;
            } else if !of.starts_with('/') && !access.starts_with("rw") {
                continue;
            }
            // A fault maps the pages around it, too, if they are not to be written.
            let written = access.starts_with("rw");
            let (step, left) = match written {
                true => (PAGE, &mut writable),
                false => (FAULT_AROUND, &mut readable),
            };
            for page in range.step_by(step as usize).take(*left as usize) {
                *left -= 1;
                let mut byte = [0];
                self.read(&mut byte, page)?;
                if written {
                    self.write(&byte, page)?;
                }
            }
        }
        Ok(())
    }

    fn look(pid: i32, glimpse: &Glimpse) -> io::Result<Self> {
        let mut auxiliary = Vec::new();
        glimpse.open("auxv")?.read_to_end(&mut auxiliary)?;
        let (pairs, _) = auxiliary.as_chunks::<16>();
        let words = pairs.iter().map(|pair| {
            let (key, value) = pair.split_at(8);
            let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
            (word(key), word(value))
        });
        let random = words.clone().find(|(key, _)| *key == AT_RANDOM);
        let (_, random) = random.ok_or(io::ErrorKind::InvalidData)?;
        let mut environment = Vec::new();
        let environ = glimpse.open("environ")?;
        environ.take(ENVIRONMENT).read_to_end(&mut environment)?;
        let begins = |at: &usize| *at == 0 || environment[at - 1] == 0;
        let at = (0..environment.len())
            .filter(begins)
            .find(|at| environment[*at..].starts_with(HOSTNAME));
        let hostname = match at {
            Some(at) => {
                let at = at + HOSTNAME.len();
                let name = environment[at..].split(|byte| *byte == 0).next();
                let start = environment_start(&glimpse.read("stat")?)?;
                Some((start + at as u64, name.unwrap_or_default().to_vec()))
            }
            None => None,
        };
        Ok(Self {
            pid,
            random,
            hostname,
        })
    }

    /// Gives the process random bytes and, where its environment has the host name `before`, that of `now`.
    pub fn adopt(
        &self,
        random: &[u8; 16],
        before: Option<&str>,
        now: Option<&str>,
    ) -> Result<(), Failure> {
        self.write(random, self.random)
            .map_err(|e| failure("the process's random bytes could not be set", &e))?;
        let (Some((address, name)), Some(before), Some(now)) = (&self.hostname, before, now) else {
            return Ok(());
        };
        if name != before.as_bytes() || before == now {
            return Ok(());
        }
        if now.len() != name.len() {
            return Err(failure(
                "the host name has another length than that of the held process",
                &io::ErrorKind::InvalidInput.into(),
            ));
        }
        self.write(now.as_bytes(), *address)
            .map_err(|e| failure("the process's environment could not be changed", &e))
    }

    fn read(&self, bytes: &mut [u8], address: u64) -> io::Result<()> {
        let ours = bytes.as_mut_ptr().cast();
        self.transfer(libc::process_vm_readv, ours, bytes.len(), address)
    }

    fn write(&self, bytes: &[u8], address: u64) -> io::Result<()> {
        let ours = bytes.as_ptr().cast_mut().cast();
        self.transfer(libc::process_vm_writev, ours, bytes.len(), address)
    }

    /// Copies between `length` bytes of the agent's at `ours` and the process's at `address`.
    fn transfer(
        &self,
        call: Transfer,
        ours: *mut libc::c_void,
        length: usize,
        address: u64,
    ) -> io::Result<()> {
        let part = |base| libc::iovec {
            iov_base: base,
            iov_len: length,
        };
        let theirs = part(std::ptr::without_provenance_mut(address as usize));
        // SAFETY: both lists have one element; the agent's bytes are alive for the call, which reads them or, if they were given as mutable,
        // writes to them.
        match unsafe { call(self.pid, &part(ours), 1, &theirs, 1, 0) } {
            done if done == length as isize => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Lets the process go on.
    pub fn release(self) -> Result<(), Failure> {
        // SAFETY: with this request the other arguments are an address that is not used and no signal.
        match unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, 0) } {
            -1 => Err(failure(
                "the held process could not be let go",
                &io::Error::last_os_error(),
            )),
            _ => Ok(()),
        }
    }
}

/// process_vm_readv(2) or process_vm_writev(2).
type Transfer = unsafe extern "C" fn(
    libc::pid_t,
    *const libc::iovec,
    libc::c_ulong,
    *const libc::iovec,
    libc::c_ulong,
    libc::c_ulong,
) -> isize;

fn environment_start(stat: &str) -> io::Result<u64> {
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    fields
        .and_then(|fields| fields.split(' ').nth(ENV_START)?.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
