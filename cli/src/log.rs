//! What the programs have to say themselves, on standard error.

/// Begins to say what is of this level or graver.
pub fn start(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
}
