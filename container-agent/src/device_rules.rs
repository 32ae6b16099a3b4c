//! Which devices a control group's processes may use: a BPF program, as version 2 has no file for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::spec::DeviceRule;

/// Numbers of `linux/bpf.h`.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const EVERY_ACCESS: i32 = 7;

/// `struct bpf_insn`.
type Instruction = u64;

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 3],
}

/// The part of `union bpf_attr` that attaches one.
#[repr(C)]
struct Attach {
    group: i32,
    program: i32,
    kind: u32,
    flags: u32,
}

/// Binds the processes of a control group to the rules, of which the last that matches decides. No rules allow everything.
pub fn attach(group: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let program = program(rules);
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log: [0; 3],
    };
    // SAFETY: the pointers in it are of this function's data, which outlives the call.
    let program = unsafe { bpf(PROG_LOAD, &load) }?;
    // SAFETY: the kernel has just made the descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let attach = Attach {
        group: group.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: there is no pointer in it.
    unsafe { bpf(PROG_ATTACH, &attach) }.map(drop)
}

/// bpf(2).
///
/// # Safety
/// Pointers in the attribute have to be good for the call.
unsafe fn bpf<T>(command: libc::c_long, attribute: &T) -> io::Result<i32> {
    // SAFETY: the attribute is as long as is said; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attribute),
            size_of::<T>(),
        )
    };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    code as u64
        | ((from << 4 | to) as u64) << 8
        | (offset as u16 as u64) << 16
        | (value as u32 as u64) << 32
}

/// Registers: 0 the verdict, 1 the context and later anything, 2 the type, 3 the access, 4 major, 5 minor.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    const LOAD: u8 = 0x61;
    const MOVE: u8 = 0xbf;
    const MOVE_VALUE: u8 = 0xb7;
    const AND_VALUE: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const JUMP_UNLESS: u8 = 0x55;
    const EXIT: u8 = 0x95;
    let verdict = |allow: bool| {
        [
            instruction(MOVE_VALUE, 0, 0, 0, allow.into()),
            instruction(EXIT, 0, 0, 0, 0),
        ]
    };
    let mut program = vec![
        instruction(LOAD, 2, 1, 0, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND_VALUE, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD, 4, 1, 4, 0),
        instruction(LOAD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        // Each condition that fails goes on with the rule before: its register, and the value that it has to have.
        let mut conditions = Vec::new();
        match rule.kind.as_deref() {
            Some("b") => conditions.push((2, BLOCK)),
            Some("c" | "u") => conditions.push((2, CHARACTER)),
            _ => {}
        }
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            // A negative number is a wildcard.
            if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
                conditions.push((register, number as i32));
            }
        }
        let beyond = EVERY_ACCESS & !access(rule);
        if conditions.is_empty() && beyond == 0 {
            // It decides for whatever comes to it; the kernel takes no instructions that are never reached.
            program.extend(verdict(rule.allow));
            return program;
        }
        let mut left = conditions.len() as i16 + if beyond == 0 { 0 } else { 3 } + 2;
        for (register, value) in conditions {
            left -= 1;
            program.push(instruction(JUMP_UNLESS, register, 0, left, value));
        }
        if beyond != 0 {
            program.push(instruction(MOVE, 1, 3, 0, 0));
            program.push(instruction(AND_VALUE, 1, 0, 0, beyond));
            program.push(instruction(JUMP_UNLESS, 1, 0, 2, 0));
        }
        program.extend(verdict(rule.allow));
    }
    program.extend(verdict(true));
    program
}

/// What a rule is about: 1 mknod, 2 reading, 4 writing.
fn access(rule: &DeviceRule) -> i32 {
    let letters = rule.access.as_deref().unwrap_or("rwm");
    [('m', 1), ('r', 2), ('w', 4)]
        .iter()
        .filter(|(letter, _)| letters.contains(*letter))
        .fold(0, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: serde_json::Value) -> Vec<DeviceRule> {
        serde_json::from_value(json).expect("rules")
    }

    #[test]
    fn what_decides_for_all_ends_the_program() {
        let program = program(&rules(serde_json::json!([
            {"allow": true},
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        ])));
        // Six to look, three conditions, three for the access, and two verdicts.
        assert_eq!(program.len(), 6 + 3 + 3 + 2 + 2);
        let jump = |at: usize| (program[at] >> 16) as i16;
        // Past the first verdict, from wherever a condition fails.
        assert_eq!([6, 7, 8, 11].map(|at| at as i16 + jump(at) + 1), [14; 4]);
        assert_eq!(program[14] >> 32, 0, "what no rule allows is denied");
    }
}
