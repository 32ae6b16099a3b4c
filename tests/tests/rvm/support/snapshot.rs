//! Everything that a container could leave behind on a private host, as the kernel and the host's own tools tell it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::host::Host;

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub processes: Vec<String>,
    pub interfaces: Vec<String>,
    pub rules: String,
    pub mounts: String,
    pub sockets: Vec<String>,
    pub files: BTreeSet<String>,
}

impl Snapshot {
    /// Looks.
    pub fn of(host: &Host) -> Self {
        let proc = proc(host);
        let own = proc.join("1");
        Self {
            processes: processes(host)
                .into_iter()
                .map(|(_, command)| command)
                .collect(),
            interfaces: host
                .judge("ip", &["-brief", "link"])
                .lines()
                .map(str::to_owned)
                .collect(),
            rules: host.judge("nft", &["list", "ruleset"]),
            mounts: fs::read_to_string(own.join("mounts")).expect("mounts"),
            sockets: sockets(&own),
            files: files(host.folder())
                .filter(|file| !is_of_template(file))
                .chain(files(&run(host)))
                .collect(),
        }
    }

    /// Looks after a first run with `options`, which makes what is made once: the database, what was found out about the host.
    pub fn after_a_run(host: &Host, options: &[&str]) -> Self {
        let run = [&["run", "--rm"], options, &["busybox", "true"]].concat();
        host.rvm(run).wait().success();
        Self::of(host)
    }

    /// Asserts that a later look sees the same.
    pub fn assert_unchanged(&self, host: &Host) {
        let now = Self::of(host);
        assert_eq!(now.processes, self.processes, "processes");
        assert_eq!(now.interfaces, self.interfaces, "interfaces");
        assert_eq!(now.rules, self.rules, "rules");
        assert_eq!(now.mounts, self.mounts, "mounts");
        assert_eq!(now.sockets, self.sockets, "sockets");
        let (gone, new) = (&self.files - &now.files, &now.files - &self.files);
        assert!(
            gone.is_empty() && new.is_empty(),
            "files that went: {gone:?}, files that came: {new:?}"
        );
    }
}

/// Templates stay, and any run may make one. How many there are is not this module's question.
fn is_of_template(file: &str) -> bool {
    let inside = file.split_once("/templates/").map(|(_, inside)| inside);
    inside.is_some_and(|inside| inside.bytes().take_while(u8::is_ascii_hexdigit).count() == 64)
}

fn first(host: &Host) -> PathBuf {
    PathBuf::from(format!(
        "/proc/{}",
        host.namespaces().expect("a private host").as_raw_nonzero()
    ))
}

fn run(host: &Host) -> PathBuf {
    first(host).join("root/run")
}

/// The private host's `/proc`, in which process 1 is its first.
fn proc(host: &Host) -> PathBuf {
    first(host).join("root/proc")
}

/// The private host's processes: their ids there, and their command lines.
pub fn processes(host: &Host) -> Vec<(u32, String)> {
    let entries = fs::read_dir(proc(host)).expect("proc").flatten();
    let mut found = Vec::new();
    for id in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        // Empty: it is gone, or dead and only waits to be reaped.
        let command = fs::read(proc(host).join(id.to_string()).join("cmdline")).unwrap_or_default();
        if !command.is_empty() {
            found.push((id, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found.sort();
    found
}

/// Unix sockets with a name, and TCP and UDP sockets that wait for someone.
fn sockets(process: &Path) -> Vec<String> {
    let net = |name: &str| fs::read_to_string(process.join("net").join(name)).expect(name);
    let unix = net("unix")
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(7))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let listening = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
    let tcp: Vec<_> = net("tcp")
        .lines()
        .filter(listening)
        .map(str::to_owned)
        .collect();
    let udp: Vec<_> = net("udp").lines().skip(1).map(str::to_owned).collect();
    [unix, tcp, udp].concat()
}

/// All paths below a folder; files with their sizes, except the database's, which keeps room for what was in it.
pub fn files(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("type"));
            let database = path.file_name().is_some_and(|name| name == "rvm.db");
            let size = if kind.is_file() && !database {
                entry.metadata().expect("size").len()
            } else {
                0
            };
            found.push(format!("{} {size}", path.display()));
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found.into_iter()
}
