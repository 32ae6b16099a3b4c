//! A state that was tampered with, checksum and all, is refused, or makes a guest that is of no use: the VMM survives it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rvm_vmm::config::{Disk, Vsock};
use rvm_vmm::control::Event;
use serde_json::{Value, json};

use crate::snapshots::{Snapshot, restore_with, snapshot_of};
use crate::support::{FURTHER_FD, MEMORY_MIB, Vmm, has_kvm};

/// Magic, version and checksum.
const HEADER: usize = 16;

/// Devices with a state worth tampering with, whose descriptors come behind those of the snapshot.
fn devices(first: i32) -> (Vec<OwnedFd>, impl FnOnce(&mut rvm_vmm::config::Config)) {
    let disk = tempfile::tempfile().expect("disk");
    disk.set_len(1 << 20).expect("size");
    let pair = || {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
    };
    let (broker, _) = pair().expect("socketpair");
    let change = move |config: &mut rvm_vmm::config::Config| {
        config.disks = vec![Disk {
            fd: first,
            read_only: false,
            size: None,
            serial: String::new(),
        }];
        config.vsock = Some(Vsock {
            cid: 3,
            broker_fd: first + 1,
        });
    };
    (vec![disk.into(), broker], change)
}

/// What a leaf, or a whole part, of the state is replaced by.
fn replacement() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(u8::MAX)),
        Just(json!(u16::MAX)),
        Just(json!(u32::MAX)),
        Just(json!(u64::MAX)),
        Just(json!(-1)),
        any::<u64>().prop_map(|number| json!(number)),
        Just(json!(true)),
        Just(json!(false)),
        Just(Value::Null),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[]]]])),
    ]
}

/// Goes down from the whole, by one number a level, and replaces, doubles or removes what is there at last.
fn tamper(state: &mut Value, path: &[usize], with: Value, how: u8) {
    let mut at = state;
    for step in path {
        let count = match &*at {
            Value::Array(list) => list.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        if count == 0 {
            break;
        }
        at = match at {
            Value::Array(list) => &mut list[step % count],
            Value::Object(fields) => fields.values_mut().nth(step % count).expect("a field"),
            _ => return,
        };
    }
    match (how % 4, at) {
        (0, Value::Array(list)) => {
            list.pop();
        }
        (1, Value::Array(list)) => {
            let twice = list.clone();
            list.extend(twice);
        }
        (_, at) => *at = with,
    }
}

#[test]
fn a_state_that_was_tampered_with_does_no_harm() {
    if !has_kvm() {
        return;
    }
    let (files, change) = devices(FURTHER_FD);
    let mut snapshot = snapshot_of(files, change);
    let mut bytes = Vec::new();
    snapshot.state.rewind().expect("rewind");
    snapshot.state.read_to_end(&mut bytes).expect("state");
    let state: Value = serde_json::from_slice(&bytes[HEADER..]).expect("JSON");
    let runs = Runs {
        cases: 400,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Runs::default()
    };
    let fixed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(runs, fixed);
    let steps = prop::collection::vec(any::<usize>(), 1..9);
    let change = prop::collection::vec((steps, replacement(), any::<u8>()), 1..4);
    let result = runner.run(&change, |changes| {
        let mut tampered = state.clone();
        for (path, with, how) in changes {
            tamper(&mut tampered, &path, with, how);
        }
        survives(&snapshot.memory, &bytes[..HEADER - 4], &tampered);
        Ok(())
    });
    result.expect("the VMM survives");
}

/// Gives the state to a VMM, which may refuse it or run it, but neither panics nor dies.
fn survives(memory: &File, begin: &[u8], state: &Value) {
    let json = serde_json::to_vec(state).expect("JSON");
    let mut file = tempfile::tempfile().expect("state");
    let checksum = crc32fast::hash(&json).to_le_bytes();
    for part in [begin, &checksum, &json] {
        file.write_all(part).expect("write");
    }
    let tampered = Snapshot {
        state: file,
        memory: memory.try_clone().expect("memory"),
    };
    let (files, change) = devices(FURTHER_FD + 2);
    let mut vmm: Vmm = restore_with(&tampered, MEMORY_MIB, files, change);
    match vmm.event() {
        Some(Event::Running) => {}
        Some(Event::Failed { .. }) => {
            let status = vmm.process.wait().expect("wait");
            assert!(status.signal().is_none(), "{status}: {state}");
            assert_ne!(status.code(), Some(101), "it has panicked: {state}");
        }
        other => panic!("{other:?}, {:?}: {state}", vmm.process.wait()),
    }
}
