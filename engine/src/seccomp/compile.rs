//! From a profile to a BPF program (seccomp(2); linux/seccomp.h, linux/bpf_common.h).

use std::collections::BTreeMap;

use super::profile::{Argument, Profile};
use super::syscalls;

/// Why a profile does not become a program.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompileError {
    /// An action that is none, or one that needs a supervisor outside.
    #[error("the seccomp profile has the action '{0}', which is not supported")]
    Action(String),
    /// A comparison that is none.
    #[error("the seccomp profile compares by '{0}', which is not supported")]
    Operator(String),
    /// An argument that no system call has.
    #[error("the seccomp profile speaks of argument {0}, and system calls have 0 to 5")]
    Argument(u32),
    /// More conditions than a system call has arguments.
    #[error(
        "the seccomp profile has a rule with {0} conditions, and system calls have 6 arguments"
    )]
    Conditions(usize),
    /// A program that the kernel would not take.
    #[error("the seccomp profile has too many rules: {0} instructions, and {LIMIT} are allowed")]
    TooLong(usize),
}

/// `BPF_MAXINSNS`.
const LIMIT: usize = 4096;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const KILL_PROCESS: u32 = 0x8000_0000;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// An instruction: struct sock_filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    /// How many instructions are left out when the comparison holds, and when it does not.
    jumps: (u8, u8),
    k: u32,
}

impl Instruction {
    fn new(code: u16, k: u32) -> Self {
        Self {
            code,
            jumps: (0, 0),
            k,
        }
    }

    fn encode(self) -> u64 {
        let (then, otherwise) = self.jumps;
        u64::from(self.code)
            | u64::from(then) << 16
            | u64::from(otherwise) << 24
            | u64::from(self.k) << 32
    }
}

/// What is done with one system call: the first entry whose conditions hold, or the default.
#[derive(Clone, Debug, Default, PartialEq)]
struct Treatment(Vec<(Vec<Compare>, u32)>);

#[derive(Clone, Debug, PartialEq)]
struct Compare {
    index: u32,
    how: How,
    mask: u64,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Equal,
    NotEqual,
    Greater,
    AtLeast,
    Less,
    AtMost,
}

/// Compiles what of a profile holds for a container with these capabilities, as instructions of the kernel's `struct sock_filter`.
pub fn compile(profile: &Profile, capabilities: &[String]) -> Result<Vec<u64>, CompileError> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut treatments: BTreeMap<u32, Treatment> = BTreeMap::new();
    for rule in profile
        .syscalls
        .iter()
        .filter(|rule| rule.holds(capabilities))
    {
        let result = action(&rule.action, rule.errno_ret)?;
        if rule.args.len() > 6 {
            return Err(CompileError::Conditions(rule.args.len()));
        }
        let compares = rule
            .args
            .iter()
            .map(compare)
            .collect::<Result<Vec<_>, _>>()?;
        // What only other architectures have needs no rule here.
        for number in rule.all_names().filter_map(syscalls::number) {
            let entries = &mut treatments.entry(number).or_default().0;
            if compares.is_empty() {
                // Whatever the arguments are: the entries with conditions say nothing more.
                entries.clear();
            } else if entries.iter().any(|(compares, _)| compares.is_empty()) {
                continue;
            }
            entries.push((compares.clone(), result));
        }
    }
    let mut program = vec![
        Instruction::new(LOAD, ARCHITECTURE),
        Instruction {
            jumps: (1, 0),
            ..Instruction::new(EQUAL, AUDIT_ARCH_X86_64)
        },
        Instruction::new(RETURN, KILL_PROCESS),
        Instruction::new(LOAD, NUMBER),
    ];
    program.extend(search(&runs(treatments), default));
    if program.len() > LIMIT {
        return Err(CompileError::TooLong(program.len()));
    }
    Ok(program.into_iter().map(Instruction::encode).collect())
}

/// Runs of numbers that are treated alike, each with its first number; together they cover all numbers.
fn runs(treatments: BTreeMap<u32, Treatment>) -> Vec<(u32, Treatment)> {
    let mut runs: Vec<(u32, Treatment)> = vec![(0, Treatment::default())];
    let mut next = 0;
    for (number, treatment) in treatments {
        if number > next {
            add(&mut runs, next, Treatment::default());
        }
        add(&mut runs, number, treatment);
        next = number + 1;
    }
    add(&mut runs, next, Treatment::default());
    runs
}

fn add(runs: &mut Vec<(u32, Treatment)>, first: u32, treatment: Treatment) {
    match runs.last_mut() {
        Some((_, last)) if *last == treatment => {}
        Some((begin, last)) if *begin == first => *last = treatment,
        _ => runs.push((first, treatment)),
    }
}

/// Code that finds the run of the number in the accumulator by halving.
fn search(runs: &[(u32, Treatment)], default: u32) -> Vec<Instruction> {
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let ([_, ..], [(first, _), ..]) = (lower, upper) else {
        return runs
            .first()
            .map_or(Vec::new(), |(_, only)| treat(only, default));
    };
    let lower = search(lower, default);
    let compare = Instruction::new(AT_LEAST, *first);
    let mut code = match u8::try_from(lower.len()) {
        Ok(length) => vec![Instruction {
            jumps: (length, 0),
            ..compare
        }],
        // Conditional jumps reach no further than 255 instructions.
        Err(_) => vec![
            Instruction {
                jumps: (0, 1),
                ..compare
            },
            Instruction::new(JUMP, lower.len() as u32),
        ],
    };
    code.extend(lower);
    code.extend(search(upper, default));
    code
}

fn treat(treatment: &Treatment, default: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    let mut last = default;
    for (compares, result) in &treatment.0 {
        if compares.is_empty() {
            last = *result;
            break;
        }
        code.extend(check(compares, *result));
    }
    code.push(Instruction::new(RETURN, last));
    code
}

/// Where a comparison leads.
#[derive(Clone, Copy, PartialEq)]
enum To {
    /// The next instruction.
    Next,
    /// Behind this condition: it holds.
    Holds,
    /// Behind the whole rule: it does not hold.
    Fails,
}

/// Code that returns `result` if all conditions hold, and goes on behind itself otherwise.
fn check(compares: &[Compare], result: u32) -> Vec<Instruction> {
    let conditions: Vec<_> = compares.iter().map(condition).collect();
    let length = conditions.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(length);
    for condition in conditions {
        let end = code.len() + condition.len();
        for (instruction, then, otherwise) in condition {
            let behind = code.len() + 1;
            // Six conditions at most, of eight instructions at most.
            let distance = |to: To| match to {
                To::Next => 0,
                To::Holds => (end - behind) as u8,
                To::Fails => (length - behind) as u8,
            };
            code.push(Instruction {
                jumps: (distance(then), distance(otherwise)),
                ..instruction
            });
        }
    }
    code.push(Instruction::new(RETURN, result));
    code
}

/// A comparison of the 64 bits of an argument, 32 at a time.
fn condition(compare: &Compare) -> Vec<(Instruction, To, To)> {
    use How::{AtLeast, AtMost, Equal, Greater, Less, NotEqual};
    use To::{Fails, Holds, Next};
    let offset = ARGUMENTS + 8 * compare.index;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let ((mask_high, mask_low), (high, low)) = (halves(compare.mask), halves(compare.value));
    let plain = |code, k| (Instruction::new(code, k), Next, Next);
    let jump = |code, k, then, otherwise| (Instruction::new(code, k), then, otherwise);
    let mut code = vec![plain(LOAD, offset + 4)];
    if mask_high != u32::MAX {
        code.push(plain(AND, mask_high));
    }
    match compare.how {
        Equal => code.push(jump(EQUAL, high, Next, Fails)),
        NotEqual => code.push(jump(EQUAL, high, Next, Holds)),
        Greater | AtLeast => {
            code.push(jump(GREATER, high, Holds, Next));
            code.push(jump(EQUAL, high, Next, Fails));
        }
        Less | AtMost => {
            code.push(jump(GREATER, high, Fails, Next));
            code.push(jump(EQUAL, high, Next, Holds));
        }
    }
    code.push(plain(LOAD, offset));
    if mask_low != u32::MAX {
        code.push(plain(AND, mask_low));
    }
    code.push(match compare.how {
        Equal => jump(EQUAL, low, Next, Fails),
        NotEqual => jump(EQUAL, low, Fails, Next),
        Greater => jump(GREATER, low, Next, Fails),
        AtLeast => jump(AT_LEAST, low, Next, Fails),
        Less => jump(AT_LEAST, low, Fails, Next),
        AtMost => jump(GREATER, low, Fails, Next),
    });
    code
}

fn compare(argument: &Argument) -> Result<Compare, CompileError> {
    if argument.index > 5 {
        return Err(CompileError::Argument(argument.index));
    }
    let (how, mask, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (How::Equal, u64::MAX, argument.value),
        "SCMP_CMP_NE" => (How::NotEqual, u64::MAX, argument.value),
        "SCMP_CMP_GT" => (How::Greater, u64::MAX, argument.value),
        "SCMP_CMP_GE" => (How::AtLeast, u64::MAX, argument.value),
        "SCMP_CMP_LT" => (How::Less, u64::MAX, argument.value),
        "SCMP_CMP_LE" => (How::AtMost, u64::MAX, argument.value),
        "SCMP_CMP_MASKED_EQ" => (How::Equal, argument.value, argument.value_two),
        other => return Err(CompileError::Operator(other.to_owned())),
    };
    Ok(Compare {
        index: argument.index,
        how,
        mask,
        value,
    })
}

/// An action as the kernel has it.
fn action(name: &str, errno: Option<u32>) -> Result<u32, CompileError> {
    // Without a number, an error is EPERM, as with Docker.
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    Ok(match name {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        other => return Err(CompileError::Action(other.to_owned())),
    })
}

#[cfg(test)]
mod tests;
