//! What a collection takes: a decision about data, without a look at the disk.

use std::time::{Duration, SystemTime};

use crate::collect::stock::{CacheKind, Stock, Unit};

/// Objects that stay whatever is asked: the locks that a collection itself holds.
const HELD: [&str; 2] = [crate::store::COLLECT, crate::store::GATE];

/// What to take away. With neither [`PruneOptions::all`] nor any of the limits it is only what nothing needs any more.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// The whole cache; images with a name stay.
    pub all: bool,
    /// What was not used for this long. An hour is how exactly uses are noted.
    pub older_than: Option<Duration>,
    /// The longest unused, until the cache takes no more bytes than this.
    pub keep_storage: Option<u64>,
    /// Only what all of these match.
    pub filters: Vec<Filter>,
    /// Say what would go, take nothing.
    pub dry_run: bool,
}

/// A condition on parts of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Whether it wants the opposite.
    pub not: bool,
    /// What it looks at.
    pub of: Subject,
}

/// What a [`Filter`] looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One of these kinds; none of them if the list is empty.
    Kind(Vec<CacheKind>),
    /// A cache mount's id, or the beginning of a name in the store.
    Id(String),
    /// Last used before this.
    Until(SystemTime),
}

impl Filter {
    fn fits(&self, unit: &Unit) -> bool {
        let fits = match &self.of {
            Subject::Kind(kinds) => kinds.contains(&unit.kind),
            Subject::Id(id) => unit.label == *id || !id.is_empty() && unit.name.starts_with(id.as_str()),
            Subject::Until(time) => unit.used < *time,
        };
        fits != self.not
    }
}

/// What was decided.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Objects, records before what they lead to.
    pub(super) objects: Vec<usize>,
    /// Units.
    pub(super) units: Vec<usize>,
    /// Bytes of the cache that stay.
    pub(super) left: u64,
}

/// Decides what goes.
pub(super) fn choose(stock: &Stock, options: &PruneOptions, now: SystemTime) -> Choice {
    let mut scale = Scale::of(stock, !options.all);
    if options.filters.is_empty() {
        scale.take_garbage();
    }
    let limited = options.older_than.is_some() || options.keep_storage.is_some();
    // A time in the future comes from a clock that was set back since: such a thing counts as used just now.
    let too_old = options.older_than.map(|age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
    for (i, unit) in stock.units.iter().enumerate() {
        if !(options.all || limited || !options.filters.is_empty()) {
            break;
        }
        // Units come with the longest unused first.
        if options.keep_storage.is_some_and(|keep| scale.choice.left <= keep) {
            break;
        }
        if too_old.is_none_or(|time| unit.used < time) && options.filters.iter().all(|f| f.fits(unit)) {
            scale.take_unit(i);
        }
    }
    scale.take_weak();
    scale.choice
}

/// Counts who still needs what.
struct Scale<'a> {
    stock: &'a Stock,
    /// By object: how many units need it.
    needed: Vec<u32>,
    gone: Vec<bool>,
    choice: Choice,
}

impl<'a> Scale<'a> {
    /// With `remembering`, builds that are remembered keep their logs.
    fn of(stock: &'a Stock, remembering: bool) -> Self {
        let mut needed = vec![0; stock.objects.len()];
        for unit in &stock.units {
            unit.own.iter().chain(&unit.refs).for_each(|o| needed[*o] += 1);
        }
        for log in stock.remembered.iter().filter(|_| remembering) {
            needed[*log] += 1;
        }
        let gone = vec![false; needed.len()];
        let cached = |i: &usize| !stock.named[*i] && !stock.is_unfinished[*i];
        let left = (0..needed.len()).filter(cached).map(|i| stock.objects[i].bytes).sum();
        Self { stock, needed, gone, choice: Choice { left, ..Choice::default() } }
    }

    fn take(&mut self, object: usize) {
        if !self.gone[object] && !self.stock.named[object] {
            self.gone[object] = true;
            self.choice.objects.push(object);
            if !self.stock.is_unfinished[object] {
                self.choice.left -= self.stock.objects[object].bytes;
            }
        }
    }

    fn take_garbage(&mut self) {
        let stock = self.stock;
        for (i, object) in stock.objects.iter().enumerate() {
            let is_held = object.folder == "locks" && HELD.contains(&object.name.as_str());
            if stock.is_unfinished[i] && !is_held || stock.is_part[i] && self.needed[i] == 0 {
                self.take(i);
            }
        }
    }

    fn take_unit(&mut self, unit: usize) {
        self.choice.units.push(unit);
        let stock = self.stock;
        for &object in stock.units[unit].own.iter().chain(&stock.units[unit].refs) {
            self.needed[object] -= 1;
            if self.needed[object] == 0 {
                self.take(object);
            }
        }
    }

    /// Takes the records of layers that are not there any more.
    fn take_weak(&mut self) {
        let stock = self.stock;
        for (record, about) in &stock.weak {
            if about.iter().all(|object| self.gone[*object]) {
                self.take(*record);
            }
        }
    }
}
