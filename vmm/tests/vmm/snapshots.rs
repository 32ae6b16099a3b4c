//! A guest goes on from its snapshot, as often as one likes, and what is not a fitting snapshot is refused.

use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rvm_vmm::config::{Config, Start};
use rvm_vmm::control::{Command, Event, Stop};

use crate::support::{FURTHER_FD, MEMORY_MIB, Vmm, has_kvm, kernel, reopened, start, start_as};

/// Writes an empty line, waits for 6.4 billion cycles, writes `b`, and switches itself off.
const WAITING: &[u8] = b"\x66\xba\xf8\x03\xb0\n\xee\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\x48\x89\xc3\x0f\x31\x48\xc1\xe2\
    \x20\x48\x09\xd0\x48\x29\xd8\x48\xc1\xe8\x02\x48\x3d\x00\x00\x00\x60\x72\xe8\x66\xba\xf8\x03\xb0b\xee\x66\xba\x00\x06\xb0\x34\xee";

/// How long a guest may take to its first output.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of a snapshot.
pub struct Snapshot {
    pub state: File,
    pub memory: File,
}

/// A snapshot of a guest that waits.
fn snapshot() -> Snapshot {
    snapshot_of(Vec::new(), |_| {})
}

/// A snapshot of a guest that waits, with devices whose descriptors are `further`.
pub fn snapshot_of(further: Vec<OwnedFd>, change: impl FnOnce(&mut Config)) -> Snapshot {
    let command = Process::new(env!("CARGO_BIN_EXE_rvm-vmm"));
    let vmm = start_as(command, &kernel(WAITING), further, change);
    assert_eq!(vmm.event(), Some(Event::Running));
    wait_for_output(&vmm);
    let snapshot = Snapshot {
        state: tempfile::tempfile().expect("state"),
        memory: tempfile::tempfile().expect("memory"),
    };
    assert_eq!(ask(&vmm, &Command::Pause, &[]), Event::Done);
    let pagemap = pagemap(&vmm);
    let files = [&snapshot.state, &snapshot.memory, &pagemap];
    assert_eq!(ask(&vmm, &Command::Snapshot, &files), Event::Done);
    snapshot
}

/// Waits until the guest has written its line: that it runs is told before its first instruction.
fn wait_for_output(vmm: &Vmm) {
    let begin = Instant::now();
    while vmm.console.metadata().expect("console").len() == 0 {
        assert!(begin.elapsed() < PATIENCE, "the guest writes nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pagemap(vmm: &Vmm) -> File {
    File::open(format!("/proc/{}/pagemap", vmm.process.id())).expect("pagemap")
}

/// Gives a command with files and returns the answer.
fn ask(vmm: &Vmm, command: &Command, files: &[&File]) -> Event {
    let bytes = serde_json::to_vec(command).expect("JSON");
    let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    sendmsg(
        &vmm.control,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::empty(),
    )
    .expect("sendmsg");
    vmm.event().expect("an answer")
}

/// Starts a guest from `snapshot`, with `memory_mib` in its configuration.
fn restore(snapshot: &Snapshot, memory_mib: u64) -> Vmm {
    restore_with(snapshot, memory_mib, Vec::new(), |_| {})
}

/// As [`restore`], with devices whose descriptors are `more`, behind the two of the snapshot.
pub fn restore_with(
    snapshot: &Snapshot,
    memory_mib: u64,
    more: Vec<OwnedFd>,
    change: impl FnOnce(&mut Config),
) -> Vmm {
    let mut further: Vec<OwnedFd> = vec![
        reopened(&snapshot.state).into(),
        reopened(&snapshot.memory).into(),
    ];
    further.extend(more);
    start_as(
        Process::new(env!("CARGO_BIN_EXE_rvm-vmm")),
        &[],
        further,
        |config| {
            config.start = Start::Restore {
                state_fd: FURTHER_FD,
                memory_fd: FURTHER_FD + 1,
            };
            config.memory_mib = memory_mib;
            change(config);
        },
    )
}

fn console(vmm: &mut Vmm) -> String {
    let mut text = String::new();
    vmm.console.rewind().expect("rewind");
    vmm.console.read_to_string(&mut text).expect("read");
    text
}

#[test]
fn a_guest_goes_on_from_its_snapshot_more_than_once() {
    if !has_kvm() {
        return;
    }
    let snapshot = snapshot();
    let mut clones = [
        restore(&snapshot, MEMORY_MIB),
        restore(&snapshot, MEMORY_MIB),
    ];
    for clone in &mut clones {
        assert_eq!(clone.event(), Some(Event::Running));
        assert_eq!(clone.event(), Some(Event::Stopped(Stop::PowerOff)));
        assert!(clone.process.wait().expect("wait").success());
        assert_eq!(console(clone), "b");
    }
}

#[test]
fn a_snapshot_of_a_guest_that_used_little_memory_is_small() {
    if has_kvm() {
        let memory = snapshot().memory.metadata().expect("metadata");
        assert_eq!(memory.len(), MEMORY_MIB << 20);
        assert!(
            memory.blocks() * 512 < 1 << 20,
            "{} blocks",
            memory.blocks()
        );
    }
}

#[test]
fn a_paused_guest_stands_still_until_it_is_resumed() {
    if !has_kvm() {
        return;
    }
    let mut vmm = start(&kernel(WAITING), |_| {});
    assert_eq!(vmm.event(), Some(Event::Running));
    assert_eq!(ask(&vmm, &Command::Pause, &[]), Event::Done);
    assert_eq!(ask(&vmm, &Command::Pause, &[]), Event::Done);
    assert!(!console(&mut vmm).contains('b'));
    assert_eq!(ask(&vmm, &Command::Resume, &[]), Event::Done);
    assert_eq!(vmm.event(), Some(Event::Stopped(Stop::PowerOff)));
}

#[test]
fn a_snapshot_of_a_running_guest_or_without_its_files_is_refused() {
    if !has_kvm() {
        return;
    }
    let vmm = start(&kernel(WAITING), |_| {});
    assert_eq!(vmm.event(), Some(Event::Running));
    let refused = |event| match event {
        Event::Refused { message } => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(ask(&vmm, &Command::Snapshot, &[])).contains("three descriptors"));
    let file = tempfile::tempfile().expect("file");
    let answer = ask(&vmm, &Command::Snapshot, &[&file, &file, &file]);
    assert!(refused(answer).contains("pause it first"));
}

#[test]
fn a_balloon_that_leaves_the_guest_nothing_is_refused() {
    if !has_kvm() {
        return;
    }
    let vmm = start(&kernel(WAITING), |_| {});
    assert_eq!(vmm.event(), Some(Event::Running));
    let balloon = |mib| ask(&vmm, &Command::Balloon { mib }, &[]);
    for mib in [MEMORY_MIB, MEMORY_MIB + 1, u64::MAX] {
        match balloon(mib) {
            Event::Refused { message } => assert!(message.contains("64 MiB"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(balloon(MEMORY_MIB - 1), Event::Done);
    assert_eq!(balloon(0), Event::Done);
}

#[test]
fn a_snapshot_that_is_damaged_or_of_another_machine_is_refused() {
    if !has_kvm() {
        return;
    }
    let mut snapshot = snapshot();
    let failure = |snapshot: &Snapshot, memory_mib| match restore(snapshot, memory_mib).event() {
        Some(Event::Failed { message }) => message,
        other => panic!("{other:?}"),
    };
    assert!(failure(&snapshot, 2 * MEMORY_MIB).contains("guest with 64 MiB and 1 vCPUs"));
    snapshot.state.rewind().expect("rewind");
    snapshot.state.write_all(b"RVMSNAP\n\x63").expect("write");
    assert!(failure(&snapshot, MEMORY_MIB).contains("format 99"));
    snapshot.state.set_len(0).expect("truncate");
    assert!(failure(&snapshot, MEMORY_MIB).contains("no snapshot"));
}
