//! One progress bar a layer on a terminal, Docker's lines elsewhere.

use std::collections::{HashMap, HashSet};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rvm_engine::image::{Digest, Progress, Step};

/// What Docker calls the steps of a pull or a push.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Said of every layer at once, where it is not known yet which the other side has.
    pub preparing: Option<&'static str>,
    pub waiting: &'static str,
    pub exists: &'static str,
    pub moving: &'static str,
    pub moved: Option<&'static str>,
    pub complete: &'static str,
}

pub const PULL: Words = Words {
    preparing: None,
    waiting: "Pulling fs layer",
    exists: "Already exists",
    moving: "Downloading",
    moved: Some("Download complete"),
    complete: "Pull complete",
};

pub const PUSH: Words = Words {
    preparing: Some("Preparing"),
    waiting: "Waiting",
    exists: "Layer already exists",
    moving: "Pushing",
    moved: None,
    complete: "Pushed",
};

pub const LOAD: Words = Words {
    preparing: None,
    waiting: "Waiting",
    exists: "Already exists",
    moving: "Loading layer",
    moved: None,
    complete: "Loaded",
};

/// Where progress is shown.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Stdout,
    /// Where standard output is somebody else's.
    Stderr,
}

impl Stream {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    fn target(self) -> ProgressDrawTarget {
        match self {
            Self::Stdout => ProgressDrawTarget::stdout(),
            Self::Stderr => ProgressDrawTarget::stderr(),
        }
    }

    /// Writes a line. Whoever closes the stream wants to read no more.
    pub fn line(self, text: &str) {
        let _ = match self {
            Self::Stdout => writeln!(io::stdout(), "{text}"),
            Self::Stderr => writeln!(io::stderr(), "{text}"),
        };
    }
}

/// Shows steps.
pub struct Bars {
    words: Words,
    stream: Stream,
    /// What is said before the first step.
    heading: Mutex<Option<String>>,
    bars: Option<MultiProgress>,
    by_layer: Mutex<HashMap<Digest, ProgressBar>>,
    /// Layers that are known to move, where there are no bars.
    moving: Mutex<HashSet<Digest>>,
}

impl Bars {
    pub fn new(words: Words, stream: Stream, heading: Option<String>) -> Self {
        let bars = stream
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(stream.target()));
        Self {
            words,
            stream,
            heading: Mutex::new(heading),
            bars,
            by_layer: Mutex::default(),
            moving: Mutex::default(),
        }
    }

    /// Says the heading, if it has not been said.
    pub fn begin(&self) {
        if let Some(text) = lock(&self.heading).take() {
            self.stream.line(&text);
        }
    }

    /// One more bar, of an archive of so many bytes, or of a stream whose end is not known.
    pub fn archive(&self, length: Option<u64>) -> ProgressBar {
        let Some(bars) = &self.bars else {
            return ProgressBar::hidden();
        };
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "Loading archive [{bar:30}] {decimal_bytes}/{decimal_total_bytes}",
            ),
            None => (ProgressBar::no_length(), "Loading archive {decimal_bytes}"),
        };
        bars.add(bar.with_style(style(template).progress_chars("=> ")))
    }

    fn line(&self, layer: &Digest, step: Step) {
        let say = |text: &str| self.stream.line(&format!("{}: {text}", layer.short()));
        let starts = || lock(&self.moving).insert(*layer);
        let words = self.words;
        match step {
            Step::Waiting => words.preparing.into_iter().for_each(say),
            Step::Exists => say(words.exists),
            Step::Moved { .. } if starts() && words.preparing.is_none() => say(words.waiting),
            Step::Moved { .. } => {}
            Step::Extracting => words.moved.into_iter().for_each(say),
            Step::Complete => say(words.complete),
        }
    }

    fn bar(&self, bars: &MultiProgress, layer: &Digest, step: Step) {
        let mut by_layer = lock(&self.by_layer);
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
        self.begin();
        match &self.bars {
            Some(bars) => self.bar(bars, layer, step),
            None => self.line(layer, step),
        }
    }
}

impl Drop for Bars {
    /// What is said next starts a line of its own, below bars that got no further.
    fn drop(&mut self) {
        for bar in lock(&self.by_layer).values() {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plain() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn moving() -> ProgressStyle {
    style("{prefix}: {msg:11} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}")
        .progress_chars("=> ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
