//! Containers that have come and gone leave exactly what was there before.

use crate::needs_microvm;
use crate::support::snapshot::Snapshot;
use crate::support::{Host, number};

#[test]
fn runs_in_a_row_leave_nothing() {
    needs_microvm!();
    let host = Host::private();
    // The first run makes what is made once: the database, and what was found out about the host.
    host.rvm(["run", "--rm", "busybox", "true"])
        .wait()
        .success();
    let before = Snapshot::of(&host);
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
}
