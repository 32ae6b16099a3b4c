//! An agent in namespaces of its own on this machine, behind a Unix socket, and a host that talks to it.
//!
//! Needs root, loop devices, `mkfs.erofs` and a static busybox: what an agent in a guest has, too.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;
use rvm_agent_protocol::{
    Create, CreateOptions, Exec, ExitStatus, Failure, File, Filter, Kind, Prepare, Request,
    Response, Rootfs, Writable, frame,
};
use serde_json::{Value, json};

/// A container to be made.
pub struct Container {
    pub id: String,
    pub rootfs: Rootfs,
    pub spec: Spec,
    pub user: String,
    pub files: Vec<File>,
    pub stdin: bool,
    pub hold: bool,
}

impl Container {
    /// Gives it a file of its own.
    pub fn bind(&mut self, file: File, destination: &str) {
        let source = format!("/run/rvm/{}/{}", self.id, file.name);
        let options = ["rbind", "rprivate"];
        let mount = json!({"destination": destination, "type": "bind", "source": source, "options": options});
        let mount = serde_json::from_value(mount).expect("a mount");
        self.spec.mounts_mut().as_mut().expect("mounts").push(mount);
        self.files.push(file);
    }
}

/// An agent that ends with the test.
pub struct Agent {
    process: Child,
    folder: tempfile::TempDir,
    device: String,
    group: String,
}

impl Agent {
    /// Starts an agent with an image of busybox as its first layer.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let device = image(folder.path());
        // The hierarchy of version 2 is one for the whole machine: each agent sees a part of it as the whole.
        let hierarchy = folder.path().join("cgroup");
        fs::create_dir(&hierarchy).expect("a folder");
        let group = folder
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .replace('.', "agent-test-");
        let script = "mount --make-rprivate / && mount -t cgroup2 none \"$2\" && mkdir \"$2/$3\" && echo 0 > \"$2/$3/cgroup.procs\" && \
            exec unshare --mount --pid --ipc --uts --cgroup --fork --kill-child --mount-proc sh -c \
            'umount \"$2\" && umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run && \
            exec \"$0\" --listen-unix \"$1\"' \"$0\" \"$1\" \"$2\"";
        let process = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(env!("CARGO_BIN_EXE_rvm-agent"))
            .arg(folder.path().join("agent.sock"))
            .arg(&hierarchy)
            .arg(&group)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare");
        let agent = Self {
            process,
            folder,
            device,
            group,
        };
        let end = Instant::now() + Duration::from_secs(120);
        while UnixStream::connect(agent.socket()).is_err() {
            assert!(Instant::now() < end, "the agent does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        agent
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Opens a connection.
    pub fn connect(&self) -> Host {
        let socket = UnixStream::connect(self.socket()).expect("a connection");
        socket
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a time limit");
        Host(socket)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: &Request) -> Response {
        self.connect().ask(request)
    }

    /// A container that runs `command`.
    pub fn container(&self, id: &str, command: &[&str]) -> Container {
        let rootfs = Rootfs {
            layers: vec![self.device.clone()],
            writable: Writable::Tmpfs {
                size: Some(16 << 20),
            },
        };
        let spec = serde_json::from_value(specification(command)).expect("a specification");
        Container {
            id: id.into(),
            rootfs,
            spec,
            user: String::new(),
            files: Vec::new(),
            stdin: false,
            hold: false,
        }
    }

    /// Prepares and creates a container.
    pub fn create(&self, container: Container) -> Response {
        let Container {
            id,
            rootfs,
            spec,
            user,
            files,
            stdin,
            hold,
        } = container;
        let prepare = Request::Prepare(Box::new(Prepare {
            runtime: None,
            name: id.clone(),
            rootfs,
            spec: spec.clone(),
            files: files.iter().map(|file| file.name.clone()).collect(),
            devices: false,
            network: false,
            filter: Filter::default(),
            program: None,
        }));
        match self.ask(&prepare) {
            Response::Ok => self.ask(&Request::Create(Box::new(Create {
                prepared: id.clone(),
                id,
                process: spec.process().clone().expect("a process"),
                hostname: spec.hostname().clone(),
                domainname: spec.domainname().clone(),
                user,
                files,
                stdin,
                options: CreateOptions {
                    hold,
                    ..CreateOptions::default()
                },
            }))),
            failed => failed,
        }
    }

    /// Creates and starts a container.
    pub fn run(&self, container: Container) -> Result<Host, Failure> {
        let id = container.id.clone();
        if let Response::Failed(failure) = self.create(container) {
            return Err(failure);
        }
        self.stream(&Request::Start { id, window: None })
    }

    /// Creates and starts a container, and takes what it says until it ends.
    pub fn output(&self, container: Container) -> Output {
        let id = container.id.clone();
        let output = self.run(container).expect("a container").finish();
        assert!(matches!(self.ask(&Request::Delete { id }), Response::Ok));
        output
    }

    /// A request that turns its connection into a stream.
    pub fn stream(&self, request: &Request) -> Result<Host, Failure> {
        let mut host = self.connect();
        match host.ask(request) {
            Response::Failed(failure) => Err(failure),
            _ => Ok(host),
        }
    }

    /// A request for a further process.
    pub fn exec(&self, id: &str, command: &[&str]) -> Box<Exec> {
        let process = specification(command)["process"].clone();
        let process = serde_json::from_value(process).expect("a process");
        Box::new(Exec {
            id: id.into(),
            process,
            user: String::new(),
            stdin: false,
            window: None,
        })
    }

    /// The agent's mounts.
    pub fn mounts(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let agent = fs::read_to_string(children).expect("children");
        fs::read_to_string(format!("/proc/{}/mounts", agent.trim())).expect("mounts")
    }

    /// Waits for the agent's own end.
    pub fn wait(mut self) -> bool {
        self.process.wait().expect("an end").success()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The groups stay behind when an agent is killed; they are removed from the innermost outwards.
        let script = "mount -t cgroup2 none \"$0\" && cd \"$0/$1\" && for i in 1 2 3 4 5 6 7 8; do \
            find . -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.1; done; cd / && rmdir \"$0/$1\"";
        let hierarchy = self.folder.path().join("cgroup");
        let _ = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(hierarchy)
            .arg(&self.group)
            .stderr(Stdio::null())
            .status();
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

/// The host's end of a connection.
pub struct Host(pub UnixStream);

/// What a process has said, and how it ended.
#[derive(Debug, Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: Option<ExitStatus>,
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Host {
    pub fn ask(&mut self, request: &Request) -> Response {
        frame::write_json(&mut self.0, Kind::Request, request).expect("sent");
        let (kind, payload) = frame::read(&mut self.0)
            .expect("a frame")
            .expect("an answer");
        assert_eq!(kind, Kind::Response);
        serde_json::from_slice(&payload).expect("a response")
    }

    pub fn send(&mut self, kind: Kind, payload: &[u8]) {
        frame::write(&mut self.0, kind, payload).expect("sent");
    }

    pub fn next(&mut self) -> Option<(Kind, Vec<u8>)> {
        frame::read(&mut self.0).expect("a frame")
    }

    /// Reads to the end.
    pub fn finish(mut self) -> Output {
        let mut output = Output::default();
        while let Some((kind, payload)) = self.next() {
            assert!(output.status.is_none(), "{kind:?} after the end");
            match kind {
                Kind::Stdout => output.stdout.extend(payload),
                Kind::Stderr => output.stderr.extend(payload),
                Kind::Exited => {
                    output.status = Some(serde_json::from_slice(&payload).expect("a status"))
                }
                other => panic!("{other:?}"),
            }
        }
        output
    }

    /// Reads standard output until it contains `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let (kind, payload) = self
                .next()
                .unwrap_or_else(|| panic!("an end after {seen:?}"));
            assert_eq!(
                kind,
                Kind::Stdout,
                "after {seen:?}: {}",
                String::from_utf8_lossy(&payload)
            );
            seen.push_str(&String::from_utf8_lossy(&payload));
        }
        seen
    }
}

/// Makes an EROFS image of busybox and a few users, and a loop device of it.
fn image(folder: &Path) -> String {
    let root = folder.join("root");
    for name in ["bin", "etc", "proc", "dev", "sys", "tmp", "home/app"] {
        fs::create_dir_all(root.join(name)).expect("a folder");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
    for applet in [
        "sh", "cat", "echo", "id", "pwd", "env", "sleep", "stty", "true", "false", "head", "yes",
        "kill", "tty", "ls", "mount", "grep", "tr",
    ] {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
            0o644,
        ),
        (
            "etc/group",
            "root:x:0:\napp:x:1000:\naudio:x:29:app\n",
            0o644,
        ),
        ("bin/noformat", "\u{1}\u{2}not a program", 0o755),
        ("etc/plain", "", 0o644),
    ];
    for (name, content, mode) in files {
        fs::write(root.join(name), content).expect("a file");
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode))
            .expect("permissions");
    }
    let file = folder.join("layer.erofs");
    let made = Command::new("mkfs.erofs")
        .arg("-Enoinline_data")
        .arg(&file)
        .arg(&root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("mkfs.erofs").success());
    let output = Command::new("losetup")
        .args(["--find", "--show", "--read-only"])
        .arg(&file)
        .output()
        .expect("losetup");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("a name")
        .trim()
        .to_owned()
}

fn specification(command: &[&str]) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_MKNOD",
    ];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": command,
            "env": ["PATH=/usr/bin:/bin", "GREETING=hello"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": false
        },
        "root": { "path": "rootfs" },
        "hostname": "test",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] }
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" }],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/nothing", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys"]
        }
    })
}
