//! Where some of many entries are: enough of them that what is between two can be gone over.

/// Places among encoded entries, in order.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    spots: Vec<Spot>,
    /// The paths of all spots, one after the other.
    paths: Vec<u8>,
    /// So many bytes they are apart at least.
    distance: usize,
}

/// The place of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// What follows its path, in bytes from the start of whatever it is in.
    pub(crate) at: u64,
    /// Which entry it is.
    pub(crate) number: usize,
    /// Where its path is in the table.
    path: usize,
}

impl Table {
    /// One with entries that are `distance` bytes apart at least.
    pub(crate) fn new(distance: usize) -> Self {
        Self { spots: Vec::new(), paths: Vec::new(), distance }
    }

    /// Whether an entry at `at` should be in it.
    pub(crate) fn wants(&self, at: u64) -> bool {
        self.spots.last().is_none_or(|last| at - last.at >= self.distance as u64)
    }

    /// Adds entry `number`, of which what follows `path` is at `at`.
    pub(crate) fn add(&mut self, at: u64, number: usize, path: &[u8]) {
        self.spots.push(Spot { at, number, path: self.paths.len() });
        self.paths.extend_from_slice(path);
    }

    /// How many spots there are.
    pub(crate) fn len(&self) -> usize {
        self.spots.len()
    }

    /// One of the spots.
    pub(crate) fn get(&self, spot: usize) -> Option<&Spot> {
        self.spots.get(spot)
    }

    /// The path of a spot; nothing if there is no such spot.
    pub(crate) fn path(&self, spot: usize) -> &[u8] {
        let end = self.spots.get(spot + 1).map_or(self.paths.len(), |next| next.path);
        self.spots.get(spot).map_or(b"", |spot| &self.paths[spot.path..end])
    }

    /// Bytes of all paths.
    pub(crate) fn path_bytes(&self) -> usize {
        self.paths.len()
    }

    /// How many of the spots from `from` on are at `path` or before it.
    pub(crate) fn up_to(&self, from: usize, path: &[u8]) -> usize {
        let (mut low, mut high) = (from, self.spots.len().max(from));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.path(middle) <= path { low = middle + 1 } else { high = middle }
        }
        low - from
    }

    /// Leaves out what is less than `distance` apart.
    pub(crate) fn space_out(&mut self, distance: usize) {
        let all = std::mem::replace(self, Self::new(distance));
        for (number, spot) in all.spots.iter().enumerate() {
            if self.wants(spot.at) {
                self.add(spot.at, spot.number, all.path(number));
            }
        }
    }

    /// Gives back memory that will not be needed.
    pub(crate) fn shrink(&mut self) {
        self.spots.shrink_to_fit();
        self.paths.shrink_to_fit();
    }
}
