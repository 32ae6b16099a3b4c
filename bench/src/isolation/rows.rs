//! The findings as rows of a table: a question, and an answer for each isolation.

use rvm_workload::{Probe, Reach};
use serde::Serialize;

use crate::units::{Unit, whole};

/// A question with its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was looked at.
    pub question: &'static str,
    /// What was found, in the order of the isolations.
    pub answers: Vec<String>,
}

/// A question, and how it is answered from what was found inside and on the host.
type Question = (&'static str, fn(&Probe, &Probe) -> String);

const QUESTIONS: [Question; 20] = [
    ("kernel", |found, host| whose(&found.kernel, found, host)),
    ("running for", |found, host| {
        whose(&time(found.uptime), found, host)
    }),
    ("kernel's command line", |found, host| {
        match found.cmdline.as_str() {
            "" => "hidden".to_owned(),
            line if line == host.cmdline => "the host's".to_owned(),
            _ => "its own".to_owned(),
        }
    }),
    ("processors", |found, _| {
        format!("{} × {}", found.processors, found.processor)
    }),
    ("memory", |found, host| {
        let size = Unit::Bytes.show(found.memory_kib as f64 * 1024.0);
        match found.memory_kib == host.memory_kib {
            true => format!("{size}, the host's"),
            false => size,
        }
    }),
    ("processes seen", processes),
    ("device nodes", |found, _| list(&found.devices)),
    ("disks told of", |found, host| {
        match found.disks == host.disks {
            true if !host.disks.is_empty() => format!("the host's: {}", list(&found.disks)),
            _ => list(&found.disks),
        }
    }),
    ("system calls reachable", |found, _| {
        calls(found, Reach::Reachable)
    }),
    ("system calls refused", |found, _| {
        calls(found, Reach::Refused)
    }),
    ("system calls absent", |found, _| {
        calls(found, Reach::Absent)
    }),
    ("new user namespace", |found, _| yes(found.user_namespaces)),
    ("kernel files to write", |found, _| list(&found.writable)),
    ("kernel memory, addresses, log", |found, _| {
        let leaks = [
            (found.kcore, "/proc/kcore"),
            (found.kernel_addresses, "/proc/kallsyms"),
            (found.kernel_log, "dmesg"),
        ];
        let leaks = leaks.iter().filter(|(there, _)| *there);
        list(
            &leaks
                .map(|(_, name)| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
    }),
    ("host's sockets", |found, _| match found.abstract_sockets {
        0 => list(&found.sockets),
        count => format!("{}; {count} abstract", list(&found.sockets)),
    }),
    ("namespaces", namespaces),
    ("capabilities", |found, _| {
        format!(
            "{}: {}",
            found.capabilities.len(),
            list(&found.capabilities)
        )
    }),
    ("seccomp", |found, _| {
        let filter = match found.seccomp {
            0 => "none",
            1 => "strict",
            _ => "a filter",
        };
        match found.no_new_privileges {
            true => format!("{filter}, no new privileges"),
            false => filter.to_owned(),
        }
    }),
    ("control group", |found, _| found.cgroup.clone()),
    ("clock can be set", |found, _| yes(found.clock)),
];

/// All questions with their answers.
pub fn of(found: &[Probe], host: &Probe) -> Vec<Row> {
    let rows = QUESTIONS.iter().map(|(question, answer)| Row {
        question,
        answers: found.iter().map(|found| answer(found, host)).collect(),
    });
    let reached = Row {
        question: "what is reached next",
        answers: found
            .iter()
            .map(|found| match is_hosts(found, host) {
                true => "the host's kernel, with all that runs on it".to_owned(),
                false => "a kernel that no one else uses; behind it the virtual machine monitor"
                    .to_owned(),
            })
            .collect(),
    };
    rows.chain([reached]).collect()
}

/// Whether it is the host's kernel, which has an identity for each of its boots.
fn is_hosts(found: &Probe, host: &Probe) -> bool {
    found.boot_id == host.boot_id
}

fn whose(what: &str, found: &Probe, host: &Probe) -> String {
    match is_hosts(found, host) {
        true => format!("{what}, the host's"),
        false => format!("{what}, its own"),
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", whole(seconds as f64 / 3600.0)),
    }
}

fn processes(found: &Probe, host: &Probe) -> String {
    let shared = is_hosts(found, host) && found.namespaces.get("pid") == host.namespaces.get("pid");
    match shared {
        true => format!("{}, the host's", found.processes.len()),
        false => format!("{}: {}", found.processes.len(), list(&found.processes)),
    }
}

fn calls(found: &Probe, wanted: Reach) -> String {
    let calls = found.calls.iter().filter(|(_, reach)| **reach == wanted);
    let names: Vec<String> = calls.map(|(name, _)| name.clone()).collect();
    format!("{} of {}: {}", names.len(), found.calls.len(), list(&names))
}

fn namespaces(found: &Probe, host: &Probe) -> String {
    if !is_hosts(found, host) {
        let names: Vec<String> = found.namespaces.keys().cloned().collect();
        return format!("of its own kernel: {}", list(&names));
    }
    let of = |shared: bool| {
        let namespaces = found.namespaces.iter();
        let chosen =
            namespaces.filter(|(name, id)| (host.namespaces.get(*name) == Some(id)) == shared);
        list(&chosen.map(|(name, _)| name.clone()).collect::<Vec<_>>())
    };
    format!("its own: {}; the host's: {}", of(false), of(true))
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(" "),
    }
}

fn yes(answer: bool) -> String {
    if answer { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What could be found.
    pub fn probe(boot: &str, pid: &str) -> Probe {
        Probe {
            kernel: "6.12.1".to_owned(),
            boot_id: boot.to_owned(),
            uptime: 7300,
            cmdline: format!("boot={boot}"),
            processor: "A processor".to_owned(),
            processors: 2,
            memory_kib: 4 << 20,
            processes: vec!["init".to_owned()],
            devices: vec!["null".to_owned()],
            disks: Vec::new(),
            calls: BTreeMap::from([("bpf".to_owned(), Reach::Refused)]),
            user_namespaces: false,
            writable: Vec::new(),
            kcore: false,
            kernel_addresses: true,
            kernel_log: false,
            sockets: Vec::new(),
            abstract_sockets: 0,
            namespaces: BTreeMap::from([
                ("pid".to_owned(), pid.to_owned()),
                ("user".to_owned(), "user:[1]".to_owned()),
            ]),
            capabilities: vec!["chown".to_owned()],
            seccomp: 2,
            no_new_privileges: true,
            cgroup: "/".to_owned(),
            clock: false,
        }
    }

    #[test]
    fn what_is_the_hosts_is_told_from_what_is_its_own() {
        let host = probe("a", "pid:[1]");
        let rows = of(&[probe("b", "pid:[1]"), probe("a", "pid:[2]")], &host);
        let answers = |question: &str| {
            let row = rows.iter().find(|row| row.question == question);
            row.expect("asked").answers.clone()
        };
        assert_eq!(answers("kernel"), ["6.12.1, its own", "6.12.1, the host's"]);
        assert_eq!(answers("running for"), ["2 h, its own", "2 h, the host's"]);
        assert_eq!(answers("kernel's command line"), ["its own", "the host's"]);
        assert_eq!(answers("namespaces")[0], "of its own kernel: pid user");
        assert_eq!(answers("namespaces")[1], "its own: pid; the host's: user");
        assert_eq!(answers("system calls refused")[0], "1 of 1: bpf");
        assert_eq!(
            answers("kernel memory, addresses, log")[0],
            "/proc/kallsyms"
        );
        assert!(answers("what is reached next")[1].starts_with("the host's kernel"));
    }
}
