//! Messages for the person who looks at the guest's console. Each character there costs an exit to the VMM, so only what went
//! wrong is said.

use std::error::Error;
use std::fmt::Write;

/// Says that something went wrong that the agent survives.
pub fn warn(what: &str, why: &dyn Error) {
    say(&format!("{what}: {}", chain(why)));
}

/// Writes a line to the console.
pub fn say(text: &str) {
    let line = format!("rvm-agent: {text}\n");
    let console = rustix::stdio::stderr();
    // There is nowhere to report that the console cannot be written to.
    let _ = rustix::io::write(console, line.as_bytes());
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    text
}
