//! Looks at what will be copied from the main context while the registry is asked for the base.
//!
//! Both take time and neither needs the other. What was seen serves the step that asks for just that, and only if it was seen a
//! moment ago: a step that comes after a long command looks again, and the memory of digests makes that cheap.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kiln_layer::stop::Stop;
use kiln_plan::CopiedPath;

use crate::copy::gather::{Gathered, Looking, gather};
use crate::error::BuildErrorKind;
use crate::files::Files;

/// How old what was seen may be.
const FRESH: Duration = Duration::from_millis(500);

type Seen = Result<Gathered, BuildErrorKind>;

/// Filled by whoever comes first, while others wait; taken by the first step that asks.
type Slot = OnceLock<(Mutex<Option<Seen>>, Instant)>;

/// What is looked at ahead of time.
#[derive(Default)]
pub(crate) struct Foreseen {
    slots: Mutex<BTreeMap<CopiedPath, Arc<Slot>>>,
    ended: AtomicBool,
}

impl Foreseen {
    /// Forgets what an earlier attempt has seen.
    pub(crate) fn begin(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ended.store(false, Ordering::Relaxed);
    }

    /// Says what [`Foreseen::look`] will look at: steps that want the same wait for it from now on.
    pub(crate) fn announce(&self, paths: impl IntoIterator<Item = CopiedPath>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.extend(paths.into_iter().map(|path| (path, Arc::default())));
    }

    /// Looks at all that was announced. What fails is an error of the step, if there ever is one that asks.
    pub(crate) fn look(&self, files: &dyn Files, looking: Looking<'_>) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let over = || self.ended.load(Ordering::Relaxed) || looking.stop.check().is_err();
        let looking = Looking { stop: Stop::when(&over), ..looking };
        for (path, slot) in slots {
            fill(&slot, &path, files, looking);
        }
    }

    /// Nothing is wanted any more; a look that is under way ends at once.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// What `path` names in `files`, the main context.
    pub(crate) fn gather(&self, files: &dyn Files, path: &CopiedPath, looking: Looking<'_>) -> Seen {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        if let Some(slot) = slot {
            let (seen, when) = fill(&slot, path, files, looking);
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(seen) = seen.filter(|_| when.elapsed() < FRESH) {
                return seen;
            }
        }
        gather(files, path, looking)
    }
}

fn fill<'s>(
    slot: &'s Slot,
    path: &CopiedPath,
    files: &dyn Files,
    looking: Looking<'_>,
) -> &'s (Mutex<Option<Seen>>, Instant) {
    slot.get_or_init(|| (Mutex::new(Some(gather(files, path, looking))), Instant::now()))
}
