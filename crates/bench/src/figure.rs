//! From the runs of a row to its one number, and numbers as people read them.

use crate::round::Readings;
use crate::workload::Workload;

/// The one number of a row: see [`Workload::sizes`].
pub(crate) fn figure(workload: &Workload, readings: &Readings) -> Option<f64> {
    let medians: Vec<_> =
        readings.as_ref().ok()?.iter().map(|runs| median(runs.iter().map(|r| r.seconds).collect())).collect();
    let (first, last) = ((*medians.first()?)?, (*medians.last()?)?);
    if !workload.is_slope() {
        return Some(last);
    }
    let units = workload.sizes.last()? - workload.sizes.first()?;
    Some((last - first) / f64::from(units))
}

/// The middle one, or the mean of the middle two. None of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        Some(upper)
    } else {
        Some((values.get(middle.checked_sub(1)?)? + upper) / 2.0)
    }
}

/// With as many digits as mean something.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        v if v < 0.01 => format!("{:.1} ms", v * 1e3),
        v if v < 1.0 => format!("{:.0} ms", v * 1e3),
        v if v < 10.0 => format!("{v:.2} s"),
        v => format!("{v:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Reading;
    use crate::workload::WORKLOADS;

    fn runs(seconds: &[f64]) -> Vec<Reading> {
        seconds.iter().map(|s| Reading { seconds: *s, peak: 2048 }).collect()
    }

    #[test]
    fn medians() {
        for (values, expected) in [
            (vec![], None),
            (vec![2.0], Some(2.0)),
            (vec![3.0, 1.0], Some(2.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
        ] {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn several_sizes_give_the_time_for_each_unit() {
        let row = WORKLOADS.iter().find(|w| w.sizes == [1, 20]).unwrap();
        let figure = figure(row, &Ok(vec![runs(&[0.1]), runs(&[0.1 + 19.0 * 0.004])])).unwrap();
        assert!((figure - 0.004).abs() < 1e-9, "{figure}");
    }

    #[test]
    fn times_read_well() {
        for (value, text) in [(0.0029, "2.9 ms"), (0.0481, "48 ms"), (2.412, "2.41 s"), (31.44, "31.4 s")] {
            assert_eq!(seconds(value), text);
        }
    }
}
