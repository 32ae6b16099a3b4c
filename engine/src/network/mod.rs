//! The containers' network: one bridge, a tap for each microVM, a pair of interfaces for each sandbox, address translation and published ports;
//! without root, passt for each container.
//!
//! Nothing of it outlives its last container. A tap, passt, and the sockets that reserve published ports end with the processes
//! that hold them; addresses, rules, and the bridge are given back by the monitor, or by whoever finds that it has died.

mod bridge;
mod cable;
mod foreign;
mod interface;
mod mutex;
mod netlink;
mod passt;
mod ports;
mod routes;
mod rules;
mod sysctl;
mod tap;
mod veth;

use std::io;
use std::net::Ipv4Addr;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::id::ContainerId;
use crate::options::mac::MacAddress;
use crate::options::port::Publish;
use crate::root::{Root, SYSTEM_ROOT};
use crate::rootless;
use crate::state::{Database, DatabaseError, LeaseError, Subnet};

pub use cable::Cable;
pub use passt::{Link, Passt};
pub use ports::{PortError, Reservation};
pub use rules::RulesError;
pub use tap::Tap;

/// The largest packet, in bytes.
pub const MTU: u32 = 1500;

/// A container's place in the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The name of the tap, or of the host's interface of the pair.
    pub tap: String,
    /// The published ports, with the host's ports as they were chosen.
    pub ports: Vec<Publish>,
}

/// A container's connection, as long as it is held.
#[derive(Debug)]
pub struct Connection {
    /// Its place.
    pub endpoint: Endpoint,
    /// Keeps others off the published ports.
    pub reservations: Vec<Reservation>,
    /// What carries its packets without root.
    pub passt: Option<Passt>,
}

/// Why a container could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// There is no passt.
    #[error(
        "a container's network without root needs passt: install passt, run rvm as root, or give --network none"
    )]
    NoPasst,
    /// passt could not be started.
    #[error(
        "passt, which is a container's network without root, could not be started (with --network none, or as root, it is not needed)"
    )]
    Passt(#[source] io::Error),
    /// The lock on the host's networks could not be had.
    #[error("cannot lock {}", mutex::PATH)]
    Lock(#[source] io::Error),
    /// No subnet is free.
    #[error("every subnet that rvm would use for its bridge is in use on this host")]
    NoSubnet,
    /// The host's routes can't be read.
    #[error("cannot read the host's routes")]
    Routes(#[source] io::Error),
    /// The bridge failed.
    #[error("cannot set up the bridge {name}")]
    Bridge {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The tap failed.
    #[error("cannot make the tap {name}")]
    Tap {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The pair of interfaces failed.
    #[error("cannot make or remove the interface {name}")]
    Pair {
        /// The name of the host's one.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A kernel parameter can't be set.
    #[error("cannot set the kernel parameter {name}")]
    Sysctl {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A port can't be published.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The rules failed.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// No address.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The network of one root folder.
#[derive(Debug)]
pub struct Network {
    name: String,
}

impl Network {
    /// The network of a root folder; other root folders have others, under other names.
    pub fn of(root: &Root) -> Self {
        let name = match root.path().to_str() {
            Some(SYSTEM_ROOT) => "rvm0".to_owned(),
            _ => format!("rvm-{}", root.tag()),
        };
        Self { name }
    }

    /// Connects a container: reserves its ports, leases it an address, and makes what of the network is missing. Without a MAC
    /// address it gets one that follows from its address, which is `address` if that is free. With a [`Link`] it has passt at
    /// its other end, and nothing of the host's.
    pub fn connect(
        &self,
        database: &Database,
        id: &ContainerId,
        publish: &[Publish],
        (address, mac_address): (Option<Ipv4Addr>, Option<MacAddress>),
        link: Option<&Link>,
    ) -> Result<Connection, NetworkError> {
        let (reservations, ports, _mutex) = match link {
            Some(_) => (Vec::new(), ports::choose(publish)?, None),
            None => {
                let (reservations, ports) = ports::reserve(publish)?;
                let mutex = mutex::lock().map_err(NetworkError::Lock)?;
                (reservations, ports, Some(mutex))
            }
        };
        let subnet = self.subnet(database)?;
        let tap = tap::name(id);
        let endpoint = database.lease(id, (subnet, address), |address| Endpoint {
            address,
            prefix: subnet.prefix,
            gateway: subnet.gateway(),
            mac: mac_address.map_or_else(|| mac(address), |mac| mac.0),
            tap: tap.clone(),
            ports,
        })?;
        // From here on whoever cleans up after this container finds what there is to clean.
        if let Some(link) = link {
            let passt = Some(Passt::start(&endpoint, link)?);
            return Ok(Connection {
                endpoint,
                reservations,
                passt,
            });
        }
        rules::connect(&self.name, subnet, &endpoint)?;
        if bridge::ensure(&self.name, subnet)? {
            foreign::let_through(&self.name)?;
        }
        Ok(Connection {
            endpoint,
            reservations,
            passt: None,
        })
    }

    /// Makes a connected container's tap, for the VMM.
    pub fn tap(&self, endpoint: &Endpoint) -> Result<Tap, NetworkError> {
        Tap::make(&endpoint.tap, &self.name)
    }

    /// Makes a connected container's pair of interfaces, of which one is in the network namespace of the process `pid`.
    pub fn pair(&self, endpoint: &Endpoint, pid: u32) -> Result<(), NetworkError> {
        veth::make(&endpoint.tap, &self.name, pid)
    }

    /// Takes back what a container had, and the network itself when it was the last one. A tap goes with the microVM that has it open.
    pub fn disconnect(
        &self,
        database: &Database,
        id: &ContainerId,
        endpoint: &Endpoint,
    ) -> Result<(), NetworkError> {
        if rootless::applies() {
            return match database.release(id)? {
                0 => Ok(database.set_subnet(None)?),
                _ => Ok(()),
            };
        }
        let _mutex = mutex::lock().map_err(NetworkError::Lock)?;
        veth::remove(&endpoint.tap)?;
        let left = database.release(id)?;
        if left > 0 {
            return Ok(rules::disconnect(&self.name, endpoint)?);
        }
        // The kernel takes its time for each of them.
        let (bridge, rules) = thread::scope(|scope| {
            let bridge = scope.spawn(|| bridge::remove(&self.name));
            let rules = foreign::remove(&self.name).and_then(|()| rules::remove(&self.name));
            (bridge.join(), rules)
        });
        bridge.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        rules?;
        Ok(database.set_subnet(None)?)
    }

    /// The network's subnet, chosen when there is none yet.
    fn subnet(&self, database: &Database) -> Result<Subnet, NetworkError> {
        if let Some(subnet) = database.subnet()? {
            return Ok(subnet);
        }
        let routes = routes::read().map_err(NetworkError::Routes)?;
        let free = candidates().find(|subnet| !routes.iter().any(|route| route.overlaps(*subnet)));
        let subnet = free.ok_or(NetworkError::NoSubnet)?;
        database.set_subnet(Some(subnet))?;
        Ok(subnet)
    }
}

/// The subnets that are tried, in this order.
fn candidates() -> impl Iterator<Item = Subnet> {
    let of = |a, b| {
        move |c| Subnet {
            base: Ipv4Addr::new(a, b, c, 0),
            prefix: 24,
        }
    };
    (0..=255).map(of(172, 31)).chain((0..=255).map(of(10, 231)))
}

/// A locally administered MAC address that follows from the IPv4 address, as Docker makes it.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}
