//! Namespaces of a container that are kept although its processes end: what a mount namespace has mounted is not unmounted
//! between the end of the first process and the news of it.

use std::fs::File;
use std::io;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rvm_agent_protocol::Failure;
use std::os::fd::AsFd;

use super::failure;
use super::glimpse::Glimpse;

/// Open namespaces.
pub struct Pins {
    names: File,
    /// The agent's own, to come back to.
    own_names: File,
    _kept: Vec<File>,
}

impl Pins {
    /// Opens those of the process `pid`.
    pub fn of(pid: i32) -> Result<Self, Failure> {
        let glimpse = Glimpse::of(pid);
        let glimpse =
            glimpse.map_err(|e| failure("the container's process could not be looked at", &e))?;
        let open = |name: &str| {
            let namespace = glimpse.open(&format!("ns/{name}"));
            namespace.map_err(|e| failure("the container's namespaces could not be opened", &e))
        };
        Ok(Self {
            names: open("uts")?,
            own_names: File::open("/proc/self/ns/uts")
                .map_err(|e| failure("the own names could not be opened", &e))?,
            _kept: vec![open("mnt")?, open("ipc")?],
        })
    }

    /// Gives the container its names.
    pub fn set_names(&self, host: Option<&str>, domain: Option<&str>) -> Result<(), Failure> {
        if host.is_none() && domain.is_none() {
            return Ok(());
        }
        let result = enter(&self.names).and_then(|()| {
            let set = set(host, domain);
            enter(&self.own_names)?;
            set
        });
        result.map_err(|e| failure("the host name could not be set", &e))
    }
}

fn enter(names: &File) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::HostNameAndNISDomainName);
    Ok(move_into_link_name_space(names.as_fd(), kind)?)
}

fn set(host: Option<&str>, domain: Option<&str>) -> io::Result<()> {
    if let Some(name) = host {
        rustix::system::sethostname(name.as_bytes())?;
    }
    if let Some(name) = domain {
        rustix::system::setdomainname(name.as_bytes())?;
    }
    Ok(())
}
