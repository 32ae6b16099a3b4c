//! Guest memory: a memfd mapped at the guest-physical addresses of [`crate::layout`].

use std::fs::File;

use vm_memory::mmap::{FromRangesError, MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::config::MIN_MEMORY_MIB;
use crate::layout::{GAP_END, GAP_START};

/// Why guest memory could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guest would have less memory than it can boot with.
    #[error("{0} MiB of guest memory are too little; the least is {MIN_MEMORY_MIB} MiB")]
    TooSmall(u64),
    /// The size in bytes is no number of this machine's.
    #[error("{0} MiB of guest memory are more than a machine can address")]
    TooLarge(u64),
    /// The memfd's size could not be read.
    #[error("can't read the size of the guest memory's file")]
    Size(#[source] std::io::Error),
    /// The memfd is smaller than the configuration says.
    #[error("the guest memory's file has {actual} bytes, the guest is to have {wanted}")]
    FileSize {
        /// What the configuration says, in bytes.
        wanted: u64,
        /// What the file has, in bytes.
        actual: u64,
    },
    /// mmap failed.
    #[error("can't map guest memory")]
    Map(#[source] MmapRegionError),
    /// The regions overlap or overflow.
    #[error("can't lay out guest memory")]
    Layout(#[source] FromRangesError),
}

/// The address and the size in bytes of each memory region of a guest that has `mib` MiB.
pub fn regions(mib: u64) -> Result<Vec<(GuestAddress, u64)>, Error> {
    if mib < MIN_MEMORY_MIB {
        return Err(Error::TooSmall(mib));
    }
    let size = mib
        .checked_mul(1 << 20)
        .filter(|s| *s <= 1 << 46)
        .ok_or(Error::TooLarge(mib))?;
    let below = size.min(GAP_START);
    let mut regions = vec![(GuestAddress(0), below)];
    if size > below {
        regions.push((GuestAddress(GAP_END), size - below));
    }
    Ok(regions)
}

/// Whether what a guest writes gets into the file that its memory is mapped from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// It does.
    Shared,
    /// It does not: guests that share the file pay only for the pages that they write to.
    CopyOnWrite,
}

/// Maps `file` as the memory of a guest that has `mib` MiB.
pub fn map(file: File, mib: u64, mapping: Mapping) -> Result<GuestMemoryMmap, Error> {
    let regions = regions(mib)?;
    let actual = file.metadata().map_err(Error::Size)?.len();
    let wanted = regions.iter().map(|(_, size)| size).sum();
    if actual < wanted {
        return Err(Error::FileSize { wanted, actual });
    }
    let file = std::sync::Arc::new(file);
    let flags = match mapping {
        Mapping::Shared => libc::MAP_SHARED,
        Mapping::CopyOnWrite => libc::MAP_PRIVATE,
    };
    let mut offset = 0;
    let mut mapped = Vec::with_capacity(regions.len());
    for (address, size) in regions {
        let region = MmapRegionBuilder::new(size as usize)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(flags | libc::MAP_NORESERVE)
            .with_file_offset(FileOffset::from_arc(file.clone(), offset))
            .build()
            .map_err(Error::Map)?;
        offset += size;
        mapped.push(GuestRegionMmap::new(region, address).ok_or(Error::TooLarge(mib))?);
    }
    GuestMemoryMmap::from_regions(mapped).map_err(|_| Error::TooLarge(mib))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_three_gib_goes_on_after_the_gap() {
        assert_eq!(regions(3072).expect("3 GiB"), [(GuestAddress(0), 3 << 30)]);
        assert_eq!(
            regions(4096).expect("4 GiB"),
            [(GuestAddress(0), 3 << 30), (GuestAddress(4 << 30), 1 << 30)]
        );
    }

    #[test]
    fn too_little_and_too_much_memory_are_refused() {
        assert!(matches!(
            regions(MIN_MEMORY_MIB - 1),
            Err(Error::TooSmall(_))
        ));
        assert!(matches!(regions(u64::MAX), Err(Error::TooLarge(_))));
    }
}
