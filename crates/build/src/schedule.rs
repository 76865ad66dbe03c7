//! Runs stages side by side.
//!
//! Every stage has a thread that waits for the stages it needs and then does its steps in order; a permit bounds how many steps do
//! work at once. Waiting for another stage never holds a permit, and stages only wait for earlier ones, so nothing can lock up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{BuildError, BuildErrorKind};
use crate::report::Reporter;

/// The results of stages, each set once.
pub(crate) struct Slots<T> {
    results: Mutex<Vec<Slot<T>>>,
    changed: Condvar,
}

enum Slot<T> {
    Pending,
    Done(std::sync::Arc<T>),
    Failed,
}

impl<T> Slots<T> {
    pub(crate) fn new(count: usize) -> Self {
        let results = (0..count).map(|_| Slot::Pending).collect();
        Self { results: Mutex::new(results), changed: Condvar::new() }
    }

    /// Waits for the result of `index`.
    pub(crate) fn wait(&self, index: usize) -> Result<std::sync::Arc<T>, BuildErrorKind> {
        let mut results = guard(&self.results);
        loop {
            match results.get(index) {
                Some(Slot::Done(value)) => return Ok(value.clone()),
                Some(Slot::Pending) => {}
                Some(Slot::Failed) | None => return Err(BuildErrorKind::Cancelled),
            }
            results = self.changed.wait(results).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(&self, index: usize, slot: Slot<T>) {
        if let Some(place) = guard(&self.results).get_mut(index) {
            *place = slot;
        }
        self.changed.notify_all();
    }

    /// Runs `work` for every index on a thread of its own and waits for all. The first real failure is returned.
    pub(crate) fn run_all(
        &self,
        reporter: &Reporter<'_>,
        work: impl Fn(usize) -> Result<T, BuildError> + Sync,
    ) -> Result<(), BuildError>
    where
        T: Send + Sync,
    {
        let count = guard(&self.results).len();
        let errors = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for index in 0..count {
                let (work, errors) = (&work, &errors);
                scope.spawn(move || {
                    // A panic in one stage must not leave the others waiting for ever.
                    let unwound = Abandoned { slots: self, index };
                    match work(index) {
                        Ok(value) => self.set(index, Slot::Done(std::sync::Arc::new(value))),
                        Err(error) => {
                            guard(errors).push(error);
                            reporter.fail();
                            self.set(index, Slot::Failed);
                        }
                    }
                    std::mem::forget(unwound);
                });
            }
        });
        let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        crate::report::worst(errors).map_or(Ok(()), Err)
    }
}

struct Abandoned<'a, T> {
    slots: &'a Slots<T>,
    index: usize,
}

impl<T> Drop for Abandoned<'_, T> {
    fn drop(&mut self) {
        self.slots.set(self.index, Slot::Failed);
    }
}

/// Does `work` for 0 to `count`, up to `threads` at once, this one among them; the results are in order. After a failure nothing new is begun.
pub(crate) fn side_by_side<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, BuildErrorKind> + Sync,
) -> Result<Vec<T>, BuildErrorKind> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((Vec::new(), None));
    let turn = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count || guard(&done).1.is_some() {
                return;
            }
            match work(i) {
                Ok(value) => guard(&done).0.push((i, value)),
                Err(error) => {
                    guard(&done).1.get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(turn);
        }
        turn();
    });
    let (mut values, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed {
        return Err(error);
    }
    values.sort_by_key(|(i, _)| *i);
    Ok(values.into_iter().map(|(_, value)| value).collect())
}

/// Bounds how many threads work at once.
pub(crate) struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// The right to work; dropped, another thread has it.
pub(crate) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count.max(1)), returned: Condvar::new() }
    }

    /// Waits for a permit.
    pub(crate) fn take(&self) -> Permit<'_> {
        let mut free = guard(&self.free);
        while *free == 0 {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *guard(&self.0.free) += 1;
        self.0.returned.notify_one();
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
