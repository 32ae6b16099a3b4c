//! What is seen of a benchmark at a terminal while it runs.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rvm_bench::Observer;
use signal_hook::consts::{SIGINT, SIGTERM};

/// What the bar is divided into.
const PARTS: u64 = 1000;

/// Between two turns of the sign that something is done.
const TURN: Duration = Duration::from_millis(120);

/// A bar on standard error, where that is a terminal; and the signals that end a benchmark early.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// Begins.
    pub fn start() -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        Ok(Self {
            bar: match io::stderr().is_terminal() {
                true => bar(),
                false => ProgressBar::hidden(),
            },
            interrupted,
        })
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} [{bar:30}] {elapsed_precise} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(PARTS).with_style(style);
    bar.enable_steady_tick(TURN);
    bar
}

impl Observer for Progress {
    fn step(&mut self, what: &str, done: f64) {
        tracing::info!("{what}");
        self.bar.set_position((done * PARTS as f64) as u64);
        self.bar.set_message(what.to_owned());
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
