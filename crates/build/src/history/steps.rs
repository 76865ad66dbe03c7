//! Which step somebody means.

use super::folder::HistoryError;
use crate::record::{BuildRecord, Place, StepOutcome};

impl BuildRecord {
    /// The step that `text` names: `3` (of the target's stage), `build:3`, or as the screen has it, `[build 3/5]`; with several
    /// platforms the first one's unless `@linux/arm64` follows.
    ///
    /// # Errors
    /// If there is no such step.
    pub fn find_step(&self, text: &str) -> Result<Place, HistoryError> {
        let unknown = || HistoryError::UnknownStep { step: text.to_owned(), known: self.known_steps() };
        let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
        let (name, platform) = match bare.split_once('@') {
            Some((name, platform)) => (name, Some(platform)),
            None => (bare, None),
        };
        let plan = match platform {
            Some(wanted) => self.plans.iter().position(|p| p.platform.to_string() == wanted),
            None => (!self.plans.is_empty()).then_some(0),
        };
        let plan = plan.ok_or_else(unknown)?;
        let (stage, number) = match name.rsplit_once([':', ' ']) {
            Some((stage, number)) => (Some(stage), number),
            None => (None, name),
        };
        // `3/5` is what the screen shows; the total says nothing.
        let number = number.split('/').next().unwrap_or(number);
        let stages = &self.plans[plan].stages;
        let stage = match stage {
            Some(name) => stages.iter().position(|s| s.name.eq_ignore_ascii_case(name)),
            None => Some(self.plans[plan].target),
        };
        let step = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let place = stage.zip(step).map(|(stage, step)| Place { plan, stage, step });
        place.filter(|place| self.step(*place).is_some()).ok_or_else(unknown)
    }

    /// The step that failed, if one did.
    pub fn failed_step(&self) -> Option<Place> {
        self.places().find(|place| self.step(*place).is_some_and(|step| step.outcome == StepOutcome::Failed))
    }

    fn known_steps(&self) -> String {
        let names = |stage: &crate::record::StageRecord, alone: bool| match (stage.steps.len(), alone) {
            (count, true) => format!("1 to {count}"),
            (count, false) => format!("{0}:1 to {0}:{count}", stage.name),
        };
        let plan = self.plans.first();
        let stages = plan.map(|p| p.stages.as_slice()).unwrap_or_default();
        let alone = stages.len() == 1 && !stages[0].named;
        stages.iter().map(|stage| names(stage, alone)).collect::<Vec<_>>().join(", ")
    }
}
