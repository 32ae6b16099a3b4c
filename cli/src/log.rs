//! What the programs have to say themselves, on standard error.

use std::io::Write;

/// Begins to say what is of this level or graver.
pub fn start(level: tracing::Level) {
    env_logger::Builder::new()
        .parse_filters(&format!("rvm={level}"))
        .format(|out, record| {
            let (level, target) = (record.level(), record.target());
            writeln!(out, "{level:>5} {target}: {}", record.args())
        })
        .init();
}
