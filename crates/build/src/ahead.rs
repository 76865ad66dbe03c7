//! Compresses layers while later steps run.
//!
//! A layer of the target that will be exported is offered as soon as its step is done. One thread of the lowest urgency, with helpers
//! that inherit it, makes the blob that the export will ask for: what commands leave of the processors is enough to be
//! done by the end of most builds, and a command that wants them gets them. When the last step has ended, the layer at
//! hand is finished and the rest is left to the export, which has all processors to itself.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kiln_oci::digest::Digest;

use crate::error::BuildErrorKind;
use crate::event::{TaskKind, TaskOutcome};
use crate::layers::Layer;
use crate::layers::forms::{self, Packing};
use crate::report::{NOBODY, Reporter, short};
use crate::request::LayerForm;
use crate::store::Store;

/// Below everything that a step starts; another process of the machine that is idle costs nothing.
const URGENCY: i32 = 15;

/// The layers that wait.
pub(crate) struct Ahead {
    form: Option<LayerForm>,
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Layer>>,
    offered: Vec<Digest>,
    closed: bool,
}

impl Ahead {
    /// Makes blobs of `form`; `None`, or a single thread, makes none ahead of time.
    pub(crate) fn new(form: Option<LayerForm>, threads: usize) -> Self {
        let form = form.filter(|_| threads > 1);
        Self { form, threads, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Whether there is anything to do at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.form.is_some()
    }

    /// Says that `layer` will be exported. Returns at once.
    pub(crate) fn offer(&self, layer: &Arc<Layer>) {
        if self.form.is_none() || layer.pulled.is_some() {
            return;
        }
        let mut state = self.state();
        if !state.offered.contains(&layer.id) {
            state.offered.push(layer.id);
            state.waiting.push_back(layer.clone());
            self.changed.notify_one();
        }
    }

    /// Nothing more is begun.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Works until [`Ahead::close`]. To be called on a thread of its own, whose urgency it lowers.
    ///
    /// # Errors
    /// The first blob that could not be made; a build that is being stopped is none.
    pub(crate) fn work(&self, store: &Store, reporter: &Reporter<'_>) -> Result<(), BuildErrorKind> {
        let Some(form) = self.form else { return Ok(()) };
        // Without the right to do so the threads are as urgent as any other.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), URGENCY);
        while let Some(layer) = self.next() {
            match self.compress(store, reporter, &layer, &form) {
                Err(BuildErrorKind::Cancelled | BuildErrorKind::Interrupted) => return Ok(()),
                made => made?,
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Arc<Layer>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(layer) = state.waiting.pop_front() {
                return Some(layer);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn compress(
        &self,
        store: &Store,
        reporter: &Reporter<'_>,
        layer: &Layer,
        form: &LayerForm,
    ) -> Result<(), BuildErrorKind> {
        // A small layer is done before anybody could read its line.
        const SHOWN: u64 = 1 << 20;
        reporter.check()?;
        if forms::known_blob(store, layer, form)?.is_some() {
            return Ok(());
        }
        let index = layer.index(store)?;
        let size = forms::tar_size(&index)?;
        let name = format!("compress layer {}", short(&layer.id));
        let make = |task| {
            let packing = Packing { threads: self.threads, reporter, task };
            forms::ensure_blob(store, layer, form, &packing).map(|_| ((), TaskOutcome::Done))
        };
        if size < SHOWN {
            return make(NOBODY).map(|_| ());
        }
        reporter.during(TaskKind::Export, name, None, make)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
