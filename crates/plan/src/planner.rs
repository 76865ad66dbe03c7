//! From a file to a plan, asking for base images on the way.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kiln_dockerfile::ast::{Dockerfile, Instruction, Kind, MountKind, Word};
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::lint::Values;
use kiln_dockerfile::source;
use kiln_dockerfile::span::Span;
use kiln_oci::config::ImageConfig;

use crate::graph::{Bases, Graph, Source, Start, references};
use crate::inputs::Inputs;
use crate::model::{BaseKey, Origin, Plan, StageBase, StagePlan};
use crate::stage::StageBuilder;
use crate::state::State;
use crate::turn::Site;
use crate::variables::is_predefined;
use crate::words::Notes;

/// A base image as far as planning goes.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseImage {
    /// Its configuration, whole: history and root filesystem are carried into the plan.
    pub config: ImageConfig,
}

/// A base image whose configuration is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which.
    pub key: BaseKey,
    /// The image name in the first `FROM` that asks for it.
    pub span: Span,
    /// 1-based line of that `FROM`.
    pub line: usize,
}

/// What a build takes from outside besides base images, as far as it can be told from the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Whether the main build context may be read.
    pub main_context: bool,
    /// The names of the directories of `--build-context` that are used, as they were given.
    pub contexts: BTreeSet<String>,
    /// What is copied from the main context, each once. Only where the text says it plainly, without variables, escapes and quotes.
    pub copied: BTreeSet<CopiedPath>,
}

/// A source of COPY or ADD in the main context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CopiedPath {
    /// A path or pattern.
    pub pattern: String,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order.
    pub excludes: Vec<String>,
}

impl CopiedPath {
    /// All of what `pattern` names, without its parents.
    pub fn whole(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), parents: false, excludes: Vec::new() }
    }
}

/// Makes a plan, once the base images that it needs are known.
///
/// Ask [`Planner::needs`], give each answer to [`Planner::supply`], and do so until nothing is needed: the `ONBUILD`
/// triggers of a base image can make further stages, and so further base images, necessary. Then [`Planner::finish`].
#[derive(Clone, Debug)]
pub struct Planner<'a> {
    pub(crate) graph: Graph<'a>,
    pub(crate) bases: Bases,
    pub(crate) errors: Vec<Diagnostic>,
}

impl<'a> Planner<'a> {
    /// Resolves the global arguments, every `FROM`, the target and the references between stages.
    ///
    /// # Errors
    /// All mistakes in these, in the order of the file; a missing target has an empty span.
    pub fn new(file: &'a Dockerfile, inputs: Inputs) -> Result<Self, Vec<Diagnostic>> {
        Ok(Self { graph: Graph::new(file, inputs)?, bases: Bases::new(), errors: Vec::new() })
    }

    /// The base images that the target needs and that are not known yet, in the order of the file, each once.
    ///
    /// Images that only `COPY --from` or a mount names are not among them: no configuration is taken from those.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        for number in self.reachable_stages() {
            let Start::Image(key) = &self.graph.nodes[number].start else { continue };
            let known = self.bases.contains_key(key) || needs.iter().any(|need| need.key == *key);
            if !known {
                let from = &self.graph.file.stages[number].from;
                needs.push(Need { key: key.clone(), span: from.image.span, line: from.line });
            }
        }
        needs
    }

    /// Makes a base image known.
    pub fn supply(&mut self, key: &BaseKey, base: BaseImage) {
        self.bases.insert(key.clone(), base.config);
    }

    /// The stages that the target needs, by position in the file, as far as the known base images tell.
    pub fn reachable_stages(&self) -> Vec<usize> {
        self.graph.reachable(&self.bases).into_iter().collect()
    }

    /// Whether a needed stage runs a command, as far as the known base images tell.
    pub fn uses_run(&self) -> bool {
        self.instructions().any(|(_, instruction)| matches!(instruction.kind, Kind::Run(_)))
    }

    /// What the needed stages read from outside, as far as the known base images tell.
    pub fn outside(&self) -> Outside {
        let mut outside = Outside::default();
        for number in self.reachable_stages() {
            if let Start::Context(name) = &self.graph.nodes[number].start {
                outside.contexts.insert(name.clone());
            }
        }
        for (number, instruction) in self.instructions() {
            outside.main_context |= reads_main_context(&instruction);
            outside.copied.extend(copied(&instruction));
            for reference in references(&instruction) {
                if let Ok(Source::Outside(Origin::Named(name))) = self.graph.resolve(reference, number) {
                    outside.contexts.insert(name);
                }
            }
        }
        outside
    }

    pub(crate) fn instructions(&self) -> impl Iterator<Item = (usize, Cow<'a, Instruction>)> + '_ {
        self.reachable_stages().into_iter().flat_map(|number| {
            let triggers = self.graph.triggers(number, &self.bases).unwrap_or_default();
            let own = self.graph.own_instructions(number).iter().map(Cow::Borrowed);
            triggers.into_iter().chain(own).map(move |instruction| (number, instruction))
        })
    }

    /// Interprets the needed stages.
    ///
    /// # Errors
    /// All mistakes in them, in the order of the file, and base images that were not supplied.
    pub fn finish(self) -> Result<Plan, Vec<Diagnostic>> {
        let missing = self.needs();
        if !missing.is_empty() {
            let error = |need: &Need| Diagnostic::error(need.span, "the base image is not known".to_owned());
            return Err(missing.iter().map(error).collect());
        }
        let planned = self.reachable_stages();
        let mut diagnostics = self.graph.warnings.clone();
        diagnostics.extend(self.other_platforms());
        let mut states: Vec<State> = Vec::new();
        let mut stages = Vec::new();
        let mut values = Values::new();
        for number in &planned {
            let site = Site { graph: &self.graph, number: *number, planned: &planned };
            let mut builder = StageBuilder::new(site, self.start(*number, &planned, &states));
            self.interpret(&mut builder, *number);
            diagnostics.append(&mut builder.diagnostics);
            values.append(&mut builder.values);
            states.push(builder.state.clone());
            stages.push(self.stage_plan(builder, *number, &planned));
        }
        let (errors, warnings) = Notes { diagnostics, ..Notes::default() }.split();
        if !errors.is_empty() {
            return Err(errors);
        }
        let target = planned.iter().position(|number| *number == self.graph.target).unwrap_or_default();
        self.finalise(&mut stages[target].config);
        Ok(Plan {
            stages,
            target,
            warnings,
            with_shell: self.with_shell(),
            stage_bases: self.stage_bases(),
            values,
            unused_args: self.unused_args(),
            source_date_epoch: self.source_date_epoch(),
        })
    }

    pub(crate) fn start(&self, number: usize, planned: &[usize], states: &[State]) -> State {
        let node = &self.graph.nodes[number];
        let below = match &node.start {
            Start::Stage(below) => {
                planned.iter().position(|planned| planned == below).and_then(|i| states.get(i))
            }
            _ => None,
        };
        let config = match &node.start {
            Start::Image(key) => self.bases.get(key).cloned(),
            _ => None,
        };
        match below {
            Some(state) => State::on_stage(state),
            None => State::on_image(config.unwrap_or_else(|| ImageConfig::scratch(&node.platform))),
        }
    }

    pub(crate) fn interpret(&self, builder: &mut StageBuilder<'_>, number: usize) {
        let of_image = matches!(self.graph.nodes[number].start, Start::Image(_));
        match self.graph.triggers(number, &self.bases) {
            Ok(triggers) => triggers.iter().for_each(|trigger| builder.add_trigger(trigger, of_image)),
            Err(mut errors) => builder.diagnostics.append(&mut errors),
        }
        self.graph.own_instructions(number).iter().for_each(|instruction| builder.add(instruction));
    }

    fn stage_plan(&self, builder: StageBuilder<'_>, number: usize, planned: &[usize]) -> StagePlan {
        let (node, from) = (&self.graph.nodes[number], &self.graph.file.stages[number].from);
        let name = from.name.as_ref().map(|name| name.value.clone());
        let base = match &node.start {
            Start::Scratch => StageBase::Scratch,
            Start::Image(key) => StageBase::Image(key.clone()),
            Start::Context(name) => StageBase::Context(name.clone()),
            Start::Stage(below) => {
                StageBase::Stage(planned.iter().position(|planned| planned == below).unwrap_or_default())
            }
        };
        StagePlan {
            number,
            text: match &name {
                Some(name) => format!("FROM {} AS {name}", node.image),
                None => format!("FROM {}", node.image),
            },
            name,
            span: from.span,
            line: from.line,
            platform: node.platform.clone(),
            base,
            steps: builder.steps,
            config: builder.state.config,
        }
    }

    /// What the command line adds to the target.
    fn finalise(&self, config: &mut ImageConfig) {
        let inputs = &self.graph.inputs;
        config.config.labels.extend(inputs.labels.iter().cloned());
        if inputs.platform_given {
            let platform = &inputs.platform;
            let same = config.os == platform.os && config.architecture == platform.architecture;
            if platform.variant.is_some() || !same {
                config.variant.clone_from(&platform.variant);
            }
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
        }
        let normal = config.platform();
        (config.architecture, config.variant) = (normal.architecture, normal.variant);
    }

    /// The build arguments that no `ARG` of the file declares.
    fn unused_args(&self) -> Vec<String> {
        let file = self.graph.file;
        let own = file.stages.iter().flat_map(|stage| &stage.instructions).chain(&file.global_args);
        let triggers: Vec<_> = self.instructions().map(|(_, instruction)| instruction).collect();
        let mut declared = BTreeSet::new();
        for instruction in own.chain(triggers.iter().map(Cow::as_ref)) {
            declared_in(instruction, &mut declared);
        }
        let automatic = |name: &str| self.graph.globals.get(name).is_some();
        let given = self.graph.inputs.build_args.keys();
        given
            .filter(|name| !declared.contains(name.as_str()) && !is_predefined(name) && !automatic(name))
            .cloned()
            .collect()
    }

    /// `SOURCE_DATE_EPOCH` as a build argument, or else as a global `ARG` with a default; not checked, never empty.
    pub fn source_date_epoch(&self) -> Option<String> {
        let name = "SOURCE_DATE_EPOCH";
        let given = self.graph.inputs.build_args.get(name).map(String::as_str);
        given.or_else(|| self.graph.globals.get(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

fn declared_in<'i>(instruction: &'i Instruction, names: &mut BTreeSet<&'i str>) {
    match &instruction.kind {
        Kind::Arg(declarations) => names.extend(declarations.iter().map(|one| one.name.value.as_str())),
        Kind::Onbuild(_, Some(inner)) => declared_in(inner, names),
        _ => {}
    }
}

fn reads_main_context(instruction: &Instruction) -> bool {
    match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => {
            references(instruction).is_empty() && copy.sources.iter().any(is_path)
        }
        Kind::Run(run) => run.mounts.iter().any(|mount| {
            mount.kind == MountKind::Bind && !mount.options.iter().any(|(key, _)| key.value == "from")
        }),
        _ => false,
    }
}

fn is_path(word: &Word) -> bool {
    matches!(source::classify(&word.value), Ok(source::Source::Path))
}

fn copied(instruction: &Instruction) -> Vec<CopiedPath> {
    let (Kind::Copy(copy) | Kind::Add(copy)) = &instruction.kind else { return Vec::new() };
    if !references(instruction).is_empty() {
        return Vec::new();
    }
    let is_plain = |word: &&Word| is_path(word) && !word.value.contains(['$', '\\', '`', '"', '\'']);
    let path = |word: &Word| CopiedPath {
        pattern: word.value.clone(),
        parents: copy.parents,
        excludes: copy.excludes.iter().map(|pattern| pattern.value.clone()).collect(),
    };
    copy.sources.iter().filter(is_plain).map(path).collect()
}
