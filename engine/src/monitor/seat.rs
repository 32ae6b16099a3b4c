//! The container's present run, as the monitor's connections find it, and whether there shall be another one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::shared::Shared;

/// What outlives a run.
#[derive(Debug)]
pub struct Seat {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    run: Arc<Shared>,
    /// The run has not begun: the one before has ended, and its successor waits for its time.
    waiting: bool,
    /// Somebody has stopped the container.
    for_good: bool,
    /// Somebody starts it again, so that it is not removed.
    kept: bool,
}

impl Seat {
    /// The first run.
    pub fn new(run: Arc<Shared>) -> Self {
        Self {
            state: Mutex::new(State {
                run,
                waiting: false,
                for_good: false,
                kept: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present run, or the one that is to come.
    pub fn run(&self) -> Arc<Shared> {
        self.state().run.clone()
    }

    /// Whether a run is waited for.
    pub fn is_waiting(&self) -> bool {
        self.state().waiting
    }

    /// Whether somebody has stopped the container.
    pub fn is_for_good(&self) -> bool {
        self.state().for_good
    }

    /// The container is not to be started again by its policy; with `keep` it is not to be removed either.
    pub fn stop(&self, keep: bool) {
        let mut state = self.state();
        state.for_good = true;
        state.kept |= keep;
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the container stays whatever was asked for.
    pub fn is_kept(&self) -> bool {
        self.state().kept
    }

    /// Puts the next run in the place of the one that has ended.
    pub fn succeed(&self, next: Arc<Shared>) {
        let mut state = self.state();
        state.run = next;
        state.waiting = true;
    }

    /// Waits for the next run's time; whether it shall begin.
    pub fn wait(&self, time: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), time, |state| !state.for_good);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // A signal that comes from now on is for the run.
        state.waiting = false;
        !state.for_good
    }
}
