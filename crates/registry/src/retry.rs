//! Trying again: how often, how long to wait, and when to stop.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::options::Retry;

/// The wait before try `n + 1` after `n` failed ones (`n >= 1`): `base * 2^(n-1)`, at most `cap`, of which a random part
/// of the upper half is kept so that clients that failed together do not come back together.
pub(crate) fn backoff(policy: &Retry, n: u32) -> Duration {
    let full = policy.base.saturating_mul(1_u32.checked_shl(n.saturating_sub(1)).unwrap_or(u32::MAX));
    let full = full.min(policy.cap);
    // A fresh `RandomState` is keyed from the system's entropy: enough for jitter, and no dependency.
    let random = RandomState::new().hash_one(n) as u32;
    full.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

/// Counts failures against a policy and waits between them.
pub(crate) struct Attempts<'a> {
    policy: &'a Retry,
    cancel: &'a AtomicBool,
    failed: u32,
}

impl<'a> Attempts<'a> {
    /// So many tries have failed already.
    pub(crate) fn after(failed: u32, policy: &'a Retry, cancel: &'a AtomicBool) -> Self {
        Self { policy, cancel, failed }
    }

    /// Takes note of a failure. Waits and returns if there should be another try, else gives the failure back.
    pub(crate) fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        check(self.cancel)?;
        let Some(wish) = failure.retryable() else { return Err(failure) };
        self.failed += 1;
        if self.failed >= self.policy.attempts.max(1) {
            return Err(failure);
        }
        let wait = match wish {
            Some(wish) if wish > self.policy.patience => return Err(failure),
            Some(wish) => wish.max(backoff(self.policy, self.failed)),
            None => backoff(self.policy, self.failed),
        };
        sleep(wait, self.cancel)
    }
}

/// Runs `work` until it succeeds, fails for good, or its tries are used up.
pub(crate) fn run<T>(
    policy: &Retry,
    cancel: &AtomicBool,
    mut work: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut attempts = Attempts::after(0, policy, cancel);
    loop {
        check(cancel)?;
        match work() {
            Ok(value) => return Ok(value),
            Err(failure) => attempts.again(failure)?,
        }
    }
}

/// Fails once the caller asked to stop.
pub(crate) fn check(cancel: &AtomicBool) -> Result<(), Failure> {
    if cancel.load(Ordering::Relaxed) { Err(Failure::Cancelled) } else { Ok(()) }
}

fn sleep(wait: Duration, cancel: &AtomicBool) -> Result<(), Failure> {
    let until = Instant::now() + wait;
    loop {
        check(cancel)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// What `Retry-After` asks for (RFC 9110, section 10.2.3): seconds, or a date, which is compared with the answer's own
/// `Date` if it has one, since our clock may be wrong.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let moment = |text: &str| parser.parse_timestamp(text.trim()).ok();
    let then = moment(value)?;
    let now = date.and_then(moment).unwrap_or_else(jiff::Timestamp::now);
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        assert_eq!(retry_after(" 7 ", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", at), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", None), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", None), None);
        assert_eq!(retry_after("-1", None), None);
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = Retry {
            attempts: 9,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(1),
            patience: Duration::ZERO,
        };
        for (n, full) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (40, 1000)] {
            let wait = backoff(&policy, n).as_millis();
            assert!((full / 2..=full).contains(&wait), "{n}: {wait}");
        }
    }

    #[test]
    fn tries_are_bounded_and_patience_too() {
        let policy = Retry {
            attempts: 3,
            base: Duration::ZERO,
            cap: Duration::ZERO,
            patience: Duration::from_secs(5),
        };
        let limited =
            |wait| Failure::RateLimited { url: String::new(), wait, errors: vec![], detail: String::new() };
        let cancel = AtomicBool::new(false);
        let mut calls = 0;
        let result: Result<(), _> = run(&policy, &cancel, || {
            calls += 1;
            Err(limited(None))
        });
        assert!(result.is_err());
        assert_eq!(calls, 3);
        calls = 0;
        let result: Result<(), _> = run(&policy, &cancel, || {
            calls += 1;
            Err(limited(Some(Duration::from_secs(6))))
        });
        assert!(result.is_err());
        assert_eq!(calls, 1);
        cancel.store(true, Ordering::Relaxed);
        let result: Result<(), _> = run(&policy, &cancel, || panic!("not tried once cancelled"));
        assert!(matches!(result, Err(Failure::Cancelled)));
    }
}
