//! What a target can be given: arguments, secrets, agents.

use std::collections::{BTreeMap, BTreeSet};

use kiln_dockerfile::ast::{ArgDecl, Instruction, Kind, adjoining};
use kiln_dockerfile::expand::{NoVariables, expand_word};
use kiln_dockerfile::span::Span;

use crate::model::{Op, RunMountKind};
use crate::planner::Planner;

/// The parameters of a target, each kind in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name in lower case, empty if it has none.
    pub name: String,
    /// What the comment above it says about it.
    pub description: String,
    /// Build arguments.
    pub args: Vec<OutlineArg>,
    /// Ids of secrets.
    pub secrets: Vec<OutlineMount>,
    /// Ids of ssh agents.
    pub ssh: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above it says about it.
    pub description: String,
    /// Its value in this build; empty if it has none.
    pub value: String,
    /// The instruction that declares it.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The first instruction that mounts it.
    pub span: Span,
}

/// The rest of a comment line that begins with `name`: a description of it.
pub fn description(comment: &str, name: &str) -> String {
    let prefix = format!("{name} ");
    let mut lines = adjoining(comment).lines().filter_map(|line| line.strip_prefix(&prefix));
    lines.next().filter(|_| !name.is_empty()).unwrap_or_default().to_owned()
}

impl Planner<'_> {
    /// The parameters of the target and of the stages that it needs.
    pub fn outline(&self) -> Outline {
        let graph = &self.graph;
        let mut outline = Outline::default();
        if let Some(stage) = graph.file.stages.get(graph.target) {
            outline.name = stage.from.name.as_ref().map(|name| name.value.to_lowercase()).unwrap_or_default();
            outline.description = description(&stage.from.comment, &outline.name);
        }
        let mut found = Found::default();
        for number in self.reachable_stages() {
            let from = &graph.file.stages[number].from;
            for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
                found.globals.extend(names_in(&word.value));
            }
        }
        self.walk(|builder| {
            for (instruction, declaration) in declarations(builder.instructions()) {
                let name = &declaration.name.value;
                let own = declaration.default.is_some() || graph.inputs.build_args.contains_key(name);
                if !own && graph.globals.get(name).is_some() {
                    found.globals.insert(name.clone());
                } else {
                    let value = builder.state.arguments.get(name).flatten().unwrap_or_default();
                    found.add(instruction, name, value.to_owned());
                }
            }
            for step in &builder.steps {
                let Some(Op::Run(run)) = &step.op else { continue };
                for mount in &run.mounts {
                    match &mount.kind {
                        RunMountKind::Secret { id, required, .. } => {
                            note(&mut outline.secrets, id, *required, step.span);
                        }
                        RunMountKind::Ssh { id, required, .. } => {
                            note(&mut outline.ssh, id, *required, step.span)
                        }
                        _ => {}
                    }
                }
            }
        });
        self.add_globals(&mut found);
        outline.args = found.args.into_values().collect();
        outline.args.sort_by_key(|arg| arg.span);
        outline
    }

    /// The global arguments that are used, and those that their defaults use.
    fn add_globals(&self, found: &mut Found) {
        let mut open: Vec<String> = found.globals.iter().cloned().collect();
        while let Some(name) = open.pop() {
            for (instruction, declaration) in declarations(&self.graph.file.global_args) {
                if declaration.name.value != name {
                    continue;
                }
                let value = self.graph.globals.get(&name).unwrap_or_default().to_owned();
                found.add(instruction, &name, value);
                let used = declaration.default.as_ref().map(|word| names_in(&word.value)).unwrap_or_default();
                open.extend(used.into_iter().filter(|name| found.globals.insert(name.clone())));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    /// Names of the global scope that are used.
    globals: BTreeSet<String>,
    args: BTreeMap<String, OutlineArg>,
}

impl Found {
    fn add(&mut self, instruction: &Instruction, name: &str, value: String) {
        let description = description(&instruction.comment, name);
        let arg = OutlineArg { name: name.to_owned(), description, value, span: instruction.span };
        self.args.entry(name.to_owned()).or_insert(arg);
    }
}

fn note(list: &mut Vec<OutlineMount>, id: &str, required: bool, span: Span) {
    match list.iter_mut().find(|known| known.name == id) {
        Some(known) => known.required |= required,
        None => list.push(OutlineMount { name: id.to_owned(), required, span }),
    }
}

fn declarations(list: &[Instruction]) -> impl Iterator<Item = (&Instruction, &ArgDecl)> {
    list.iter().flat_map(|instruction| {
        let declared: &[ArgDecl] = match &instruction.kind {
            Kind::Arg(declared) => declared,
            _ => &[],
        };
        declared.iter().map(move |declaration| (instruction, declaration))
    })
}

fn names_in(word: &str) -> Vec<String> {
    expand_word(word, '\\', &NoVariables).map(|expansion| expansion.unset).unwrap_or_default()
}
