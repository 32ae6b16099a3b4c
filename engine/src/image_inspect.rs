//! What `rvm image inspect` and `rvm history` tell, in Docker's words.

use serde_json::{Value, json};

use crate::image::{Image, ImageError, Images};

impl Images {
    /// An image as Docker's API describes it (`ImageInspect`).
    pub fn inspect(&self, text: &str) -> Result<Value, ImageError> {
        let image = self.resolve(text)?;
        let entries = self.list()?;
        let same = entries.iter().filter(|entry| entry.image.id == image.id);
        let mut tags = Vec::new();
        let mut digests = Vec::new();
        for entry in same {
            let Some(name) = &entry.reference else {
                continue;
            };
            if name.tag().is_some() && name.digest().is_none() {
                tags.push(name.familiar());
            }
            if let Some(digest) = entry.digest {
                let digest = format!("{}@{digest}", name.familiar_name());
                if !digests.contains(&digest) {
                    digests.push(digest);
                }
            }
        }
        let config = &image.config;
        let layers: Vec<String> = image
            .layers
            .iter()
            .map(|layer| layer.diff_id.to_string())
            .collect();
        Ok(json!({
            "Id": image.id.to_string(),
            "RepoTags": tags,
            "RepoDigests": digests,
            "Comment": "",
            "Created": config.created(),
            "Author": config.author().clone().unwrap_or_default(),
            "Config": container_config(&image),
            "Architecture": config.architecture().to_string(),
            "Variant": config.variant().clone().unwrap_or_default(),
            "Os": config.os().to_string(),
            "Size": image.blob_size(),
            "RootFS": {"Type": "layers", "Layers": layers},
        }))
    }

    /// The steps in which an image was made, the last one first.
    pub fn history(&self, text: &str) -> Result<Vec<Made>, ImageError> {
        let image = self.resolve(text)?;
        let mut sizes = image.layers.iter().map(|layer| layer.size);
        let mut steps: Vec<Made> = Vec::new();
        for step in image.config.history().iter().flatten() {
            let is_empty = step.empty_layer().unwrap_or_default();
            steps.push(Made {
                id: None,
                created: step.created().clone(),
                by: step.created_by().clone().unwrap_or_default(),
                comment: step.comment().clone().unwrap_or_default(),
                size: if is_empty {
                    0
                } else {
                    sizes.next().unwrap_or_default()
                },
            });
        }
        // Layers of which nothing is told.
        steps.extend(sizes.map(|size| Made {
            size,
            ..Made::default()
        }));
        if let Some(last) = steps.last_mut() {
            last.id = Some(image.id);
        }
        steps.reverse();
        Ok(steps)
    }
}

/// A step of an image's making.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The image, at its last step.
    pub id: Option<crate::image::Digest>,
    /// When, as RFC 3339 has it.
    pub created: Option<String>,
    /// The command.
    pub by: String,
    /// What its maker says.
    pub comment: String,
    /// Bytes of its layer.
    pub size: u64,
}

/// The part for containers, with the fields that scripts expect to be there.
fn container_config(image: &Image) -> Value {
    let mut value = json!({
        "User": "", "Env": null, "Cmd": null, "Entrypoint": null, "WorkingDir": "", "Labels": null,
        "ExposedPorts": null, "Volumes": null, "StopSignal": "",
    });
    let own = serde_json::to_value(image.config.config()).unwrap_or_default();
    if let (Some(all), Value::Object(own)) = (value.as_object_mut(), own) {
        for (name, value) in own {
            // A set is a map to nothing, as Go writes one.
            let value = match (&*name, value) {
                ("ExposedPorts" | "Volumes", Value::Array(set)) => set
                    .into_iter()
                    .filter_map(|key| Some((key.as_str()?.to_owned(), json!({}))))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
                (_, value) => value,
            };
            // Go's maps are written in the order of their keys; these come in none.
            let value = match value {
                Value::Object(map) => map
                    .into_iter()
                    .collect::<std::collections::BTreeMap<_, _>>()
                    .into_iter()
                    .collect(),
                value => value,
            };
            all.insert(name, value);
        }
    }
    value
}
