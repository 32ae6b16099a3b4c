//! A tap: the host's end of a network interface.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use virtio_bindings::virtio_net::*;
use vmm_sys_util::ioctl::{ioctl_with_ref, ioctl_with_val};
use vmm_sys_util::ioctl_iow_nr;

use crate::virtio::chain::Segments;

/// The length of `struct virtio_net_hdr_v1`, which precedes each packet.
pub(super) const HEADER_SIZE: usize = 12;

const TUN: u32 = b'T' as u32;
ioctl_iow_nr!(TUNSETOFFLOAD, TUN, 208, libc::c_uint);
ioctl_iow_nr!(TUNSETVNETHDRSZ, TUN, 216, libc::c_int);

// `TUN_F_*` of linux/if_tun.h.
const TUN_F_CSUM: libc::c_uint = 1;
const TUN_F_TSO4: libc::c_uint = 2;
const TUN_F_TSO6: libc::c_uint = 4;

/// Why a descriptor can't be a guest's network interface.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It can't be switched to non-blocking mode.
    #[error("making a tap non-blocking")]
    NonBlocking(#[source] io::Error),
    /// It is not a tap with virtio headers.
    #[error("setting the size of a tap's virtio header: is it a tap opened with IFF_VNET_HDR?")]
    HeaderSize(#[source] io::Error),
}

/// An open tap.
pub(super) struct Tap(OwnedFd);

impl Tap {
    pub(super) fn new(tap: OwnedFd) -> Result<Self, TapError> {
        rustix::io::ioctl_fionbio(&tap, true)
            .map_err(|error| TapError::NonBlocking(error.into()))?;
        let size = HEADER_SIZE as libc::c_int;
        // SAFETY: the descriptor is open, and the kernel reads an int from a live reference.
        let result = unsafe { ioctl_with_ref(&tap, TUNSETVNETHDRSZ(), &size) };
        match result {
            0 => Ok(Self(tap)),
            _ => Err(TapError::HeaderSize(io::Error::last_os_error())),
        }
    }

    /// Has the host leave to the guest what the guest can do, by the features that its driver accepted.
    pub(super) fn set_offloads(&self, features: u64) -> io::Result<()> {
        let offload = |feature: u32, flag| {
            if features & 1 << feature != 0 {
                flag
            } else {
                0
            }
        };
        let mut offloads = offload(VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM);
        // Segmentation needs checksums (section 5.1.3.1), and the kernel insists on it.
        if offloads != 0 {
            offloads |= offload(VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4)
                | offload(VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6);
        }
        // SAFETY: the descriptor is open, and the argument is a number.
        match unsafe { ioctl_with_val(&self.0, TUNSETOFFLOAD(), offloads.into()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Reads one packet with its header; `None` when there is none.
    pub(super) fn read(&self, buffer: &Segments) -> io::Result<Option<usize>> {
        let iovecs = buffer.iovecs();
        // SAFETY: the iovecs are slices of the guest's memory, which stays mapped while `buffer` borrows it, and which
        // nothing in this process assumes to be unchanged. There are at most `chain::MAX_SEGMENTS`.
        let length = unsafe {
            libc::readv(
                self.0.as_raw_fd(),
                iovecs.as_ptr(),
                iovecs.len() as libc::c_int,
            )
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Sends one packet with its header.
    pub(super) fn write(&self, packet: &Segments) -> io::Result<usize> {
        let iovecs = packet.iovecs();
        // SAFETY: as in `read`; the kernel only reads from the slices.
        let length = unsafe {
            libc::writev(
                self.0.as_raw_fd(),
                iovecs.as_ptr(),
                iovecs.len() as libc::c_int,
            )
        };
        usize::try_from(length).map_err(|_| io::Error::last_os_error())
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
