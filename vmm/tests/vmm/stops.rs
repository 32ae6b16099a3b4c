//! Every way in which a guest can stop is reported as what it was.

use crate::support::{has_kvm, kernel, start};
use rvm_vmm::config::{Config, HostKind, Start};
use rvm_vmm::control::{Command, Event, Stop};
use std::io::{Read, Seek};

/// Runs `code` and returns how the guest stopped.
fn stop_of(code: &[u8]) -> Stop {
    let mut vmm = start(&kernel(code), |_| {});
    assert_eq!(vmm.event(), Some(Event::Running));
    let Some(Event::Stopped(stop)) = vmm.event() else {
        panic!("no report")
    };
    assert!(vmm.process.wait().expect("wait").success());
    stop
}

#[test]
fn a_guest_that_switches_itself_off_is_reported_as_powered_off() {
    if has_kvm() {
        // mov dx, 0x600; mov al, 0x34; out dx, al
        assert_eq!(stop_of(b"\x66\xba\x00\x06\xb0\x34\xee\xf4"), Stop::PowerOff);
    }
}

#[test]
fn a_guest_that_pulls_the_reset_line_is_reported_as_reset() {
    if has_kvm() {
        // mov al, 0xfe; out 0x64, al
        assert_eq!(stop_of(b"\xb0\xfe\xe6\x64\xf4"), Stop::Reset);
    }
}

#[test]
fn a_guest_without_an_interrupt_table_that_faults_is_reported_with_its_registers() {
    if has_kvm() {
        // mov eax, 0x1234; ud2
        match stop_of(b"\xb8\x34\x12\x00\x00\x0f\x0b") {
            Stop::TripleFault { registers } => {
                assert!(registers.contains("rip 0x100005"), "{registers}");
                assert!(registers.contains("rax 0x1234"), "{registers}");
            }
            other => panic!("reported as {other:?}"),
        }
    }
}

#[test]
fn a_reset_after_a_panic_message_is_reported_as_a_panic_with_that_message() {
    if has_kvm() {
        // mov dx, 0x3f8; lea rsi, [rip + text]; mov ecx, length; rep outsb; mov al, 0xfe; out 0x64, al
        let text = b"Kernel panic - not syncing: so it goes\r\n";
        let mut code = b"\x66\xba\xf8\x03\x48\x8d\x35\x0b\x00\x00\x00\xb9".to_vec();
        code.extend_from_slice(&(text.len() as u32).to_le_bytes());
        code.extend_from_slice(b"\xf3\x6e\xb0\xfe\xe6\x64");
        code.extend_from_slice(text);
        match stop_of(&code) {
            Stop::GuestPanic { console } => assert!(console.ends_with("so it goes"), "{console}"),
            other => panic!("reported as {other:?}"),
        }
    }
}

#[test]
fn an_instruction_that_kvm_can_not_run_is_reported_with_its_bytes() {
    if !has_kvm() {
        return;
    }
    // popcnt eax, eax; then as for power-off
    let code = b"\xf3\x0f\xb8\xc0\x66\xba\x00\x06\xb0\x34\xee\xf4";
    let mut hardware = false;
    let vmm = start(&kernel(code), |config| {
        hardware = config.host == HostKind::Hardware
    });
    assert_eq!(vmm.event(), Some(Event::Running));
    match vmm.event() {
        Some(Event::Stopped(Stop::KvmError { message, registers })) if !hardware => {
            assert!(message.contains("f3, 0f, b8, c0"), "{message}");
            assert!(registers.contains("rip 0x100000"), "{registers}");
        }
        Some(Event::Stopped(Stop::PowerOff)) if hardware => {}
        other => panic!("reported as {other:?}"),
    }
}

#[test]
fn instructions_that_linux_needs_are_completed_where_kvm_hands_them_back() {
    if has_kvm() {
        // fwait; then as for power-off
        assert_eq!(
            stop_of(b"\x9b\x66\xba\x00\x06\xb0\x34\xee\xf4"),
            Stop::PowerOff
        );
    }
}

#[test]
fn what_the_guest_writes_to_the_serial_port_is_in_the_log() {
    if !has_kvm() {
        return;
    }
    // mov dx, 0x3f8; mov al, 'h'; out; mov al, 'i'; out; then as for power-off
    let code = b"\x66\xba\xf8\x03\xb0h\xee\xb0i\xee\x66\xba\x00\x06\xb0\x34\xee\xf4";
    let mut vmm = start(&kernel(code), |_| {});
    assert!(vmm.process.wait().expect("wait").success());
    let mut text = String::new();
    vmm.console.rewind().expect("rewind");
    vmm.console.read_to_string(&mut text).expect("read");
    assert_eq!(text, "hi");
}

/// A guest that does nothing for ever: `jmp $`.
const SPIN: &[u8] = b"\xeb\xfe";

#[test]
fn the_parent_can_end_a_guest_that_never_ends() {
    if !has_kvm() {
        return;
    }
    let mut vmm = start(&kernel(SPIN), |_| {});
    assert_eq!(vmm.event(), Some(Event::Running));
    let command = serde_json::to_vec(&Command::Stop).expect("JSON");
    rustix::net::send(&vmm.control, &command, rustix::net::SendFlags::empty()).expect("send");
    assert_eq!(vmm.event(), Some(Event::Stopped(Stop::Requested)));
    assert!(vmm.process.wait().expect("wait").success());
}

#[test]
fn a_vmm_whose_parent_is_gone_ends() {
    if !has_kvm() {
        return;
    }
    let mut vmm = start(&kernel(SPIN), |_| {});
    assert_eq!(vmm.event(), Some(Event::Running));
    rustix::net::shutdown(&vmm.control, rustix::net::Shutdown::Both).expect("shutdown");
    vmm.process.wait().expect("wait");
}

#[test]
fn what_can_not_be_set_up_is_said_in_one_sentence() {
    if !has_kvm() {
        return;
    }
    let failure = |kernel: &[u8], change: fn(&mut Config)| {
        let mut vmm = start(kernel, change);
        let Some(Event::Failed { message }) = vmm.event() else {
            panic!("no failure")
        };
        assert_eq!(vmm.process.wait().expect("wait").code(), Some(1));
        assert!(!message.contains('\n'), "{message}");
        message
    };
    let good = kernel(SPIN);
    assert!(failure(b"#!/bin/sh\n", |_| {}).contains("not an uncompressed 64-bit x86 ELF"));
    assert!(failure(&good[..70], |_| {}).contains("not an uncompressed 64-bit x86 ELF"));
    assert!(failure(&good, |config| config.vcpus = 0).contains("1 to 32 vCPUs"));
    assert!(failure(&good, |config| config.vcpus = 33).contains("1 to 32 vCPUs"));
    assert!(failure(&good, |config| config.memory_mib = 8).contains("64 MiB"));
    assert!(failure(&good, |config| config.memory_mib = 128).contains("file has"));
    let long = |config: &mut Config| {
        if let Start::Boot { cmdline, .. } = &mut config.start {
            *cmdline = "x".repeat(4000);
        }
    };
    assert!(failure(&good, long).contains("command line"));
}
