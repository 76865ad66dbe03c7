//! What two root filesystems differ in, as far as their records tell: the lowest layer that is not the same.

use kiln_oci::digest::Digest;

use super::{BaseId, Change, How, Side};
use crate::record::{BaseRecord, BuildRecord, Place, PlanRecord};

/// A layer of a root filesystem and where it comes from.
struct Below {
    content: Digest,
    from: Whence,
}

enum Whence {
    Base(BaseId),
    Step { name: String, text: String },
}

/// The lowest difference; nothing if one of the builds did not get that far or if there is none.
pub(crate) fn difference(new: Side<'_>, old: Side<'_>) -> Option<Change> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    collect(new.plan(), new.place.stage, new.place.step, &mut here)?;
    collect(old.plan(), old.place.stage, old.place.step, &mut there)?;
    let same = here.iter().zip(&there).take_while(|(a, b)| a.content == b.content).count();
    let base = |side: Side<'_>| bottom(side.plan(), side.place.stage);
    let is_base = |below: Option<&Below>| matches!(below, Some(Below { from: Whence::Base(_), .. }));
    if is_base(here.get(same)) || is_base(there.get(same)) {
        return Some(Change::Base { old: base(old)?, new: base(new)? });
    }
    let step = |below: &Below, how| match &below.from {
        Whence::Step { name, text } => Change::Below { step: name.clone(), text: text.clone(), how },
        Whence::Base(base) => Change::Base { old: base.clone(), new: base.clone() },
    };
    let among = |list: &[Below], one: &Below| list.iter().any(|other| text(other) == text(one));
    match (here.get(same), there.get(same)) {
        (Some(a), Some(b)) if text(a) != text(b) && among(&here[same..], b) && !among(&there, a) => {
            Some(step(a, How::Added))
        }
        (Some(a), Some(b)) if text(a) != text(b) && among(&there[same..], a) && !among(&here, b) => {
            Some(step(b, How::Removed))
        }
        (Some(a), Some(_)) => Some(step(a, How::OtherFiles)),
        (Some(a), None) => Some(step(a, How::Added)),
        (None, Some(b)) => Some(step(b, How::Removed)),
        (None, None) => None,
    }
}

fn text(below: &Below) -> &str {
    match &below.from {
        Whence::Step { text, .. } => text,
        Whence::Base(base) => &base.reference,
    }
}

/// The layers below the step at `place` of `stage`, lowest first.
fn collect(plan: &PlanRecord, stage: usize, place: usize, out: &mut Vec<Below>) -> Option<()> {
    let found = plan.stages.get(stage)?;
    match &found.base {
        BaseRecord::Image { passed_on: true, layers, .. } if layers.is_empty() => return None,
        BaseRecord::Image { reference, digest, layers, .. } => {
            let base = BaseId { reference: reference.clone(), digest: *digest };
            out.extend(layers.iter().map(|l| Below { content: l.content, from: Whence::Base(base.clone()) }));
        }
        BaseRecord::Stage { index } if *index < stage => {
            collect(plan, *index, plan.stages[*index].steps.len(), out)?;
        }
        BaseRecord::Stage { .. } => return None,
        BaseRecord::Scratch | BaseRecord::Context { .. } => {}
    }
    for (i, step) in found.steps.iter().take(place).enumerate() {
        match &step.layer {
            Some(layer) => {
                let from = Whence::Step { name: plan.step_name(stage, i), text: step.text.clone() };
                out.push(Below { content: layer.content, from });
            }
            None if i == 0 => {}
            None => return None,
        }
    }
    Some(())
}

/// The image at the very bottom of a stage.
fn bottom(plan: &PlanRecord, stage: usize) -> Option<BaseId> {
    match &plan.stages.get(stage)?.base {
        BaseRecord::Image { reference, digest, .. } => {
            Some(BaseId { reference: reference.clone(), digest: *digest })
        }
        BaseRecord::Stage { index } if *index < stage => bottom(plan, *index),
        BaseRecord::Stage { .. } => None,
        BaseRecord::Scratch => Some(BaseId { reference: "scratch".to_owned(), digest: None }),
        BaseRecord::Context { name } => Some(BaseId { reference: name.clone(), digest: None }),
    }
}

/// Whether two stages start from different images.
pub(crate) fn base_change(
    (new, here): (&BuildRecord, Place),
    (old, there): (&BuildRecord, Place),
) -> Option<Change> {
    let new = bottom(&new.plans[here.plan], here.stage)?;
    let old = bottom(&old.plans[there.plan], there.stage)?;
    (new.digest != old.digest).then_some(Change::Base { old, new })
}
