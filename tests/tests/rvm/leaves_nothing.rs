//! Containers that have come and gone leave exactly what was there before.

use crate::needs_container;
use crate::support::snapshot::Snapshot;
use crate::support::{Host, number};

#[test]
fn runs_in_a_row_leave_nothing() {
    needs_container!();
    let host = Host::private();
    // The first run makes the template of its kind, the second that of its command.
    Snapshot::after_a_run(&host, &[]);
    let before = Snapshot::after_a_run(&host, &[]);
    let templates = || host.rvm(["template", "ls"]).wait().success();
    let number_of_templates = templates().lines().count();
    assert!(
        before.processes.len() == 1,
        "only the first process: {before:?}"
    );
    for _ in 0..number("RVM_TEST_RUNS", 3) {
        let end = host.rvm(["run", "--rm", "busybox", "true"]).wait();
        assert_eq!(end.success(), "");
        // At once, not after a while.
        before.assert_unchanged(&host);
    }
    assert_eq!(templates().lines().count(), number_of_templates);
}
