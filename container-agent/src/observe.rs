//! What the kernel tells of a container, handed on as it is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rvm_agent_protocol::OBSERVED_LIMIT;

/// What a control group uses, in files of its folder.
const USAGE: [&str; 6] = [
    "cpu.stat",
    "io.stat",
    "memory.current",
    "memory.max",
    "memory.stat",
    "pids.current",
];

/// The files of a group of version 2.
pub fn usage(files: &mut Files, group: &Path) {
    for name in USAGE {
        files.add_from(name, &group.join(name));
    }
}

/// Those of some processes. One that is just gone with its process is left out.
pub fn processes(files: &mut Files, list: &[i32]) {
    let proc = Path::new("/proc");
    for name in ["uptime", "meminfo"] {
        files.add_from(name, &proc.join(name));
    }
    for pid in list {
        for name in ["stat", "status", "cmdline"] {
            let name = format!("{pid}/{name}");
            files.add_from(&name, &proc.join(&name));
        }
    }
}

/// Files by their names, as many as an answer has room for.
pub struct Files {
    list: Vec<(String, String)>,
    left: usize,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            left: OBSERVED_LIMIT,
        }
    }
}

impl Files {
    /// Adds a file as it is; one that can't be read is left out.
    pub fn add_from(&mut self, name: &str, path: &Path) {
        let mut content = Vec::new();
        let Ok(file) = File::open(path) else {
            return;
        };
        let limit = self.left.saturating_sub(name.len());
        if file.take(limit as u64).read_to_end(&mut content).is_ok() {
            self.add(name, String::from_utf8_lossy(&content).into_owned());
        }
    }

    /// Adds a content.
    pub fn add(&mut self, name: &str, content: String) {
        let limit = self.left.saturating_sub(name.len());
        if limit == 0 {
            return;
        }
        // What is not text becomes longer.
        self.left = limit.saturating_sub(content.len());
        self.list.push((name.to_owned(), content));
    }

    /// All of them.
    pub fn list(self) -> Vec<(String, String)> {
        self.list
    }
}
