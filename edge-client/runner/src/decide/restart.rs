//! Whether and when an ended task is started again in its alloc.

use std::time::Duration;

use drover_model::policy::RestartPolicy;
use drover_model::time::format_duration;
use serde::{Deserialize, Serialize};

/// The reason of an ordinary restart.
pub const WITHIN_POLICY: &str = "Restart within policy";
/// The reason when the policy's mode is `delay` and its attempts are used up.
pub const EXCEEDED_DELAY: &str = "Exceeded allowed attempts, applying a delay";
/// The reason when attempts are 0.
pub const NO_RESTARTS: &str = "Policy allows no restarts";
/// The reason when another try changes nothing.
pub const UNRECOVERABLE: &str = "Error was unrecoverable";

/// The window in which restarts are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartWindow {
    /// When it began, on the steady clock: with the first start, then with the first end after it was over.
    pub began: Option<Duration>,
    /// Restarts in it.
    pub used: i64,
}

/// What becomes of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is started again after this time.
    Restart {
        /// The wait.
        delay: Duration,
        /// In words.
        reason: &'static str,
    },
    /// It is not, and counts as failed.
    GiveUp {
        /// In words.
        reason: String,
    },
}

impl RestartWindow {
    /// The task was started for the first time.
    pub fn first_start(&mut self, steady: Duration) {
        self.began.get_or_insert(steady);
    }

    /// The task has ended (or did not start) and its policy says what follows. `jitter` is between 0 and 1.
    pub fn judge(&mut self, policy: &RestartPolicy, steady: Duration, jitter: f64) -> Verdict {
        if policy.attempts == 0 && policy.mode != "delay" {
            return Verdict::GiveUp { reason: NO_RESTARTS.to_owned() };
        }
        let began = *self.began.get_or_insert(steady);
        if steady.saturating_sub(began) > policy.interval {
            self.began = Some(steady);
            self.used = 0;
        }
        self.used += 1;
        if self.used <= policy.attempts {
            return Verdict::Restart { delay: with_jitter(policy.delay, jitter), reason: WITHIN_POLICY };
        }
        if policy.mode == "delay" {
            let window_end = self.began.unwrap_or(steady) + policy.interval;
            return Verdict::Restart { delay: window_end.saturating_sub(steady), reason: EXCEEDED_DELAY };
        }
        Verdict::GiveUp {
            reason: format!(
                "Exceeded allowed attempts {} in interval {} and mode is \"fail\"",
                policy.attempts,
                format_duration(policy.interval)
            ),
        }
    }
}

/// The delay and up to a quarter more, so that what failed together does not start together.
fn with_jitter(delay: Duration, jitter: f64) -> Duration {
    delay + delay.mul_f64(0.25 * jitter.clamp(0.0, 1.0))
}

/// A number between 0 and 1 from a seed (splitmix64).
pub fn jitter(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(attempts: i64, mode: &str) -> RestartPolicy {
        RestartPolicy {
            attempts,
            interval: Duration::from_secs(60),
            delay: Duration::from_secs(10),
            mode: mode.to_owned(),
            render_templates: false,
        }
    }

    /// Ends at these seconds; what follows each: seconds to the restart, or none.
    fn check(policy: &RestartPolicy, ends: &[(u64, Option<u64>)]) {
        let mut window = RestartWindow::default();
        window.first_start(Duration::ZERO);
        for (second, expected) in ends {
            let found = match window.judge(policy, Duration::from_secs(*second), 0.0) {
                Verdict::Restart { delay, .. } => Some(delay.as_secs()),
                Verdict::GiveUp { .. } => None,
            };
            assert_eq!(found, *expected, "{policy:?} at {second}");
        }
    }

    #[test]
    fn attempts_count_in_the_window() {
        check(&policy(0, "fail"), &[(1, None)]);
        check(&policy(2, "fail"), &[(1, Some(10)), (20, Some(10)), (40, None)]);
        check(&policy(2, "fail"), &[(1, Some(10)), (20, Some(10)), (61, Some(10)), (70, Some(10)), (80, None)]);
        check(&policy(1, "delay"), &[(5, Some(10)), (20, Some(40)), (61, Some(10)), (62, Some(59))]);
        check(&policy(0, "delay"), &[(5, Some(55))]);
    }

    #[test]
    fn giving_up_says_why() {
        let reason = |policy: &RestartPolicy| match (RestartWindow { began: None, used: 9 }).judge(
            policy,
            Duration::ZERO,
            0.0,
        ) {
            Verdict::GiveUp { reason } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&policy(0, "fail")), "Policy allows no restarts");
        assert_eq!(reason(&policy(2, "fail")), "Exceeded allowed attempts 2 in interval 1m0s and mode is \"fail\"");
    }

    #[test]
    fn jitter_adds_at_most_a_quarter() {
        assert_eq!(with_jitter(Duration::from_secs(4), 0.0), Duration::from_secs(4));
        assert_eq!(with_jitter(Duration::from_secs(4), 1.0), Duration::from_secs(5));
        for seed in 0..1000 {
            assert!((0.0..1.0).contains(&jitter(seed)));
        }
        assert_ne!(jitter(1), jitter(2));
    }
}
