//! The network's addresses, and who has them.

use std::net::Ipv4Addr;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::containers::json;
use super::events::append;
use super::{Database, DatabaseError};
use crate::event::{Kind, NewEvent, attributes};
use crate::id::ContainerId;
use crate::network::Endpoint;

/// The name of the one network, and of its kind.
const BRIDGE: &str = "bridge";

/// A range of IPv4 addresses. Its first address but one is the bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The address in which the bits behind the prefix are 0.
    pub base: Ipv4Addr,
    /// The prefix's length, 8 to 30.
    pub prefix: u8,
}

impl Subnet {
    /// How many addresses there are, the network's and the broadcast address among them.
    pub fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The bridge's address, which is the containers' gateway.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + 1)
    }

    /// The addresses that containers can have.
    pub fn hosts(self) -> std::ops::Range<u32> {
        self.base.to_bits() + 2..self.base.to_bits() + self.size() - 1
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        let shift = 32 - u32::from(self.prefix.min(other.prefix));
        let top = |address: Ipv4Addr| u64::from(address.to_bits()) >> shift;
        top(self.base) == top(other.base)
    }

    /// The netmask.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(!(self.size() - 1))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Why there is no address for a container.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// All are taken.
    #[error("the network {0} has no free address left: remove containers that are not needed")]
    Full(Subnet),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<rusqlite::Error> for LeaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Database {
    /// The network's subnet while it exists.
    pub fn subnet(&self) -> Result<Option<Subnet>, DatabaseError> {
        let row = self
            .connection()?
            .query_row("SELECT subnet, prefix FROM network", [], |row| {
                Ok(Subnet {
                    base: Ipv4Addr::from_bits(row.get(0)?),
                    prefix: row.get(1)?,
                })
            });
        Ok(row.optional()?)
    }

    /// Notes which subnet the network has, or that there is none any more.
    pub fn set_subnet(&self, subnet: Option<Subnet>) -> Result<(), DatabaseError> {
        match subnet {
            Some(subnet) => self.connection()?.execute(
                "INSERT OR REPLACE INTO network (only, subnet, prefix) VALUES (1, ?1, ?2)",
                params![subnet.base.to_bits(), subnet.prefix],
            )?,
            None => self.connection()?.execute("DELETE FROM network", [])?,
        };
        Ok(())
    }

    /// Leases an address of the subnet to a container, the given one or else the lowest that is free, and notes the endpoint that `endpoint` makes of it, in one transaction.
    pub fn lease(
        &self,
        id: &ContainerId,
        (subnet, wanted): (Subnet, Option<Ipv4Addr>),
        endpoint: impl FnOnce(Ipv4Addr) -> Endpoint,
    ) -> Result<Endpoint, LeaseError> {
        let transaction =
            Transaction::new_unchecked(self.connection()?, TransactionBehavior::Immediate)?;
        let taken: Vec<u32> = {
            let mut statement =
                transaction.prepare_cached("SELECT address FROM lease ORDER BY address")?;
            statement
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?
        };
        let is_free = |address: &u32| taken.binary_search(address).is_err();
        let wanted = wanted
            .map(Ipv4Addr::to_bits)
            .filter(|address| subnet.hosts().contains(address) && is_free(address));
        let free = wanted
            .or_else(|| subnet.hosts().find(is_free))
            .ok_or(LeaseError::Full(subnet))?;
        transaction.execute(
            "INSERT INTO lease (address, container) VALUES (?1, ?2)",
            params![free, id.as_str()],
        )?;
        let endpoint = endpoint(Ipv4Addr::from_bits(free));
        transaction.execute(
            "UPDATE container SET endpoint = ?2 WHERE id = ?1",
            params![id.as_str(), json(&endpoint)?],
        )?;
        append(&transaction, &network_event("connect", id))?;
        transaction.commit()?;
        self.tell();
        Ok(endpoint)
    }

    /// Gives a container's address back; how many leases are left.
    pub fn release(&self, id: &ContainerId) -> Result<u32, DatabaseError> {
        let transaction =
            Transaction::new_unchecked(self.connection()?, TransactionBehavior::Immediate)?;
        let released =
            transaction.execute("DELETE FROM lease WHERE container = ?1", [id.as_str()])?;
        if released > 0 {
            append(&transaction, &network_event("disconnect", id))?;
        }
        transaction.execute(
            "UPDATE container SET endpoint = NULL WHERE id = ?1",
            [id.as_str()],
        )?;
        let left = transaction.query_row("SELECT count(*) FROM lease", [], |row| row.get(0))?;
        transaction.commit()?;
        self.tell();
        Ok(left)
    }
}

/// The event that tells of a container's coming to the network or leaving it.
fn network_event(action: &str, id: &ContainerId) -> NewEvent {
    NewEvent {
        kind: Kind::Network,
        action: action.to_owned(),
        actor: BRIDGE.to_owned(),
        attributes: attributes([
            ("container", id.as_str()),
            ("name", BRIDGE),
            ("type", BRIDGE),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: Ipv4Addr) -> Endpoint {
        Endpoint {
            address,
            prefix: 29,
            gateway: Ipv4Addr::UNSPECIFIED,
            mac: [0; 6],
            tap: String::new(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn addresses_are_leased_once_and_used_again() {
        let folder = tempfile::tempdir().expect("folder");
        let database = Database::open(&folder.path().join("db")).expect("database");
        let subnet = Subnet {
            base: Ipv4Addr::new(10, 0, 0, 8),
            prefix: 29,
        };
        let ids: Vec<_> = (0..6).map(|_| ContainerId::random().expect("id")).collect();
        let lease = |id| {
            database
                .lease(id, (subnet, None), endpoint)
                .map(|endpoint| endpoint.address.octets()[3])
        };
        let leased: Vec<_> = ids[..5].iter().map(|id| lease(id).expect("free")).collect();
        assert_eq!(leased, [10, 11, 12, 13, 14]);
        assert!(matches!(lease(&ids[5]), Err(LeaseError::Full(_))));
        assert_eq!(database.release(&ids[2]).expect("release"), 4);
        assert_eq!(lease(&ids[5]).expect("free"), 12);
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let subnet = |a, b, c, prefix| Subnet {
            base: Ipv4Addr::new(a, b, c, 0),
            prefix,
        };
        assert!(subnet(172, 31, 4, 24).overlaps(subnet(172, 31, 0, 16)));
        assert!(!subnet(172, 31, 4, 24).overlaps(subnet(172, 31, 5, 24)));
        assert!(subnet(10, 0, 0, 8).overlaps(subnet(10, 9, 8, 24)));
        assert!(subnet(1, 2, 3, 24).overlaps(Subnet {
            base: Ipv4Addr::UNSPECIFIED,
            prefix: 0
        }));
    }
}
