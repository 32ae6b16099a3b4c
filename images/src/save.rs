//! Saving images: an archive that is an OCI image layout and, by its `manifest.json`, what `docker save` writes.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::image::Image;
use crate::index::{IMAGE_NAME, REF_NAME};
use crate::reference::Reference;
use crate::store::{Store, StoreError};

const BLOCK: usize = 512;

/// Why an image was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The image.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive.
    #[error("writing the archive failed")]
    Write(#[from] io::Error),
}

/// An image and the names that it is saved under.
struct Saved {
    image: Image,
    names: Vec<Reference>,
}

impl Store {
    /// Writes images to `archive`: those of a name with that name, those of an id without any.
    pub fn save(&self, images: &[String], archive: impl Write) -> Result<(), SaveError> {
        // Nothing is collected while it is being read.
        let _hold = self.hold()?;
        let mut saved: Vec<Saved> = Vec::new();
        for text in images {
            let image = self.resolve(text)?;
            let name = image
                .reference
                .clone()
                .filter(|name| name.tag().is_some() && name.digest().is_none());
            match saved
                .iter_mut()
                .find(|saved| saved.image.manifest == image.manifest)
            {
                Some(same) => same.names.extend(name),
                None => saved.push(Saved {
                    names: name.into_iter().collect(),
                    image,
                }),
            }
        }
        let mut tar = Archive(archive);
        tar.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.bytes("index.json", &self.layout_index(&saved)?)?;
        tar.bytes("manifest.json", &docker_manifest(&saved))?;
        // Each blob once, however many images have it.
        let mut blobs: BTreeMap<String, Digest> = BTreeMap::new();
        for saved in &saved {
            let layers = saved.image.layers.iter().map(|layer| layer.digest);
            for digest in layers.chain([saved.image.id, saved.image.manifest]) {
                blobs.insert(digest.hex(), digest);
            }
        }
        for (hex, digest) in blobs {
            let mut file = self.blobs.open(&digest).map_err(StoreError::from)?;
            let size = file.metadata()?.len();
            tar.file(&format!("blobs/sha256/{hex}"), size, &mut file)?;
        }
        tar.finish()?;
        Ok(())
    }

    fn layout_index(&self, saved: &[Saved]) -> Result<Vec<u8>, SaveError> {
        let mut manifests = Vec::new();
        for Saved { image, names } in saved {
            let json = self.blobs.read(&image.manifest).map_err(StoreError::from)?;
            let own = serde_json::from_slice::<Value>(&json).ok();
            let own = own
                .as_ref()
                .and_then(|manifest| manifest.get("mediaType")?.as_str());
            let kind = own.map_or(MediaType::ImageManifest, MediaType::from);
            let digest: oci_spec::image::Digest = image
                .manifest
                .to_string()
                .parse()
                .map_err(io::Error::other)?;
            let descriptor = Descriptor::new(kind, json.len() as u64, digest);
            for name in names {
                let mut named = descriptor.clone();
                named.set_annotations(Some(HashMap::from(
                    [REF_NAME, IMAGE_NAME].map(|key| (key.to_owned(), name.to_string())),
                )));
                manifests.push(named);
            }
            if names.is_empty() {
                manifests.push(descriptor);
            }
        }
        let mut index = ImageIndex::default();
        index.set_schema_version(2);
        index.set_media_type(Some(MediaType::ImageIndex));
        index.set_manifests(manifests);
        Ok(serde_json::to_vec(&index).map_err(io::Error::from)?)
    }
}

/// `manifest.json` of `docker save`; its members are the layout's blobs, as Docker has had it since version 25.
fn docker_manifest(saved: &[Saved]) -> Vec<u8> {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let images: Vec<Value> = saved
        .iter()
        .map(|Saved { image, names }| {
            let layers: Vec<String> = image
                .layers
                .iter()
                .map(|layer| path(&layer.digest))
                .collect();
            let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
            json!({"Config": path(&image.id), "RepoTags": tags, "Layers": layers})
        })
        .collect();
    Value::from(images).to_string().into_bytes()
}

/// Writes a tar archive (POSIX ustar); all names are short, all members files.
struct Archive<W>(W);

impl<W: Write> Archive<W> {
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name, bytes.len() as u64, &mut &*bytes)
    }

    fn file(&mut self, name: &str, size: u64, data: &mut impl io::Read) -> io::Result<()> {
        self.0.write_all(&header(name, size)?)?;
        let copied = io::copy(&mut io::Read::take(data, size), &mut self.0)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.0).map(drop)
    }

    fn finish(mut self) -> io::Result<()> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.flush()
    }
}

fn header(name: &str, size: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    if name.len() > 100 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    match size {
        // Eleven octal digits end at 8 GiB; GNU's form for more is binary.
        0..0o1_0000_0000_0000 => put(124, format!("{size:011o}\0").as_bytes()),
        _ => {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &size.to_be_bytes());
        }
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}
