//! Images, as the engine uses the image store.

use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

use crate::root::Root;

/// The image store of a root folder.
pub struct Images;

/// An image.
pub struct Image {
    pub id: String,
    pub config: ImageConfiguration,
}

/// Why an image is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// x
    #[error("x")]
    X,
}

impl Images {
    /// x
    pub fn open(_root: &Root) -> Result<Self, ImageError> {
        Err(ImageError::X)
    }
    /// x
    pub fn resolve(&self, _r: &str) -> Result<Image, ImageError> {
        Err(ImageError::X)
    }
    /// x
    pub fn layers(&self, _id: &str, _max: usize) -> Result<Vec<PathBuf>, ImageError> {
        Err(ImageError::X)
    }
}
