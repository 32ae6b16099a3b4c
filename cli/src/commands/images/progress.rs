//! One progress bar a layer on a terminal, Docker's lines elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rvm_engine::image::{Digest, Progress, Step};

/// What Docker calls the steps of a pull or a push.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub waiting: &'static str,
    pub exists: &'static str,
    pub moving: &'static str,
    pub complete: &'static str,
}

pub const PULL: Words = Words {
    waiting: "Pulling fs layer",
    exists: "Already exists",
    moving: "Downloading",
    complete: "Pull complete",
};

pub const PUSH: Words = Words {
    waiting: "Preparing",
    exists: "Layer already exists",
    moving: "Pushing",
    complete: "Pushed",
};

/// Shows steps on standard output.
pub struct Bars {
    words: Words,
    bars: Option<MultiProgress>,
    by_layer: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    pub fn new(words: Words) -> Self {
        let bars = std::io::stdout()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self {
            words,
            bars,
            by_layer: Mutex::default(),
        }
    }

    fn line(&self, layer: &Digest, step: Step) {
        let text = match step {
            Step::Waiting => self.words.waiting,
            Step::Exists => self.words.exists,
            Step::Complete => self.words.complete,
            Step::Moved { .. } | Step::Extracting => return,
        };
        // Whoever closes standard output wants to read no more.
        let _ = writeln!(std::io::stdout(), "{}: {text}", layer.short());
    }

    fn bar(&self, bars: &MultiProgress, layer: &Digest, step: Step) {
        let mut by_layer = self.by_layer.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = by_layer.entry(*layer).or_insert_with(|| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(plain());
            bar.set_prefix(layer.short());
            bar
        });
        match step {
            Step::Waiting => bar.set_message(self.words.waiting),
            Step::Exists => bar.finish_with_message(self.words.exists),
            Step::Moved { done, total } => {
                if bar.length() != Some(total) {
                    bar.set_style(moving());
                    bar.set_length(total);
                    bar.set_message(self.words.moving);
                }
                bar.set_position(done);
            }
            Step::Extracting => bar.set_message("Extracting"),
            Step::Complete => {
                bar.set_style(plain());
                bar.finish_with_message(self.words.complete);
            }
        }
    }
}

impl Progress for Bars {
    fn step(&self, layer: &Digest, step: Step) {
        match &self.bars {
            Some(bars) => self.bar(bars, layer, step),
            None => self.line(layer, step),
        }
    }
}

fn plain() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn moving() -> ProgressStyle {
    style("{prefix}: {msg:11} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}")
        .progress_chars("=> ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
