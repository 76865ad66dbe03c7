//! One stage: its instructions in order, triggers first.

use kiln_dockerfile::ast::{Instruction, Kind};
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::lint::Values;
use kiln_dockerfile::source::redacted;
use kiln_dockerfile::span::Span;

use crate::model::{CopySource, Op, Step};
use crate::state::State;
use crate::turn::{Outcome, Site, Turn};
use crate::words::{Expander, Notes};
use crate::{copy, metadata, run};

/// A stage in the making.
pub(crate) struct StageBuilder<'g> {
    site: Site<'g>,
    /// As it stands after the last instruction.
    pub(crate) state: State,
    /// What is to be done so far.
    pub(crate) steps: Vec<Step>,
    /// What is wrong so far.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What words stand for that build checks look at, those of the image's triggers aside.
    pub(crate) values: Values,
    /// What the stage is built on is not known, so neither are all of its variables.
    pub(crate) base: Known,
}

/// Whether the values of variables can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// All of them.
    Fully,
    /// Those that the file sets itself.
    InPart,
    /// None: some were set from what is not known.
    Hardly,
}

impl<'g> StageBuilder<'g> {
    /// A stage at its `FROM`.
    pub(crate) fn new(site: Site<'g>, state: State) -> Self {
        Self {
            site,
            state,
            steps: Vec::new(),
            diagnostics: Vec::new(),
            values: Values::new(),
            base: Known::Fully,
        }
    }

    /// The instructions that are written in the stage.
    pub(crate) fn instructions(&self) -> &'g [Instruction] {
        self.site.graph.own_instructions(self.site.number)
    }

    /// Adds an instruction that is written in the file.
    pub(crate) fn add(&mut self, instruction: &Instruction) {
        let step = self.step(instruction, true);
        self.steps.extend(step);
    }

    /// Adds a trigger. For one of an image, everything that it has to say points to the `FROM`; one of an earlier stage is
    /// written in the file.
    pub(crate) fn add_trigger(&mut self, instruction: &Instruction, of_image: bool) {
        let earlier = self.diagnostics.len();
        let mut step = self.step(instruction, !of_image);
        if let Some(step) = &mut step {
            step.text = format!("ONBUILD {}", step.text);
        }
        if of_image {
            let from = &self.site.graph.file.stages[self.site.number].from;
            for diagnostic in &mut self.diagnostics[earlier..] {
                let trigger = format!("in `ONBUILD {}` of the base image", instruction.text);
                diagnostic.message = format!("{trigger}: {}", diagnostic.message);
                diagnostic.span = from.image.span;
                diagnostic.fix = None;
            }
            if let Some(step) = &mut step {
                step.line = from.line;
                relocate(step, from.span);
            }
        }
        self.steps.extend(step);
    }

    /// Whether what was noted holds whatever the base image sets.
    fn believes(&self, unset: bool, used: bool) -> bool {
        match self.base {
            Known::Fully => true,
            Known::InPart => !unset,
            Known::Hardly => !unset && !used,
        }
    }

    fn step(&mut self, instruction: &Instruction, is_written: bool) -> Option<Step> {
        let escape = self.site.graph.file.directives.escape;
        let mut turn = Turn { site: self.site, state: &mut self.state, notes: Notes::default() };
        let outcome = interpret(instruction, &mut turn);
        let Notes { seen, saw_environment, diagnostics, unset, values } = turn.notes;
        if self.believes(unset, saw_environment || !seen.is_empty()) {
            self.diagnostics.extend(diagnostics);
            let is_checked =
                matches!(instruction.kind, Kind::Copy(_) | Kind::Add(_) | Kind::Expose(_) | Kind::Workdir(_));
            self.values.extend(values.into_iter().filter(|_| is_written && is_checked));
        }
        let sets = matches!(instruction.kind, Kind::Env(_) | Kind::Arg(_));
        if sets && unset && self.base == Known::InPart {
            self.base = Known::Hardly;
        }
        let Outcome { created_by, op } = outcome?;
        let text = match (&instruction.kind, &op) {
            (Kind::Run(command), Some(Op::Run(op))) => {
                run::shown(&instruction.text, command, &op.mounts, &self.state.variables, escape)
            }
            (Kind::Add(_), Some(_)) => {
                let text = Expander::new(&self.state.variables, escape).shown(&instruction.text);
                text.split(' ').map(redacted).collect::<Vec<_>>().join(" ")
            }
            // Only ENV and ARG change variables, and they have nothing to do.
            (_, Some(_)) => Expander::new(&self.state.variables, escape).shown(&instruction.text),
            (_, None) => instruction.text.clone(),
        };
        let in_history = !matches!(instruction.kind, Kind::Onbuild(..));
        Some(Step { span: instruction.span, line: instruction.line, text, created_by, op, in_history, seen })
    }
}

fn interpret(instruction: &Instruction, turn: &mut Turn<'_>) -> Option<Outcome> {
    match &instruction.kind {
        Kind::Arg(declarations) => metadata::arg(declarations, turn),
        Kind::Env(pairs) => metadata::env(pairs, turn),
        Kind::Label(pairs) => metadata::label(pairs, turn),
        Kind::Run(command) => run::run(command, turn),
        Kind::Copy(files) => copy::copy(files, false, turn),
        Kind::Add(files) => copy::copy(files, true, turn),
        Kind::Cmd(command) => metadata::cmd(command, turn),
        Kind::Entrypoint(command) => metadata::entrypoint(command, turn),
        Kind::Shell(argv) => metadata::shell(argv, turn),
        Kind::Workdir(path) => metadata::workdir(path, turn),
        Kind::User(user) => metadata::user(user, turn),
        Kind::Expose(ports) => metadata::expose(ports, turn),
        Kind::Volume(paths) => metadata::volume(paths, turn),
        Kind::StopSignal(name) => metadata::stop_signal(name, turn),
        Kind::Healthcheck(check) => metadata::healthcheck(check, turn),
        Kind::Onbuild(text, _) => metadata::onbuild(text, turn),
        Kind::Maintainer(text) => metadata::maintainer(text, turn),
    }
}

fn relocate(step: &mut Step, place: Span) {
    step.span = place;
    match &mut step.op {
        Some(Op::Run(run)) => run.mounts.iter_mut().for_each(|mount| mount.span = place),
        Some(Op::Copy(copy)) => {
            for source in &mut copy.sources {
                match source {
                    CopySource::Path { span, .. }
                    | CopySource::Http { span, .. }
                    | CopySource::Git { span, .. } => {
                        *span = place;
                    }
                    CopySource::Inline { .. } => {}
                }
            }
        }
        Some(Op::Workdir(_)) | None => {}
    }
}
