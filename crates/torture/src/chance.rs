//! Numbers that look random and come again.

/// A sequence of numbers (splitmix64), the same for the same seed and place.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The sequence for disturbance `number` of a trial.
    pub(crate) fn new(seed: u64, trial: &str, number: usize) -> Self {
        let name = trial.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self(seed ^ name.rotate_left(32) ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_and_else_not() {
        let take = |seed, trial, number| {
            let mut chance = Chance::new(seed, trial, number);
            [0; 4].map(|_| chance.below(1 << 40))
        };
        assert_eq!(take(1, "kills", 0), take(1, "kills", 0));
        let others = [take(2, "kills", 0), take(1, "full", 0), take(1, "kills", 1)];
        assert!(others.iter().all(|other| *other != take(1, "kills", 0)));
    }
}
