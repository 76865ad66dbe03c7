//! Goes through what is below a directory in the order of paths, holding no more than a part of it.
//!
//! The order of bytes is not that of a depth-first walk: `a-x` comes after `a` and before `a/b`. So what is in a directory waits until the
//! names beside it that sort before `a/` were given.

use std::collections::{BTreeMap, VecDeque};

use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;

use crate::copy::source::{Item, in_parts};
use crate::error::BuildErrorKind;
use crate::files::{Files, Names};

/// So many directories are listed at a time, on two threads.
const AHEAD: usize = 32;

/// From so many of them on: below, starting a thread costs more than it gives.
const WORTHWHILE: usize = 8;

/// Of a directory that is listed so many names are looked at, and so many at a time when its turn comes.
const FIRST: usize = 256;
const NEXT: usize = 4096;

/// As long as so much was looked at and not given yet, nothing is listed ahead.
const HELD: usize = 8192;

/// Something that was met.
pub(crate) struct Spot {
    pub(crate) item: Item,
    /// Whether it is wanted itself.
    pub(crate) taken: bool,
    /// Whether it is a directory in which something may be wanted.
    pub(crate) deeper: bool,
}

/// Looks at what is called by the first path where files are read, and by the second below the source. `None`: it is not there, or
/// neither it nor anything below is wanted.
pub(crate) type Look<'a> = dyn Fn(LayerPath, LayerPath) -> Result<Option<Spot>, BuildErrorKind> + Sync + 'a;

/// Hands everything below the directory `top` that `look` finds to `each`, in the order of [`Item::below`], with whether it is taken.
pub(crate) fn walk(
    (files, top): (&dyn Files, &LayerPath),
    look: &Look<'_>,
    stop: Stop<'_>,
    each: &mut dyn FnMut(Item, bool) -> Result<(), BuildErrorKind>,
) -> Result<(), BuildErrorKind> {
    let mut walk = Walk { files, look, stop, frames: Vec::new(), held: 0 };
    let top = walk.list(top, &LayerPath::root())?;
    walk.enter(top);
    while let Some(spot) = walk.next()? {
        each(spot.item, spot.taken)?;
    }
    Ok(())
}

struct Walk<'a> {
    files: &'a dyn Files,
    look: &'a Look<'a>,
    stop: Stop<'a>,
    frames: Vec<Frame>,
    /// How many spots were looked at and not given.
    held: usize,
}

/// A directory that was listed.
struct Listing {
    real: LayerPath,
    below: LayerPath,
    /// Not looked at yet.
    names: Names,
    seen: VecDeque<Seen>,
}

/// What was looked at; a directory may have been listed already.
struct Seen {
    spot: Spot,
    listing: Option<Box<Listing>>,
}

/// A directory in whose middle the walk is.
struct Frame {
    listing: Listing,
    /// Directories that were given and whose content was not, by name with a slash behind it.
    later: BTreeMap<Vec<u8>, Later>,
}

struct Later {
    real: LayerPath,
    below: LayerPath,
    listing: Option<Box<Listing>>,
}

impl Walk<'_> {
    fn list(&self, real: &LayerPath, below: &LayerPath) -> Result<Listing, BuildErrorKind> {
        self.stop.check().map_err(std::io::Error::from)?;
        let names = self.files.names(real)?;
        let seen = VecDeque::with_capacity(names.len().min(FIRST));
        let mut listing = Listing { real: real.clone(), below: below.clone(), names, seen };
        for name in listing.names.by_ref().take(FIRST) {
            listing.seen.extend(self.see(real, below, &name)?);
        }
        Ok(listing)
    }

    fn see(&self, real: &LayerPath, below: &LayerPath, name: &[u8]) -> Result<Option<Seen>, BuildErrorKind> {
        let found = (self.look)(real.join(name), below.join(name))?;
        Ok(found.map(|spot| Seen { spot, listing: None }))
    }

    fn enter(&mut self, listing: Listing) {
        self.frames.push(Frame { listing, later: BTreeMap::new() });
    }

    fn next(&mut self) -> Result<Option<Spot>, BuildErrorKind> {
        loop {
            self.refill()?;
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            let next = frame.listing.seen.front().map(|seen| seen.spot.item.below.name());
            let waits = frame.later.first_key_value().map(|(name, _)| name.as_slice());
            match (waits, next) {
                (Some(waits), next) if next.is_none_or(|next| waits < next) => self.descend()?,
                (_, Some(_)) => break,
                _ => drop(self.frames.pop()),
            }
        }
        let Some(frame) = self.frames.last_mut() else { return Ok(None) };
        let Some(Seen { spot, listing }) = frame.listing.seen.pop_front() else { return Ok(None) };
        self.held = self.held.saturating_sub(1);
        if spot.deeper {
            let name = [spot.item.below.name(), b"/"].concat();
            let (real, below) = (spot.item.real.clone(), spot.item.below.clone());
            frame.later.insert(name, Later { real, below, listing });
        }
        Ok(Some(spot))
    }

    /// Looks at more of the directory that the walk is in, if nothing is left that was looked at.
    fn refill(&mut self) -> Result<(), BuildErrorKind> {
        let Some(Frame { listing, .. }) = self.frames.last_mut() else { return Ok(()) };
        if !listing.seen.is_empty() {
            return Ok(());
        }
        let names: Vec<Vec<u8>> = listing.names.by_ref().take(NEXT).collect();
        let (real, below) = (listing.real.clone(), listing.below.clone());
        let seen = in_parts(names.len(), FIRST, |i| {
            self.stop.check().map_err(std::io::Error::from)?;
            self.see(&real, &below, &names[i])
        })?;
        if let Some(frame) = self.frames.last_mut() {
            frame.listing.seen.extend(seen.into_iter().flatten());
            self.held += frame.listing.seen.len();
        }
        Ok(())
    }

    /// Goes into the first directory that waits.
    fn descend(&mut self) -> Result<(), BuildErrorKind> {
        self.list_ahead()?;
        let first = self.frames.last_mut().and_then(|frame| frame.later.pop_first());
        if let Some((_, Later { listing: Some(listing), .. })) = first {
            self.enter(*listing);
        }
        Ok(())
    }

    /// Lists the first directory that waits, if that was not done, and those that come after it.
    fn list_ahead(&mut self) -> Result<(), BuildErrorKind> {
        let Some(mut frame) = self.frames.pop() else { return Ok(()) };
        let first = frame.later.first_key_value();
        let is_listed = first.is_some_and(|(_, later)| later.listing.is_some());
        let waits = frame.later.values_mut().map(|later| (&later.real, &later.below, &mut later.listing));
        let deeper = frame.listing.seen.iter_mut().filter(|seen| seen.spot.deeper);
        let comes = deeper.map(|seen| (&seen.spot.item.real, &seen.spot.item.below, &mut seen.listing));
        let unlisted = waits.chain(comes).filter(|(.., listing)| listing.is_none());
        let count = if self.held < HELD { AHEAD } else { 1 };
        let wanted: Vec<_> = unlisted.take(if is_listed { 0 } else { count }).collect();
        let listings = in_parts(wanted.len(), WORTHWHILE, |i| self.list(wanted[i].0, wanted[i].1))?;
        for ((.., place), listing) in wanted.into_iter().zip(listings) {
            self.held += listing.seen.len();
            *place = Some(Box::new(listing));
        }
        self.frames.push(frame);
        Ok(())
    }
}
