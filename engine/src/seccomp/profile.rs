//! A seccomp profile as Docker writes it, and which of its rules hold for a container.

use serde::Deserialize;

/// A profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// For what no rule speaks of.
    pub default_action: String,
    /// The error of the default action, if it is one.
    pub default_errno_ret: Option<u32>,
    /// The rules.
    #[serde(default)]
    pub syscalls: Vec<Rule>,
}

/// What is done with some system calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Their names.
    #[serde(default)]
    pub names: Vec<String>,
    /// The one name, in profiles of the first form.
    pub name: Option<String>,
    /// What is done.
    pub action: String,
    /// The error, if the action is one.
    pub errno_ret: Option<u32>,
    /// All of them have to hold.
    #[serde(default, deserialize_with = "null_is_none")]
    pub args: Vec<Argument>,
    /// The rule holds only where all of this does.
    #[serde(default, deserialize_with = "null_is_none")]
    pub includes: Condition,
    /// The rule does not hold where any of this does.
    #[serde(default, deserialize_with = "null_is_none")]
    pub excludes: Condition,
}

/// A condition on an argument.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Which, 0 to 5.
    pub index: u32,
    /// What it is compared with; with `SCMP_CMP_MASKED_EQ`, the mask.
    pub value: u64,
    /// With `SCMP_CMP_MASKED_EQ`, what the masked argument is compared with.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: String,
}

/// A condition on the container and its host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Capabilities.
    #[serde(deserialize_with = "null_is_none")]
    pub caps: Vec<String>,
    /// Architectures, in Go's names.
    #[serde(deserialize_with = "null_is_none")]
    pub arches: Vec<String>,
    /// The oldest kernel.
    pub min_kernel: Option<String>,
}

/// The guest's architecture, in the names that profiles have for it.
const ARCHITECTURES: [&str; 2] = ["amd64", "x86_64"];

/// The guest's kernel.
const KERNEL: (u32, u32) = (6, 12);

impl Rule {
    /// Whether the rule holds for a container with these capabilities in its bounding set.
    pub fn holds(&self, capabilities: &[String]) -> bool {
        let has = |capability: &String| capabilities.contains(capability);
        let native = |list: &[String]| list.iter().any(|a| ARCHITECTURES.contains(&a.as_str()));
        let (with, without) = (&self.includes, &self.excludes);
        with.caps.iter().all(has)
            && (with.arches.is_empty() || native(&with.arches))
            && with.min_kernel.as_deref().is_none_or(is_old_enough)
            && !without.caps.iter().any(has)
            && !native(&without.arches)
            && !without.min_kernel.as_deref().is_some_and(is_old_enough)
    }

    /// All of its names.
    pub fn all_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().chain(&self.name).map(String::as_str)
    }
}

/// Whether the guest's kernel is this version or a later one.
fn is_old_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) <= KERNEL,
        _ => false,
    }
}

/// Go writes an empty list as null.
fn null_is_none<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
