//! `rvm isolation-report` says what a process inside sees, as it is seen from outside.

use serde_json::Value;

use crate::needs_microvm;
use crate::support::Host;

#[test]
fn a_microvm_has_a_kernel_of_its_own_and_a_container_the_hosts() {
    needs_microvm!();
    let host = Host::empty().load(&["busybox"]);
    let json = host.rvm(["isolation-report", "--format", "json"]).wait();
    let report: Value = serde_json::from_str(&json.success()).expect("JSON");
    let of = |isolation: &str| {
        let isolations = report["isolations"].as_array().expect("isolations");
        let place = isolations.iter().position(|name| name == isolation);
        report["probes"][place.expect("looked at")].clone()
    };
    let (vm, container) = (of("vm"), of("container"));
    let judged = |program: &str, arguments: &[&str]| {
        let output = host.judge(program, arguments);
        Value::from(output.trim().to_owned())
    };
    let kernel = judged("uname", &["-r"]);
    assert!(vm["kernel"] != kernel && container["kernel"] == kernel);
    let boot = judged("cat", &["/proc/sys/kernel/random/boot_id"]);
    assert!(vm["boot_id"] != boot && container["boot_id"] == boot);
    let processes = judged("readlink", &["/proc/self/ns/pid"]);
    assert_ne!(container["namespaces"]["pid"], processes);
    for inside in [&vm, &container] {
        assert_eq!(inside["processes"], Value::from(vec!["rvm-workload"]));
        assert_eq!(inside["seccomp"], 2);
        assert_eq!(inside["calls"]["mount"], "refused");
        assert_eq!(inside["calls"]["name_to_handle_at"], "reachable");
        assert_eq!(inside["writable"], Value::Array(Vec::new()));
        assert_eq!(inside["clock"], false);
    }
    assert_eq!(host.rvm(["ps", "--all", "--quiet"]).wait().success(), "");
}
