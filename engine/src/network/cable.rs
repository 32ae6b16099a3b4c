//! What a microVM's network device is on.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{NetworkError, Tap};
use crate::microvm::NetworkDevice;

/// The host's end of a microVM's network device.
#[derive(Clone, Debug)]
pub enum Cable {
    /// A tap, at the bridge.
    Tap(Tap),
    /// The inside of a [`Link`](super::Link).
    Link(Arc<OwnedFd>),
}

impl Cable {
    /// A descriptor of it, for the VMM.
    pub fn device(&self) -> io::Result<NetworkDevice> {
        Ok(match self {
            Self::Tap(tap) => NetworkDevice::Tap(tap.device()?),
            Self::Link(end) => NetworkDevice::Stream(end.try_clone()?),
        })
    }

    /// A word for what it is: a guest that was saved on one kind does not go on on the other, which offers it less.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tap(_) => "tap",
            Self::Link(_) => "link",
        }
    }

    /// Lets packets through. A link has no other guests at it, and always does.
    pub fn set_up(&self) -> Result<(), NetworkError> {
        match self {
            Self::Tap(tap) => tap.set_up(),
            Self::Link(_) => Ok(()),
        }
    }
}
