//! A place to run `rvm` in: a root folder of its own, on this host or in namespaces in which nothing else happens.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Pid;

use super::process::Process;
use super::{Container, archive, isolation, rvm};

/// Removes everything when the test process ends, however it does: then the pipe on standard input closes.
/// In new namespaces it is their first process as well, which is why it has to be a shell that reaps.
const KEEPER: &str = r#"
    read -r pid rest < /proc/self/stat
    if [ "$$" = 1 ]; then
        mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && ip link set lo up || exit
    fi
    echo "$pid"
    read -r end
    timeout 60 "$1" --root "$2/root" ps --all --quiet 2>/dev/null | timeout 60 xargs -r "$1" --root "$2/root" rm --force >/dev/null 2>&1
    umount "$2/root" 2>/dev/null
    rm -rf "$2"
"#;

/// Where `rvm` runs.
pub struct Host {
    folder: PathBuf,
    keeper: Child,
    /// The first process of the namespaces, as this process sees it.
    namespaces: Option<Pid>,
}

impl Host {
    /// This host, with a root folder that all tests of this process share and that has the images `busybox` and `nginx`.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Host> = OnceLock::new();
        SHARED.get_or_init(|| Self::make(false).load(&["busybox", "nginx"]))
    }

    /// This host, with a root folder of its own in which nothing is.
    pub fn empty() -> Self {
        Self::make(false)
    }

    /// Mount, process and network namespaces of their own, with a root folder that has the image `busybox`.
    pub fn private() -> Self {
        Self::make(true).load(&["busybox"])
    }

    /// As [`Self::private`], with nothing in the root folder.
    pub fn empty_private() -> Self {
        Self::make(true)
    }

    /// As [`Self::empty_private`], with a root folder that is a file system of `size`.
    pub fn with_disk(size: &str) -> Self {
        let host = Self::empty_private();
        let options = format!("size={size}");
        let root = host.root();
        let root = root.to_str().expect("UTF-8");
        host.judge("mkdir", &[root]);
        host.judge("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", root]);
        host
    }

    fn make(private: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("rvm-test-")
            .tempdir()
            .expect("folder")
            .keep();
        std::fs::create_dir(folder.join("tmp")).expect("folder");
        let mut command = Command::new(if private { "unshare" } else { "bash" });
        if private {
            command.args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "bash",
            ]);
        }
        command
            .args(["-c", KEEPER, "keeper"])
            .arg(rvm())
            .arg(&folder);
        // Out of reach of the terminal's Ctrl-C, which ends the tests.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0);
        let mut keeper = command.spawn().expect("keeper");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("keeper");
        let pid = line
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("the keeper could not set its namespaces up");
        Self {
            folder,
            keeper,
            namespaces: private.then_some(pid),
        }
    }

    /// Loads test images.
    pub fn load(self, images: &[&str]) -> Self {
        for image in images {
            self.rvm(["load", "-q", "-i", archive(image).to_str().expect("UTF-8")])
                .wait()
                .success();
        }
        self
    }

    /// A folder that goes with the host. Everything in it is what the host's `rvm` has made.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root folder.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The namespaces' first process.
    pub fn namespaces(&self) -> Option<Pid> {
        self.namespaces
    }

    /// The id that a process of the namespaces has for this process.
    pub fn outer(&self, inner: u32) -> Option<Pid> {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let first = self.namespaces?.as_raw_nonzero();
        // A sandbox's agent has a process namespace of its own below that of the host.
        let ours = namespace(&format!("{first}/root/proc/{inner}"))?;
        let of = |pid: String| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let ids = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))?;
            let found = namespace(&pid)? == ours
                && ids.split_whitespace().nth(1) == Some(&inner.to_string());
            found
                .then(|| pid.parse().ok().and_then(Pid::from_raw))
                .flatten()
        };
        let mut entries = std::fs::read_dir("/proc")
            .expect("proc")
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        entries.find_map(of)
    }

    /// A program on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.namespaces {
            None => Command::new(program),
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command
                    .args([
                        "--target",
                        &pid.as_raw_nonzero().to_string(),
                        "--mount",
                        "--net",
                        "--pid",
                        "--",
                    ])
                    .arg(program);
                command
            }
        };
        command
            .env("RVM_ROOT", self.root())
            .env("RVM_ISOLATION", isolation())
            .env("TMPDIR", self.folder.join("tmp"))
            .env("DOCKER_CONFIG", self.folder.join("docker"))
            .env_remove("RVM_REGISTRIES");
        command
    }

    /// `rvm` with these arguments, not yet started.
    pub fn rvm_command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command(rvm());
        command.args(args);
        command
    }

    /// Starts `rvm` with these arguments.
    pub fn rvm<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Process {
        Process::start(self.rvm_command(args))
    }

    /// Starts a container in the background with `rvm run -d` and these arguments.
    pub fn detached<'a>(&'a self, args: impl IntoIterator<Item = &'a str>) -> Container<'a> {
        Container::started(
            self,
            self.rvm(["run", "-d"].into_iter().chain(args))
                .wait()
                .success(),
        )
    }

    /// Starts another program here.
    pub fn start(&self, program: &str, args: &[&str]) -> Process {
        let mut command = self.command(program);
        command.args(args);
        Process::start(command)
    }

    /// Runs a judge here, which has to succeed; its standard output.
    pub fn judge(&self, program: &str, args: &[&str]) -> String {
        self.start(program, args).wait().success()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
