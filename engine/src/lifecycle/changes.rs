//! What a container has changed of its image's files.

use std::io::Read;

use rvm_agent_protocol::ArchiveAction;

use super::{ArchiveError, Engine};
use crate::container::{Container, Settings};
use crate::spec::files::BOUND;

/// What every container has mounted in it: not its own changes.
const MOUNTS: [&str; 4] = ["/dev", "/proc", "/sys", "/.dockerenv"];

/// More is not taken from a guest.
const LIMIT: u64 = 256 << 20;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The path.
    pub path: String,
    /// A for added, C for changed, D for deleted.
    pub kind: char,
}

impl Engine {
    /// What a container has changed of its image's files, in the order of the paths.
    pub fn changes(&self, container: &Container) -> Result<Vec<Change>, ArchiveError> {
        let leave_out = left_out(&container.settings);
        let action = ArchiveAction::Changes { leave_out };
        let mut transfer = self.transfer(container, action)?;
        let mut list = Vec::new();
        let read = transfer.by_ref().take(LIMIT).read_to_end(&mut list);
        read.map_err(ArchiveError::Stream)?;
        transfer.finish()?;
        parse(&list).ok_or(ArchiveError::Answer)
    }
}

fn parse(list: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for line in list
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
    {
        let (kind, path) = match line {
            [kind @ (b'A' | b'C' | b'D'), path @ ..] => (char::from(*kind), path),
            _ => return None,
        };
        // A terminal's control sequences in names stay names.
        let path = String::from_utf8_lossy(path);
        let path = path.chars().map(|c| if c.is_control() { '?' } else { c });
        changes.push(Change {
            path: path.collect(),
            kind,
        });
    }
    changes.sort();
    Some(changes)
}

/// Paths at which something is mounted in a container.
pub(super) fn left_out(settings: &Settings) -> Vec<String> {
    let bound = BOUND.iter().map(|(_, path)| *path);
    let tmpfs = settings.guest.tmpfs.iter().map(|tmpfs| tmpfs.path.as_str());
    MOUNTS
        .into_iter()
        .chain(bound)
        .chain(tmpfs)
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_sorted_and_checked() {
        let changes = parse(b"C/b\0A/b/\x1b[x\0D/a\0").expect("changes");
        let shown: Vec<_> = changes
            .iter()
            .map(|c| format!("{} {}", c.kind, c.path))
            .collect();
        assert_eq!(shown, ["D /a", "C /b", "A /b/?[x"]);
        assert_eq!(parse(b"X/a\0"), None);
    }
}
