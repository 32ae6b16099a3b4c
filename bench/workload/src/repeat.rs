//! How often something has to be done until its time says something.

use std::io;
use std::time::{Duration, Instant};

/// How much longer the next batch may be than the last one.
const GROWTH: f64 = 8.0;

/// Does something once to warm it up, and then in longer and longer batches; the nanoseconds that one takes in the last batch,
/// which has at least half of the budget.
pub fn nanoseconds(
    budget: Duration,
    mut batch: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<f64> {
    batch(1)?;
    let mut times: u64 = 1;
    loop {
        let begin = Instant::now();
        batch(times)?;
        let taken = begin.elapsed();
        if taken >= budget / 2 {
            return Ok(taken.as_secs_f64() * 1e9 / times as f64);
        }
        let room = budget.as_secs_f64() / taken.as_secs_f64().max(1e-9);
        times = (times as f64 * room.clamp(2.0, GROWTH)) as u64;
    }
}
