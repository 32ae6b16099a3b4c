//! Programs, run by an interpreter of the few instructions that they have.

use super::*;
use crate::seccomp::DEFAULT;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// What a program says to a system call, and how many instructions that took.
fn run(program: &[u64], architecture: u32, number: i64, arguments: [u64; 6]) -> (u32, usize) {
    let mut data = Vec::new();
    data.extend_from_slice(&(number as u32).to_le_bytes());
    data.extend_from_slice(&architecture.to_le_bytes());
    data.extend_from_slice(&[0; 8]);
    for argument in arguments {
        data.extend_from_slice(&argument.to_le_bytes());
    }
    let (mut accumulator, mut at, mut steps) = (0_u32, 0, 0);
    loop {
        let word = program[at];
        let (code, then, otherwise, k) = (
            word as u16,
            (word >> 16) as u8,
            (word >> 24) as u8,
            (word >> 32) as u32,
        );
        steps += 1;
        at += 1;
        let holds = match code {
            LOAD => {
                let bytes = &data[k as usize..][..4];
                accumulator = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
                continue;
            }
            AND => {
                accumulator &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            RETURN => return (k, steps),
            EQUAL => accumulator == k,
            GREATER => accumulator > k,
            AT_LEAST => accumulator >= k,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { then } else { otherwise });
    }
}

fn default(capabilities: &[&str]) -> impl Fn(i64, u64) -> u32 {
    let profile: Profile = serde_json::from_str(DEFAULT).expect("JSON");
    let capabilities: Vec<_> = capabilities.iter().map(|c| (*c).to_owned()).collect();
    let program = compile(&profile, &capabilities).expect("a program");
    move |number, first| run(&program, AUDIT_ARCH_X86_64, number, [first, 0, 0, 0, 0, 0]).0
}

#[test]
fn the_default_profile_is_short_and_quickly_walked_through() {
    let profile: Profile = serde_json::from_str(DEFAULT).expect("JSON");
    let program = compile(&profile, &[]).expect("a program");
    assert!(program.len() < 250, "{}", program.len());
    let longest = (0..500)
        .map(|number| run(&program, AUDIT_ARCH_X86_64, number, [0; 6]).1)
        .max();
    assert!(longest < Some(40), "{longest:?}");
}

#[test]
fn the_default_profile_is_dockers() {
    let plain = default(&[]);
    for number in [
        libc::SYS_read,
        libc::SYS_execve,
        libc::SYS_ptrace,
        libc::SYS_arch_prctl,
    ] {
        assert_eq!(plain(number, 0), ALLOW, "{number}");
    }
    for number in [
        libc::SYS_mount,
        libc::SYS_bpf,
        libc::SYS_reboot,
        libc::SYS_keyctl,
        335 + 40,
    ] {
        assert_eq!(plain(number, 0), EPERM, "{number}");
    }
    assert_eq!(plain(libc::SYS_clone3, 0), ENOSYS);
    assert_eq!(plain(libc::SYS_clone, libc::SIGCHLD as u64), ALLOW);
    assert_eq!(plain(libc::SYS_clone, libc::CLONE_NEWUSER as u64), EPERM);
    assert_eq!(plain(libc::SYS_personality, 0xffff_ffff), ALLOW);
    assert_eq!(plain(libc::SYS_personality, 1), EPERM);
    assert_eq!(plain(libc::SYS_personality, 1 << 32), EPERM);
    for (family, expected) in [
        (libc::AF_INET, ALLOW),
        (libc::AF_ALG, EPERM),
        (39, ALLOW),
        (libc::AF_VSOCK, EPERM),
        (libc::AF_XDP, ALLOW),
    ] {
        assert_eq!(plain(libc::SYS_socket, family as u64), expected, "{family}");
    }
    // The numbers of x32.
    assert_eq!(plain(0x4000_0000, 0), EPERM);
    let admin = default(&["CAP_SYS_ADMIN", "CAP_SYS_BOOT"]);
    for number in [libc::SYS_mount, libc::SYS_clone3, libc::SYS_reboot] {
        assert_eq!(admin(number, 0), ALLOW, "{number}");
    }
    assert_eq!(admin(libc::SYS_clone, libc::CLONE_NEWUSER as u64), ALLOW);
}

#[test]
fn arguments_are_compared_in_all_of_their_bits() {
    let value = 5_u64 << 32 | 7;
    for (op, holds) in [
        ("EQ", [false, true, false, false, false]),
        ("NE", [true, false, true, true, true]),
        ("GT", [false, false, true, true, false]),
        ("GE", [false, true, true, true, false]),
        ("LT", [true, false, false, false, true]),
        ("LE", [true, true, false, false, true]),
    ] {
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_KILL",
            "syscalls": [{
                "name": "read", "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 1, "value": value, "op": format!("SCMP_CMP_{op}")}, {"index": 5, "value": 1, "op": "SCMP_CMP_EQ"}],
            }],
        });
        let profile: Profile = serde_json::from_value(profile).expect("a profile");
        let program = compile(&profile, &[]).expect("a program");
        let given = [value - 1, value, value + 1, 6 << 32, 4 << 32 | 9];
        for (given, expected) in given.into_iter().zip(holds) {
            let says = |sixth| run(&program, AUDIT_ARCH_X86_64, 0, [0, given, 0, 0, 0, sixth]).0;
            assert_eq!(says(1) == ALLOW, expected, "{op} {given:#x}");
            assert_eq!(says(0), 0);
        }
        assert_eq!(run(&program, 0x4000_0003, 0, [0; 6]).0, KILL_PROCESS);
    }
}

#[test]
fn a_long_program_reaches_its_end() {
    let profile: Profile = serde_json::from_str(DEFAULT).expect("JSON");
    let arguments: Vec<_> = (0..6)
        .map(|index| serde_json::json!({"index": index, "value": 1, "op": "SCMP_CMP_EQ"}))
        .collect();
    let mut long = profile;
    for (place, rule) in long.syscalls[0]
        .names
        .clone()
        .into_iter()
        .step_by(3)
        .enumerate()
    {
        let rule = serde_json::json!({
            "name": rule, "action": "SCMP_ACT_ERRNO", "errnoRet": place, "args": arguments,
        });
        long.syscalls
            .insert(0, serde_json::from_value(rule).expect("a rule"));
    }
    // Each rule without conditions replaces those with some.
    assert!(compile(&long, &[]).expect("a program").len() < 250);
    long.syscalls.retain(|rule| !rule.args.is_empty());
    let program = compile(&long, &[]).expect("a program");
    assert_eq!(run(&program, AUDIT_ARCH_X86_64, 462, [0; 6]).0, EPERM);
    assert_eq!(
        run(&program, AUDIT_ARCH_X86_64, libc::SYS_accept, [1; 6]).0,
        0x0005_0000
    );
}

#[test]
fn what_is_not_understood_is_refused() {
    let bad = |change: &dyn Fn(&mut Profile)| {
        let mut profile: Profile = serde_json::from_str(DEFAULT).expect("JSON");
        change(&mut profile);
        compile(&profile, &[]).expect_err("refused")
    };
    assert_eq!(
        bad(&|p| p.default_action = "SCMP_ACT_NOTIFY".into()),
        CompileError::Action("SCMP_ACT_NOTIFY".into())
    );
    assert_eq!(
        bad(&|p| p.syscalls[1].args[0].index = 6),
        CompileError::Argument(6)
    );
    assert_eq!(
        bad(&|p| p.syscalls[1].args[0].op = "X".into()),
        CompileError::Operator("X".into())
    );
}
