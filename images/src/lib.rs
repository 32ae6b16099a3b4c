//! OCI images: loading, the content store, and layers as file systems that a VM maps.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ahead;
mod blobs;
mod change;
mod commit;
mod compression;
mod convert;
mod digest;
mod directories;
pub mod erofs;
mod garbage;
mod image;
mod import;
mod index;
mod layer;
mod layers;
mod load;
mod platform;
mod program;
mod progress;
mod prune;
mod reference;
pub mod registry;
mod remove;
mod save;
mod store;
mod tarball;
mod usage;
mod workspace;

pub use rvm_archive::tar;

pub use blobs::BlobError;
pub use change::{Change, ChangeError};
pub use commit::CommitOptions;
pub use compression::{Compression, decompress};
pub use convert::ConvertError;
pub use digest::{Digest, DigestError};
pub use image::{Image, Layer, chain_id};
pub use index::IndexError;
pub use layer::{LayerError, LayerReader, Limits};
pub use layers::{LayerImage, LayerImageError};
pub use load::{LoadError, LoadOptions, Loaded};
pub use platform::{Platform, PlatformError};
pub use program::ProgramError;
pub use progress::{Progress, Silent, Step};
pub use prune::{Prune, Pruned};
pub use reference::{Reference, ReferenceError};
pub use save::SaveError;
pub use store::{Listed, Removed, Store, StoreError};
pub use tarball::{ImportError, ImportOptions};
pub use usage::{ImageUsage, Usage};
