//! Options of `run` and `create` about what a container is given inside its guest.

use std::net::IpAddr;

use clap::{ArgAction, Args};
use rvm_engine::image::Platform;
use rvm_engine::options::capability::Capability;
use rvm_engine::options::guest::{GuestOptions, SearchDomain, Sysctl};
use rvm_engine::options::host::ExtraHost;
use rvm_engine::options::mac::MacAddress;
use rvm_engine::options::memory::Memory;
use rvm_engine::options::security::{Security, SecurityOption};
use rvm_engine::options::tmpfs::Tmpfs;
use rvm_engine::options::ulimit::Ulimit;

use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct GuestArguments {
    /// Run an init inside the container that passes signals on and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Add a line to /etc/hosts (NAME:ADDRESS; host-gateway stands for the host)
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<ExtraHost>,
    /// Set custom DNS servers
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub dns: Vec<IpAddr>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub dns_search: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Mount a tmpfs (PATH[:OPTION,...])
    #[arg(long, value_name = "PATH")]
    pub tmpfs: Vec<Tmpfs>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = shm_size)]
    pub shm_size: Option<Memory>,
    /// Limits of processes (NAME=SOFT[:HARD])
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<Ulimit>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<Capability>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<Capability>,
    /// Security options: no-new-privileges, seccomp=unconfined, seccomp=FILE, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<SecurityOption>,
    /// Limit the number of processes (-1 for unlimited)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Give the container all capabilities and all devices of its guest
    #[arg(long)]
    pub privileged: bool,
    /// Add groups for the user
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Kernel parameters of the guest (NAME=VALUE)
    #[arg(long, value_name = "PARAMETER")]
    pub sysctl: Vec<Sysctl>,
    /// NIS domain name of the container
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// MAC address of the container
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<MacAddress>,
    /// Set the platform, which is linux/amd64 here
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    pub platform: Option<Platform>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<std::path::PathBuf>,
    #[command(flatten)]
    refused: Refused,
}

/// Docker's options that have no counterpart, known so that it can be said what to do instead.
#[derive(Debug, Args)]
struct Refused {
    #[arg(short = 'v', long, hide = true, action = ArgAction::Append)]
    volume: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    volumes_from: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    mount: Vec<String>,
    #[arg(long, hide = true, action = ArgAction::Append)]
    device: Vec<String>,
    #[arg(long, hide = true)]
    ip: Option<String>,
    #[arg(long, hide = true)]
    ip6: Option<String>,
}

impl GuestArguments {
    /// What the options ask of the guest.
    pub fn options(&self) -> Result<GuestOptions, Failure> {
        self.refused.check()?;
        let security = Security::read(&self.security_opt)
            .map_err(|error| Failure::new(125, rvm_engine::error::chain(&error)))?;
        Ok(GuestOptions {
            init: self.init,
            privileged: self.privileged,
            extra_hosts: self.add_host.clone(),
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            tmpfs: self.tmpfs.clone(),
            shm_size: self.shm_size,
            ulimits: latest(&self.ulimit),
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            security,
            pids_limit: self.pids_limit,
            groups: self.group_add.clone(),
            sysctls: self
                .sysctl
                .iter()
                .map(|Sysctl(name, value)| (name.clone(), value.clone()))
                .collect(),
            domainname: self.domainname.clone(),
            mac_address: self.mac_address,
        })
    }
}

impl Refused {
    fn check(&self) -> Result<(), Failure> {
        let given = [
            (
                !self.volume.is_empty() || !self.volumes_from.is_empty(),
                "volumes and folders of the host can't be given to a microVM with --volume: copy files in with 'rvm cp'",
            ),
            (
                !self.mount.is_empty(),
                "--mount is not supported: use --tmpfs for memory, and copy files in with 'rvm cp'",
            ),
            (
                !self.device.is_empty(),
                "devices of the host can't be given to a microVM with --device: --privileged gives the guest's own",
            ),
            (
                self.ip.is_some() || self.ip6.is_some(),
                "user-specified IP address is supported only when connecting to networks with user configured subnets: leave out --ip",
            ),
        ];
        match given.into_iter().find(|(given, _)| *given) {
            Some((_, why)) => Err(Failure::new(125, why)),
            None => Ok(()),
        }
    }
}

/// Of limits of one name, the last one counts.
fn latest(limits: &[Ulimit]) -> Vec<Ulimit> {
    let mut kept: Vec<Ulimit> = Vec::new();
    for limit in limits {
        kept.retain(|other| other.name != limit.name);
        kept.push(limit.clone());
    }
    kept
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

fn domain(text: &str) -> Result<String, String> {
    match text.parse::<SearchDomain>() {
        Ok(SearchDomain(domain)) => Ok(domain),
        Err(error) => Err(error.to_string()),
    }
}

fn shm_size(text: &str) -> Result<Memory, String> {
    match text.parse::<Memory>() {
        // A tmpfs of no size would have no limit.
        Ok(size) if size.bytes() == 0 => Err("SHM size can not be less than 0".to_owned()),
        result => result.map_err(|error| error.to_string()),
    }
}

fn platform(text: &str) -> Result<Platform, String> {
    let host = Platform::host();
    let (os, architecture) = text.split_once('/').unwrap_or(match text {
        "linux" => ("linux", "amd64"),
        architecture => ("linux", architecture),
    });
    match architecture {
        "amd64" | "x86_64" | "x86-64" | "amd64/v1" if os == "linux" => Ok(host),
        _ => Err("a microVM runs programs for linux/amd64 only".to_owned()),
    }
}
