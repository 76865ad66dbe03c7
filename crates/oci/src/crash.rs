//! Places where a kill would be seen: before and after everything that gives a file in a store its name, or takes it away.
//!
//! Without the feature `crash-points` there is nothing here. With it a process kills itself at the place that it was told to: that
//! is how `kiln-torture` goes through all of them.

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Places to pass before the last one; 0 is never.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// Kills this process at its `number`th place.
    pub fn arm(number: u64) {
        LEFT.store(number, Ordering::SeqCst);
    }

    pub(super) fn pass() {
        let passed = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if passed == Ok(1) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

#[cfg(feature = "crash-points")]
pub use armed::arm;

/// One place.
#[inline]
pub fn point() {
    #[cfg(feature = "crash-points")]
    armed::pass();
}

/// Two places, before `change` and after it.
#[inline]
pub fn around<T>(change: impl FnOnce() -> T) -> T {
    point();
    let value = change();
    point();
    value
}
