//! Images of an OCI image layout (image-spec, image-layout.md), nested indexes included.

use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::{Found, LoadError, Members, Spooled, digest_of, image, parse};
use crate::index::{IMAGE_NAME, REF_NAME};
use crate::platform::Platform;
use crate::reference::Reference;

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const MAX_DEPTH: usize = 4;

/// The images of `index.json`: each of its entries is one, or an index with one for each platform.
pub(super) fn find(members: &mut Members, index: &Spooled) -> Result<Vec<Found>, LoadError> {
    let index: ImageIndex = parse("index.json", &members.read(index)?)?;
    let mut images: Vec<Found> = Vec::new();
    let mut others = Vec::new();
    for descriptor in index.manifests() {
        let Some(manifest) = choose(members, descriptor, &mut others, 0)? else {
            continue;
        };
        let reference = name(descriptor)?;
        match images.iter_mut().find(|image| image.manifest == manifest) {
            Some(image) => image.references.extend(reference),
            None => images.push(image(members, manifest, reference.into_iter().collect())?),
        }
    }
    match (images.is_empty(), others.is_empty()) {
        (true, false) => Err(LoadError::Platform {
            found: others.join(", "),
            wanted: Platform::host().to_string(),
        }),
        (true, true) => Err(LoadError::NotAnImage),
        _ => Ok(images),
    }
}

/// The manifest behind a descriptor that is for this machine. `others` collects the platforms that are not.
fn choose(
    members: &mut Members,
    descriptor: &Descriptor,
    others: &mut Vec<String>,
    depth: usize,
) -> Result<Option<Vec<u8>>, LoadError> {
    if depth > MAX_DEPTH {
        return Err(LoadError::Nesting);
    }
    if let Some(platform) = descriptor.platform() {
        let os = platform.os().to_string();
        // Attestations stand among the platforms as unknown/unknown.
        if os == "unknown" {
            return Ok(None);
        }
        if os != "linux" || platform.architecture().to_string() != Platform::host().architecture {
            others.push(format!("{os}/{}", platform.architecture()));
            return Ok(None);
        }
    }
    let json = members.json(&digest_of(descriptor)?, descriptor.size())?;
    if !is_index(descriptor) {
        return Ok(Some(json));
    }
    let index: ImageIndex = parse("one of its indexes", &json)?;
    for descriptor in index.manifests() {
        if let Some(manifest) = choose(members, descriptor, others, depth + 1)? {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn is_index(descriptor: &Descriptor) -> bool {
    match descriptor.media_type() {
        MediaType::ImageIndex => true,
        other => other.to_string() == DOCKER_LIST,
    }
}

/// The name in a descriptor's annotations.
///
/// `ref.name` is a full name to some tools and only a tag to others: the tag `latest` alone names nothing.
fn name(descriptor: &Descriptor) -> Result<Option<Reference>, LoadError> {
    let Some(annotations) = descriptor.annotations() else {
        return Ok(None);
    };
    if let Some(name) = annotations.get(IMAGE_NAME) {
        return Ok(Some(name.parse()?));
    }
    match annotations.get(REF_NAME) {
        None => Ok(None),
        Some(tag) if tag == "latest" => Ok(None),
        Some(name) => Ok(Some(name.parse()?)),
    }
}
