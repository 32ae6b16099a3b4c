//! Programs in the guest keep their vector registers, whatever the guest's kernel knows of them.

use crate::needs_microvm;
use crate::support::Host;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rvm/vector_registers.c");

#[test]
fn programs_that_take_turns_keep_their_vector_registers() {
    needs_microvm!();
    let host = Host::shared();
    let program = host.folder().join("tmp/vector-registers");
    let path = program.to_str().expect("UTF-8");
    host.judge("gcc", &["-static", "-O1", "-o", path, SOURCE]);
    let program = std::fs::read(&program).expect("program");
    let end = host
        .rvm([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "cat > /tmp/program && chmod +x /tmp/program && /tmp/program",
        ])
        .wait_with(&program);
    assert!(end.success().starts_with("0 changed"), "{end}");
}
