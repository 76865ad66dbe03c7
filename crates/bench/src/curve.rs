//! A row's times over its sizes, and the straight line through them.

use crate::figure::median;
use crate::round::Outcome;

/// kiln's medians for each size, and the line of least squares.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    /// Size and seconds, sizes ascending.
    pub(crate) points: Vec<(u32, f64)>,
    /// The most memory that a run of each size took, in KiB; without those that ended before anybody could look.
    pub(crate) memory: Vec<u64>,
    /// Seconds for each unit.
    pub(crate) slope: f64,
    /// Seconds at size zero.
    pub(crate) start: f64,
}

impl Curve {
    /// That of an outcome; `None` if kiln has not all of its points, or fewer than two.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        let runs = outcome.tools.first()?.as_ref().ok()?;
        let medians = runs.iter().map(|runs| median(runs.iter().map(|r| r.seconds).collect()));
        let points = outcome.workload.sizes.iter().copied().zip(medians);
        let line = Self::through(points.map(|(x, y)| Some((x, y?))).collect::<Option<Vec<_>>>()?)?;
        let peaks = runs.iter().filter_map(|runs| runs.iter().map(|r| r.peak).filter(|peak| *peak > 0).max());
        Some(Self { memory: peaks.collect(), ..line })
    }

    /// How many times the memory of the first size the most is; `None` if it was not seen of all.
    pub(crate) fn memory_grows(&self) -> Option<f64> {
        let first = self.memory.first().filter(|_| self.memory.len() == self.points.len())?;
        Some(*self.memory.iter().max()? as f64 / *first as f64)
    }

    fn through(points: Vec<(u32, f64)>) -> Option<Self> {
        let count = points.len() as f64;
        if points.len() < 2 {
            return None;
        }
        let mean = |values: &dyn Fn(&(u32, f64)) -> f64| points.iter().map(values).sum::<f64>() / count;
        let (x, y) = (mean(&|p| f64::from(p.0)), mean(&|p| p.1));
        let together = mean(&|p| (f64::from(p.0) - x) * (p.1 - y));
        let spread = mean(&|p| (f64::from(p.0) - x).powi(2));
        let slope = together / spread;
        Some(Self { slope, start: y - slope * x, points, memory: Vec::new() })
    }

    /// Where the line is at a size.
    pub(crate) fn at(&self, size: u32) -> f64 {
        self.start + self.slope * f64::from(size)
    }

    /// How far the worst point is off the line, as a share of the highest point.
    pub(crate) fn deviation(&self) -> f64 {
        let highest = self.points.iter().map(|p| p.1).fold(0.0, f64::max);
        let worst = self.points.iter().map(|p| (p.1 - self.at(p.0)).abs()).fold(0.0, f64::max);
        if highest > 0.0 { worst / highest } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_and_bent() {
        let line = Curve::through(vec![(10, 1.5), (20, 2.0), (30, 2.5)]).unwrap();
        assert!((line.slope - 0.05).abs() < 1e-12 && (line.start - 1.0).abs() < 1e-12, "{line:?}");
        assert!(line.deviation() < 1e-12);
        let bent = Curve::through((1..=4).map(|n| (n, f64::from(n * n))).collect()).unwrap();
        assert!(bent.deviation() > 0.05, "{bent:?}");
        assert_eq!(Curve::through(vec![(1, 1.0)]), None);
        assert_eq!(line.memory_grows(), None);
        assert_eq!(Curve { memory: vec![20, 25, 22], ..line }.memory_grows(), Some(1.25));
    }
}
