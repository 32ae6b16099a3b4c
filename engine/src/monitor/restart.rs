//! Whether a container that has ended is started again, and after which time: Docker's rules.

use std::time::Duration;

use crate::options::restart::RestartPolicy;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// A container that has run so long is waited for as at first.
const SETTLED: Duration = Duration::from_secs(10);

/// The waits between one container's runs.
#[derive(Debug, Default)]
pub struct Restarts {
    count: u32,
    wait: Option<Duration>,
}

impl Restarts {
    /// How long to wait before the next run; `None` when there is to be none.
    pub fn next(
        &mut self,
        policy: RestartPolicy,
        exit_code: i32,
        ran: Duration,
    ) -> Option<Duration> {
        let again = match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(most) => {
                exit_code != 0 && most.is_none_or(|most| self.count < most)
            }
        };
        if !again {
            return None;
        }
        let before = self.wait.filter(|_| ran < SETTLED);
        let wait = before.map_or(FIRST, |wait| (wait * 2).min(LONGEST));
        self.wait = Some(wait);
        self.count = self.count.saturating_add(1);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut restarts = Restarts::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..12)
            .filter_map(|_| restarts.next(RestartPolicy::Always, 0, short))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [51_200, 60_000, 60_000]);
        assert_eq!(
            restarts.next(RestartPolicy::Always, 0, SETTLED),
            Some(FIRST)
        );
    }

    #[test]
    fn failures_are_retried_so_many_times() {
        let mut restarts = Restarts::default();
        let policy = RestartPolicy::OnFailure(Some(2));
        assert_eq!(restarts.next(policy, 0, SETTLED), None);
        assert!(restarts.next(policy, 1, SETTLED).is_some());
        assert!(restarts.next(policy, 1, SETTLED).is_some());
        assert_eq!(restarts.next(policy, 1, SETTLED), None);
        assert_eq!(restarts.next(RestartPolicy::No, 1, SETTLED), None);
    }
}
