//! What is seen of `rvm cp` at a terminal: how much has come over, and at its end what was copied.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use rvm_engine::lifecycle::Copied;

use crate::table;

/// Between two looks at how much has come over.
const LOOK: Duration = Duration::from_millis(75);

/// A copy that is under way.
#[derive(Debug)]
pub struct Progress {
    copied: Arc<Copied>,
    quiet: bool,
    line: Line,
}

/// The line on the terminal; dropping it removes it.
#[derive(Debug)]
struct Line(ProgressBar);

impl Progress {
    /// Begins. Without a terminal on standard output nothing is said, as with Docker.
    pub fn start(quiet: bool, what: &'static str) -> Self {
        let quiet = quiet || !io::stdout().is_terminal();
        let copied = Arc::new(Copied::default());
        let line = match quiet {
            true => ProgressBar::hidden(),
            false => shown(what, copied.clone()),
        };
        Self {
            copied,
            quiet,
            line: Line(line),
        }
    }

    /// Where it is counted.
    pub fn copied(&self) -> &Copied {
        &self.copied
    }

    /// Says what was copied to where.
    pub fn end(self, to: &str) {
        drop(self.line);
        if !self.quiet {
            let transferred = self.copied.transferred.load(Ordering::Relaxed);
            let content = self.copied.content.get().copied().unwrap_or(transferred);
            eprintln!("{}", summary(content, transferred, to));
        }
    }
}

fn summary(content: u64, transferred: u64, to: &str) -> String {
    let (copied, sent) = (table::size(content), table::size(transferred));
    match content == transferred {
        true => format!("Successfully copied {copied} to {to}"),
        false => format!("Successfully copied {copied} (transferred {sent}) to {to}"),
    }
}

/// A line on standard error, where that is a terminal.
fn shown(what: &'static str, copied: Arc<Copied>) -> ProgressBar {
    let size = move |_: &ProgressState, text: &mut dyn Write| {
        // What can't be drawn is no reason to stop copying.
        let _ = text.write_str(&table::size(copied.transferred.load(Ordering::Relaxed)));
    };
    let style = ProgressStyle::with_template("{prefix}{size}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("size", size);
    let line = ProgressBar::new_spinner()
        .with_style(style)
        .with_prefix(what);
    // Seen even where the copy is done before the first tick.
    line.tick();
    line.enable_steady_tick(LOOK);
    line
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_said_where_it_is_more_than_was_copied() {
        assert_eq!(
            summary(2048, 2048, "web:/x"),
            "Successfully copied 2.05kB to web:/x"
        );
        assert_eq!(
            summary(0, 1536, "/x"),
            "Successfully copied 0B (transferred 1.54kB) to /x"
        );
    }
}
