//! `rvm bench` measures what it says and leaves nothing behind; `rvm bench compare` finds what has become worse.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Host, wait_until};
use crate::{needs_container, needs_microvm};

fn report(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).expect("a file")).expect("JSON")
}

/// The names of a report's figures, each with its targets.
fn figures(report: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let name = |value: &Value| value.as_str().expect("a name").to_owned();
    list(&report["figures"])
        .iter()
        .map(|figure| {
            let series = list(&figure["series"]);
            let targets: Vec<String> = series.iter().map(|of| name(&of["target"])).collect();
            format!("{}: {}", name(&figure["metric"]), targets.join(" "))
        })
        .collect()
}

#[test]
fn isolations_are_measured_side_by_side_and_two_reports_are_compared() {
    needs_microvm!();
    let host = Host::empty().load(&["busybox"]);
    let (json, html) = (host.folder().join("1.json"), host.folder().join("1.html"));
    let bench = [
        "bench",
        "--image",
        "busybox",
        "--rounds",
        "1",
        "--workload",
        "start",
        "--json",
        json.to_str().expect("UTF-8"),
        "--html",
        html.to_str().expect("UTF-8"),
    ];
    let table = host.rvm(bench).wait().success();
    let row = |start: &str| table.lines().any(|line| line.starts_with(start));
    assert!(row("start and end       vm  "), "{table}");
    assert!(row("                    container  "), "{table}");
    assert!(table.contains("In a microVM starting costs "), "{table}");

    let mut measured = report(&json);
    assert_eq!(figures(&measured), ["start: vm container"]);
    let info = host
        .rvm(["info", "--format", "{{.HostKind}}"])
        .wait()
        .success();
    let emulated = info.trim() == "emulated_ring0";
    assert_eq!(measured["machine"]["ring0_emulated"], emulated);
    assert_eq!(table.contains("RING 0 IS EMULATED"), emulated);
    let kernel = host.judge("uname", &["-r"]);
    assert_eq!(measured["machine"]["kernel"], kernel.trim());
    // A page that its reader's browser reads as one, with nothing to fetch.
    let page = fs::read_to_string(&html).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert!(!page.contains("src=") && !page.contains("href="));

    let before = json.to_str().expect("UTF-8");
    let same = host.rvm(["bench", "compare", before, before]).wait();
    let same = same.success();
    assert!(same.contains("0 worse, 0 better, 2 the same"), "{same}");
    let series = &mut measured["figures"][0]["series"][0];
    for value in ["median", "low", "high"] {
        series[value] = (series[value].as_f64().expect("a number") * 3.0).into();
    }
    let after = host.folder().join("2.json");
    fs::write(&after, measured.to_string()).expect("written");
    let after = after.to_str().expect("UTF-8");
    let worse = host.rvm(["bench", "compare", before, after]).wait();
    assert_eq!(worse.code(), 1, "{worse}");
    let back = host.rvm(["bench", "compare", after, before]).wait();
    assert!(back.success().contains("0 worse, 1 better, 1 the same"));
    let missing = host.rvm(["bench", "compare", before, "/nowhere"]).wait();
    missing.refused(2, &["cannot read /nowhere"]);
}

#[test]
fn every_workload_gives_a_figure_and_nothing_is_left() {
    needs_container!();
    let host = Host::empty().load(&["busybox"]);
    let json = host.folder().join("1.json");
    let file = json.to_str().expect("UTF-8");
    let isolated = [
        "bench",
        "--isolation",
        "container",
        "--rounds",
        "1",
        "--json",
        file,
    ];
    let table = host.rvm([&isolated[..], &["--with", "bare"]].concat());
    let table = table.wait().success();
    // The shell without a terminal ends at once.
    assert!(
        table.contains("Note: busybox's own command ends at once"),
        "{table}"
    );
    let expected = [
        "start: container bare",
        "stop: container",
        "memory: container",
        "further-memory: container",
        "density: container",
        "size: container",
        "syscall: container bare",
        "fork: container bare",
        "fault: container bare",
        "cpu: container bare",
        "bandwidth: container bare",
        "write: container bare",
        "read: container bare",
        "latency: container bare",
        "throughput: container bare",
    ];
    assert_eq!(figures(&report(&json)), expected);

    let own = [&isolated[..], &["--command", "sh", "-c", "test -d /proc"]].concat();
    host.rvm(own).wait().success();
    assert_eq!(figures(&report(&json)), ["command: container"]);
    let fails = [&isolated[..], &["--command", "sh", "-c", "exit 3"]].concat();
    host.rvm(fails).wait().refused(1, &["sh -c exit 3' failed"]);
    // The report of before is still there, and no empty one beside it.
    assert_eq!(figures(&report(&json)), ["command: container"]);
    let html = host.folder().join("none.html");
    let page = ["--html", html.to_str().expect("UTF-8")];
    host.rvm([&["bench", "--image", "/"], &page[..]].concat())
        .wait()
        .refused(1, &["is not the name of an image"]);
    assert!(!html.exists());
    let unknown = host.rvm(["bench", "--workload", "sleep"]).wait();
    unknown.refused(1, &["invalid value 'sleep'", "syscall"]);

    let all = ["ps", "--all", "--quiet"];
    let running = host.rvm(["bench", "--isolation", "container"]);
    wait_until("a container of the benchmark", || {
        (!host.rvm(all).wait().success().is_empty()).then_some(())
    });
    running.signal(Signal::INT);
    let end = running.wait();
    assert_eq!(end.code(), 130, "{end}");
    assert_eq!(host.rvm(all).wait().success(), "");
}
