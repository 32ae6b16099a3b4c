//! Asking before something is removed.

use std::io::{BufRead, Write};

/// Says what will happen and asks whether it shall; everything but a `y` is no, the end of standard input too.
pub fn confirm(warning: &str) -> std::io::Result<bool> {
    let mut stdout = std::io::stdout();
    write!(
        stdout,
        "WARNING! {warning}\nAre you sure you want to continue? [y/N] "
    )?;
    stdout.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
