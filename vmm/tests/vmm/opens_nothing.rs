//! After the VMM has read its configuration it opens nothing, judged by strace.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Command;

use crate::support::{FURTHER_FD, has_kvm, kernel, start_as};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rvm_vmm::config::{Disk, Vsock};
use rvm_vmm::control::Event;

/// System calls by which a process gets at something that it was not given.
const OPENING: &str = "open,openat,openat2,creat,socket,connect,bind,execve,execveat,memfd_create,open_by_handle_at,\
                       pidfd_open,pidfd_getfd,mount,io_uring_setup,bpf,perf_event_open,userfaultfd";

#[test]
fn after_it_has_read_its_configuration_the_vmm_opens_nothing() {
    if !has_kvm() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let trace = folder.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace);
    strace.args([
        "-e",
        &format!("trace={OPENING},recvfrom"),
        "--",
        env!("CARGO_BIN_EXE_rvm-vmm"),
    ]);
    let disk = tempfile::tempfile().expect("disk");
    disk.set_len(1 << 20).expect("size");
    let (broker, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("socketpair");
    let further: Vec<OwnedFd> = vec![disk.into(), theirs];
    // mov dx, 0x600; mov al, 0x34; out dx, al: the guest switches itself off
    let guest = kernel(b"\x66\xba\x00\x06\xb0\x34\xee\xf4");
    let mut vmm = start_as(strace, &guest, further, |config| {
        config.disks = vec![Disk {
            fd: FURTHER_FD,
            read_only: false,
            size: None,
            serial: "d".into(),
        }];
        config.vsock = Some(Vsock {
            cid: 3,
            broker_fd: FURTHER_FD + 1,
        });
    });
    assert_eq!(vmm.event(), Some(Event::Running));
    assert!(vmm.process.wait().expect("wait").success());
    drop(broker);

    let trace = std::io::read_to_string(File::open(trace).expect("trace")).expect("read");
    assert!(
        trace.contains("/proc/self/maps"),
        "strace saw nothing:\n{trace}"
    );
    let (_, after) = trace
        .rsplit_once("/proc/self/maps")
        .expect("the last file of the start-up");
    let opened: Vec<&str> = after
        .lines()
        .skip(1)
        .filter(|line| !line.contains("recvfrom"))
        .collect();
    assert!(opened.is_empty(), "{opened:#?}");
}
