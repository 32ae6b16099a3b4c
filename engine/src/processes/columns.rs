//! The columns of `ps`, and the options that choose them.

use jiff::tz::TimeZone;

use super::{Now, Process, TICKS};

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    kind: Kind,
    title: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Pid,
    Parent,
    Processor,
    CpuPercent,
    MemoryPercent,
    Virtual,
    Resident,
    Terminal,
    State,
    Started,
    Time,
    Elapsed,
    Nice,
    Threads,
    Name,
    Command,
}

/// Options that are not understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "the option '{0}' of ps is not known here: there are -ef, aux and -o with columns such as pid,ppid,user,pcpu,rss,time,args"
)]
pub struct InvalidOptions(String);

/// Names of a column, and its heading.
const KNOWN: [(&[&str], Kind, &str); 19] = [
    (&["uid"], Kind::User, "UID"),
    (&["user", "euser", "uname"], Kind::User, "USER"),
    (&["pid"], Kind::Pid, "PID"),
    (&["ppid"], Kind::Parent, "PPID"),
    (&["c"], Kind::Processor, "C"),
    (&["pcpu", "%cpu"], Kind::CpuPercent, "%CPU"),
    (&["pmem", "%mem"], Kind::MemoryPercent, "%MEM"),
    (&["vsz", "vsize"], Kind::Virtual, "VSZ"),
    (&["rss", "rssize", "rsz"], Kind::Resident, "RSS"),
    (&["tty", "tt", "tname"], Kind::Terminal, "TTY"),
    (&["stat", "s", "state"], Kind::State, "STAT"),
    (&["stime", "start_time"], Kind::Started, "STIME"),
    (&["start"], Kind::Started, "START"),
    (&["time", "cputime"], Kind::Time, "TIME"),
    (&["etime"], Kind::Elapsed, "ELAPSED"),
    (&["ni", "nice"], Kind::Nice, "NI"),
    (&["nlwp", "thcount"], Kind::Threads, "NLWP"),
    (&["comm", "ucmd", "ucomm"], Kind::Name, "COMMAND"),
    (&["args", "cmd", "command"], Kind::Command, "COMMAND"),
];

/// Reads options of `ps`.
pub fn parse(options: &[String]) -> Result<Vec<Column>, InvalidOptions> {
    let mut columns = Vec::new();
    let mut layout = "full";
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let invalid = || InvalidOptions(option.clone());
        match option.as_str() {
            "aux" | "-aux" | "axu" | "auxww" => layout = "user",
            "-ef" | "-f" | "-eF" | "-efww" | "ef" | "-w" | "-ww" | "-e" | "-A" => {}
            option => {
                let letters = option.strip_prefix('-').unwrap_or(option);
                let Some((before, list)) = letters.split_once('o') else {
                    return Err(invalid());
                };
                if !before.chars().all(|c| "eAawxf".contains(c)) {
                    return Err(invalid());
                }
                let list = match list {
                    "" => options.next().ok_or_else(invalid)?,
                    list => list,
                };
                for name in list.split([',', ' ']).filter(|name| !name.is_empty()) {
                    columns.push(column(name).ok_or_else(|| InvalidOptions(name.to_owned()))?);
                }
            }
        }
    }
    if !columns.is_empty() {
        return Ok(columns);
    }
    let names: &[&str] = match layout {
        "user" => &[
            "user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat", "start", "time", "args",
        ],
        _ => &["uid", "pid", "ppid", "c", "stime", "tty", "time", "args"],
    };
    let mut columns: Vec<Column> = names.iter().filter_map(|name| column(name)).collect();
    if layout == "full"
        && let Some(last) = columns.last_mut()
    {
        last.title = Some("CMD".to_owned());
    }
    Ok(columns)
}

/// A column by its name, or by its name and a heading of the user's own, as `pid=ID`.
fn column(text: &str) -> Option<Column> {
    let (name, title) = match text.split_once('=') {
        Some((name, title)) => (name, Some(title.to_owned())),
        None => (text, None),
    };
    let (names, kind, heading) = KNOWN.iter().find(|(names, ..)| names.contains(&name))?;
    let heading = match (*kind, names.contains(&"args") && name == "cmd") {
        (Kind::Command, true) => "CMD",
        _ => heading,
    };
    Some(Column {
        kind: *kind,
        title: Some(title.unwrap_or_else(|| heading.to_owned())),
    })
}

impl Column {
    /// Its heading.
    pub fn title(&self) -> String {
        self.title.clone().unwrap_or_default()
    }

    pub(super) fn show(&self, process: &Process, now: &Now) -> String {
        let age = (now.uptime - process.started_ticks as f64 / TICKS as f64).max(0.0);
        let used = process.ticks / TICKS;
        let cpu = match age > 0.0 {
            true => 100.0 * process.ticks as f64 / TICKS as f64 / age,
            false => 0.0,
        };
        match self.kind {
            // The guest's users have their names in the container; ps on a host shows its own.
            Kind::User if process.uid == 0 => "root".to_owned(),
            Kind::User => process.uid.to_string(),
            Kind::Pid => process.pid.to_string(),
            Kind::Parent => process.parent.to_string(),
            Kind::Processor => format!("{:.0}", cpu.min(99.0)),
            Kind::CpuPercent => format!("{cpu:.1}"),
            Kind::MemoryPercent => match now.memory_kb {
                0 => "0.0".to_owned(),
                all => format!("{:.1}", 100.0 * process.resident_kb as f64 / all as f64),
            },
            Kind::Virtual => (process.virtual_bytes >> 10).to_string(),
            Kind::Resident => process.resident_kb.to_string(),
            Kind::Terminal => terminal(process.terminal),
            Kind::State => process.state.clone(),
            Kind::Started => started(now, age),
            Kind::Time => clock(used),
            Kind::Elapsed => clock(age as u64),
            Kind::Nice => process.nice.to_string(),
            Kind::Threads => process.threads.to_string(),
            Kind::Name => process.name.clone(),
            Kind::Command => process.command.clone(),
        }
    }
}

/// The terminal's name by its device number: pts are major 136 and up.
fn terminal(number: u64) -> String {
    let (major, minor) = (
        (number >> 8) & 0xfff,
        (number & 0xff) | ((number >> 12) & 0xfff00),
    );
    match major {
        136 => format!("pts/{minor}"),
        _ => "?".to_owned(),
    }
}

/// The time of day, or the day when that is another one than today.
fn started(now: &Now, age: f64) -> String {
    let age = std::time::Duration::try_from_secs_f64(age).unwrap_or_default();
    let at = now.time.checked_sub(age).unwrap_or(now.time);
    let (at, today) = (
        at.to_zoned(TimeZone::system()),
        now.time.to_zoned(TimeZone::system()),
    );
    let format = if at.date() == today.date() {
        "%H:%M"
    } else {
        "%b%d"
    };
    at.strftime(format).to_string()
}

fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}")
}
