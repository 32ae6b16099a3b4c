//! The processes of a container, in the columns of `ps`.

mod columns;

use std::collections::HashMap;

use jiff::Timestamp;
use rvm_agent_protocol::Observed;

pub use columns::{Column, InvalidOptions};

use crate::container::Container;
use crate::lifecycle::Engine;
use crate::stats::ObserveError;

/// The kernel's clock ticks a second, which all x86 kernels show to programs.
const TICKS: u64 = 100;

/// A table of processes.
#[derive(Clone, Debug)]
pub struct Processes {
    /// The columns' headings.
    pub titles: Vec<String>,
    /// A row for each process.
    pub rows: Vec<Vec<String>>,
}

/// Why there is no such table.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The options of `ps`.
    #[error(transparent)]
    Options(#[from] InvalidOptions),
    /// The guest.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// One process, as `/proc` has it.
#[derive(Clone, Debug, Default)]
struct Process {
    pid: u64,
    name: String,
    command: String,
    state: String,
    uid: u64,
    threads: u64,
    resident_kb: u64,
    virtual_bytes: u64,
    parent: u64,
    terminal: u64,
    nice: i64,
    ticks: u64,
    started_ticks: u64,
}

/// What a column may need beside the process itself.
#[derive(Clone, Copy, Debug)]
struct Now {
    time: Timestamp,
    /// Seconds since the guest has booted.
    uptime: f64,
    memory_kb: u64,
}

impl Engine {
    /// The processes of a running container, with options as `ps` takes them; the default is `-ef`.
    pub fn processes(
        &self,
        container: &Container,
        options: &[String],
    ) -> Result<Processes, TopError> {
        let columns = columns::parse(options)?;
        let files = self.observe(container, Observed::Processes)?;
        Ok(table(&columns, &files, Timestamp::now()))
    }
}

fn table(columns: &[Column], files: &HashMap<String, String>, time: Timestamp) -> Processes {
    let text = |name: &str| files.get(name).map_or("", String::as_str);
    let uptime = text("uptime").split(' ').next().unwrap_or_default();
    let memory = field(text("meminfo"), "MemTotal").trim_end_matches(" kB");
    let now = Now {
        time,
        uptime: uptime.parse().unwrap_or(0.0),
        memory_kb: memory.parse().unwrap_or(0),
    };
    let mut pids: Vec<u64> = files
        .keys()
        .filter_map(|name| name.strip_suffix("/stat")?.parse().ok())
        .collect();
    pids.sort_unstable();
    let process = |pid: u64| {
        process(
            pid,
            text(&format!("{pid}/stat")),
            text(&format!("{pid}/status")),
            text(&format!("{pid}/cmdline")),
        )
    };
    let processes = pids.into_iter().map(process);
    Processes {
        titles: columns.iter().map(|column| column.title()).collect(),
        rows: processes
            .map(|process| columns.iter().map(|c| c.show(&process, &now)).collect())
            .collect(),
    }
}

/// Reads `/proc/PID/stat`, `status` and `cmdline`; see proc(5). The guest may say anything: what can't be read is 0 or empty.
fn process(pid: u64, stat: &str, status: &str, cmdline: &str) -> Process {
    // The name, which may have blanks and parentheses in it, ends at the last one.
    let (name, rest) = stat.rsplit_once(')').unwrap_or(("", ""));
    let name = name.split_once('(').map_or("", |(_, name)| name);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| -> u64 {
        // The first field behind the name is the third of proc(5).
        let field = at.checked_sub(3).and_then(|at| fields.get(at));
        field.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let words = cmdline.trim_end_matches('\0').replace('\0', " ");
    let clean = |text: String| text.replace(char::is_control, "?");
    Process {
        pid,
        command: match words.is_empty() {
            true => format!("[{}]", clean(name.to_owned())),
            false => clean(words),
        },
        name: clean(name.to_owned()),
        state: clean(fields.first().unwrap_or(&"?").to_string()),
        parent: number(4),
        terminal: number(7),
        ticks: number(14).saturating_add(number(15)),
        nice: fields
            .get(16)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        threads: number(20),
        started_ticks: number(22),
        virtual_bytes: number(23),
        // The effective one, the second of four.
        uid: field(status, "Uid")
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        resident_kb: field(status, "VmRSS")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0),
    }
}

/// The value of a line such as `VmRSS:    1024 kB`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(known, _)| *known == name);
    found.map_or("", |(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(options: &[&str]) -> Vec<String> {
        let options: Vec<String> = options.iter().map(|text| (*text).to_owned()).collect();
        let stat = "7 (a (b) c) S 1 7 7 34816 7 0 0 0 0 0 150 50 0 0 20 5 2 0 1000 4096000 300 0";
        let files = [
            ("uptime", "20.00 10.00\n"),
            ("meminfo", "MemTotal:  100000 kB\n"),
            ("7/stat", stat),
            (
                "7/status",
                "Name:\ta\nUid:\t33\t33\t33\t33\nVmRSS:\t  2000 kB\n",
            ),
            ("7/cmdline", "sleep\u{0}1\u{0}"),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let time = "2026-01-31T12:00:00Z".parse().expect("time");
        let table = table(
            &columns::parse(&options).expect("options"),
            &files.into(),
            time,
        );
        assert_eq!(table.rows.len(), 1);
        [table.titles, table.rows[0].clone()].concat()
    }

    #[test]
    fn columns_are_those_of_ps() {
        let all = shown(&[]);
        assert_eq!(
            all[..8],
            ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert_eq!(all[8..12], ["33", "7", "1", "20"]);
        assert_eq!(all[13..], ["pts/0", "00:00:02", "sleep 1"]);
        assert_eq!(
            shown(&["-o", "pid,comm,ni,nlwp,rss,pmem"]),
            [
                "PID", "COMMAND", "NI", "NLWP", "RSS", "%MEM", "7", "a (b) c", "5", "2", "2000",
                "2.0"
            ]
        );
        assert_eq!(shown(&["-eo", "pid=,args=WHAT"])[..2], ["", "WHAT"]);
        let options = ["-o".to_owned(), "shoesize".to_owned()];
        assert!(columns::parse(&options).is_err());
    }
}
