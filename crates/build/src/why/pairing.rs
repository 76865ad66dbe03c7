//! The same step in another build.

use crate::record::{BuildRecord, Place, PlanRecord, StageRecord, StepRecord};

/// Where the step at `place` of `new` is in `old`: in the stage of the same name, the step with the same text, or else the one that
/// stands where it stood and is the same kind of instruction.
pub(crate) fn counterpart(new: &BuildRecord, place: Place, old: &BuildRecord) -> Option<Place> {
    let plan = &new.plans[place.plan];
    let other = old.plans.iter().position(|p| p.platform == plan.platform);
    let other = other.or_else(|| (!old.plans.is_empty()).then_some(0))?;
    let stage = &plan.stages[place.stage];
    let found = stage_in(&old.plans[other], stage)?;
    let step = step_in(&stage.steps, place.step, &old.plans[other].stages[found].steps)?;
    Some(Place { plan: other, stage: found, step })
}

/// A stage that was renamed is known by an instruction that it still has.
fn stage_in(plan: &PlanRecord, stage: &StageRecord) -> Option<usize> {
    let by_name = plan.stages.iter().position(|s| s.name == stage.name);
    let shares = |s: &StageRecord| {
        s.steps.iter().skip(1).any(|a| stage.steps.iter().skip(1).any(|b| a.text == b.text))
    };
    by_name.or_else(|| plan.stages.iter().position(shares))
}

/// FROM answers to FROM. Of the others the longest common sequence of texts is paired; between two pairs of it, instructions of one
/// kind are paired in order.
fn step_in(new: &[StepRecord], wanted: usize, old: &[StepRecord]) -> Option<usize> {
    if wanted == 0 {
        return (!old.is_empty()).then_some(0);
    }
    let anchors = common(new, old);
    if let Some((_, there)) = anchors.iter().find(|(here, _)| *here == wanted) {
        return Some(*there);
    }
    let before = anchors.iter().rev().find(|(here, _)| *here < wanted).copied().unwrap_or((0, 0));
    let after = anchors.iter().find(|(here, _)| *here > wanted).copied().unwrap_or((new.len(), old.len()));
    let kind = |step: &StepRecord| step.text.split(' ').next().unwrap_or_default().to_owned();
    let wanted_kind = kind(&new[wanted]);
    let rank = new[before.0 + 1..wanted].iter().filter(|step| kind(step) == wanted_kind).count();
    let mut there = (before.1 + 1..after.1).filter(|i| kind(&old[*i]) == wanted_kind);
    there.nth(rank)
}

/// Pairs of places with equal texts, FROM left out, ascending on both sides; as many as can be.
fn common(new: &[StepRecord], old: &[StepRecord]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0u32; old.len() + 1]; new.len() + 1];
    for i in (1..new.len()).rev() {
        for j in (1..old.len()).rev() {
            longest[i][j] = if new[i].text == old[j].text {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (1, 1, Vec::new());
    while i < new.len() && j < old.len() {
        if new[i].text == old[j].text {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(texts: &[&str]) -> Vec<StepRecord> {
        texts.iter().map(|text| StepRecord { text: (*text).to_owned(), ..StepRecord::default() }).collect()
    }

    /// New texts, old texts, which of the old each new one is.
    type Row = (&'static [&'static str], &'static [&'static str], &'static [Option<usize>]);

    #[test]
    fn steps_are_known_again() {
        let table: [Row; 6] = [
            (&["F", "RUN a", "RUN b"], &["F", "RUN a", "RUN b"], &[Some(0), Some(1), Some(2)]),
            (&["F", "RUN a", "RUN x", "RUN b"], &["F", "RUN a", "RUN b"], &[Some(0), Some(1), None, Some(2)]),
            (&["F", "RUN b"], &["F", "RUN a", "RUN b"], &[Some(0), Some(2)]),
            (&["F", "RUN A", "RUN b"], &["F", "RUN a", "RUN b"], &[Some(0), Some(1), Some(2)]),
            (&["F", "COPY x /", "RUN A"], &["F", "RUN a", "COPY y /"], &[Some(0), Some(2), Some(1)]),
            (&["F", "RUN a"], &["F"], &[Some(0), None]),
        ];
        for (new, old, want) in table {
            let (new_steps, old_steps) = (steps(new), steps(old));
            let got: Vec<_> = (0..new.len()).map(|i| step_in(&new_steps, i, &old_steps)).collect();
            assert_eq!(got, want, "{new:?} in {old:?}");
        }
    }
}
