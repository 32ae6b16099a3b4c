//! Preparing a container: what it is in, its files, and its process up to the point where it waits to be told who it is.

use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rvm_agent_protocol::{Failure, File};

use super::{Container, Create, Phase, Prepare, check_name, other, stream_failure};
use crate::cgroup::Cgroup;
use crate::guest_devices;
use crate::inside::Inside;
use crate::machine::Machine;
use crate::oci_runtime::OciRuntime;
use crate::rootfs::Root;
use crate::runtime::identity::Identity;
use crate::runtime::pins::Pins;
use crate::runtime::{self, Prepared, Waiting};
use crate::spec::Process;
use crate::stdio::{self, Offer};
use crate::stream::Ends;
use crate::user::{self, Accounts};

/// What a container waits with.
pub(super) struct Preparation {
    process: Prepared,
    streams: Offer,
    accounts: Accounts,
}

/// Makes a container around its root file system. Nothing stays behind after an error.
pub(super) fn build(
    mut request: Prepare,
    folder: &Path,
    files: Vec<(String, fs::File)>,
    mut root: Root,
    machine: Machine,
) -> Result<Container, Failure> {
    if request.devices {
        request.spec.linux.devices.extend(guest_devices::list());
    }
    let made = Inside::open(&root.path())
        .map_err(|e| other(format!("the root file system cannot be opened: {e}")))
        .and_then(|inside| {
            // Read here, because what is read before a guest is saved is read once.
            let accounts = Accounts::read(&inside);
            let path = request.spec.linux.cgroups_path.clone();
            let path = path.unwrap_or_else(|| PathBuf::from(&request.name));
            let cgroup = Cgroup::make(&path, &request.spec.linux.resources)?;
            Ok((accounts, cgroup))
        });
    let (accounts, cgroup) = match made {
        Ok(made) => made,
        Err(failure) => {
            root.unmount();
            return Err(failure);
        }
    };
    let (pid, phase, pins, runtime) = match request.runtime.take() {
        Some(runtime) => {
            let devices = match request.devices {
                true => std::mem::take(&mut request.spec.linux.devices),
                false => Vec::new(),
            };
            let runtime = OciRuntime::new(runtime, devices, folder);
            (0, Phase::Bundled(Box::new(accounts)), None, Some(runtime))
        }
        None => match first_process(&request, &root, &cgroup, machine) {
            Ok((process, streams, pins)) => {
                let pid = process.pid();
                let preparation = Preparation {
                    process,
                    streams,
                    accounts,
                };
                (
                    pid,
                    Phase::Prepared(Box::new(preparation)),
                    Some(pins),
                    None,
                )
            }
            Err(failure) => {
                let _ = cgroup.signal(libc::SIGKILL);
                cgroup.remove();
                root.unmount();
                return Err(failure);
            }
        },
    };
    Ok(Container {
        pid,
        stream: 0,
        phase,
        folder: folder.to_owned(),
        spec: request.spec,
        filter: request.filter,
        files,
        groups: Vec::new(),
        hostname: None,
        root,
        cgroup,
        pins,
        runtime,
        killed: false,
    })
}

/// Makes a container's first process, which waits to be told who it is.
fn first_process(
    request: &Prepare,
    root: &Root,
    cgroup: &Cgroup,
    machine: Machine,
) -> Result<(Prepared, Offer, Pins), Failure> {
    let (streams, offered) = stdio::offer().map_err(stream_failure)?;
    let process = runtime::prepare(request, &root.path(), cgroup.entry(), offered)?;
    let pins = Pins::of(process.pid())?;
    // What has to be written would be written by every guest that goes on from here.
    machine.sync();
    Ok((process, streams, pins))
}

impl Preparation {
    /// Tells the process who it is.
    pub(super) fn create(
        self,
        request: Create,
        own_files: &[(String, fs::File)],
        root: &Path,
    ) -> Result<(Waiting, Ends), Failure> {
        let Create {
            mut process,
            user,
            stdin,
            files,
            options,
            ..
        } = request;
        write_files(own_files, &files)?;
        apply_user(&mut process, &user, &options.groups, &self.accounts)?;
        let folder = &process.cwd;
        if folder != Path::new("/") {
            Inside::open(root)
                .and_then(|inside| inside.make_folder(folder))
                .map_err(|e| {
                    other(format!(
                        "the working directory {} could not be made: {e}",
                        folder.display()
                    ))
                })?;
        }
        self.streams
            .give_to(process.user.uid)
            .map_err(stream_failure)?;
        let waiting = self.process.identify(&Identity {
            process: &process,
            stdin,
            options: &options,
        })?;
        let ends = self
            .streams
            .ends(process.terminal, stdin)
            .map_err(stream_failure)?;
        Ok((waiting, ends))
    }
}

/// Sets what depends on the image's users: numbers, groups and the home folder.
pub(super) fn apply_user(
    process: &mut Process,
    text: &str,
    more_groups: &[String],
    accounts: &Accounts,
) -> Result<(), Failure> {
    let given = &mut process.user;
    let numbers = format!("{}:{}", given.uid, given.gid);
    // Without a text, the numbers of the specification count; of both being 0 it is as if nothing was said.
    let text = if text.is_empty() && numbers != "0:0" {
        numbers.as_str()
    } else {
        text
    };
    let user = user::resolve(text, &accounts.passwd, &accounts.group)?;
    let mut groups = user.groups;
    for group in more_groups {
        let gid = user::group(group, &accounts.group)?;
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    groups.extend(
        given
            .additional_gids
            .iter()
            .filter(|gid| !groups.contains(gid))
            .collect::<Vec<_>>(),
    );
    if let Some(capabilities) = &mut process.capabilities {
        runtime::capability::restrict(capabilities)
            .map_err(|e| other(format!("the own capabilities could not be read: {e}")))?;
    }
    let given = &mut process.user;
    given.uid = user.uid;
    given.gid = user.gid;
    given.additional_gids = groups;
    if process.variable("HOME").is_none_or(str::is_empty) {
        process
            .env
            .retain(|assignment| !assignment.starts_with("HOME="));
        process.env.push(format!("HOME={}", user.home));
    }
    Ok(())
}

/// Makes the empty files that a specification's mounts bind.
pub(super) fn make_files(
    folder: &Path,
    names: &[String],
) -> Result<Vec<(String, fs::File)>, Failure> {
    let make = |name: &String| {
        check_name("file name", name)?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(folder.join(name))
            .map_err(|e| other(format!("the file {name} could not be made: {e}")))?;
        Ok((name.clone(), file))
    };
    names.iter().map(make).collect()
}

/// Fills files that exist. What was there before is overwritten and cut off behind, which keeps its page.
pub(super) fn write_files(own: &[(String, fs::File)], files: &[File]) -> Result<(), Failure> {
    for File { name, content } in files {
        let (_, file) = own
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| other(format!("the file {name} was not prepared")))?;
        let length = content.len() as u64;
        file.write_all_at(content.as_bytes(), 0)
            .and_then(|()| match file.metadata()?.len() > length {
                true => file.set_len(length),
                false => Ok(()),
            })
            .map_err(|e| other(format!("the file {name} could not be written: {e}")))?;
    }
    Ok(())
}
