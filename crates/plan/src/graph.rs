//! Which stage starts from what, which stages a target needs, and what a `from` means.
//!
//! All of it follows from the text, the inputs and, for what `ONBUILD` adds, the configurations of the base images that are
//! known so far; so the questions can be asked again whenever one more base image is known.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kiln_dockerfile::ast::{Dockerfile, Instruction, Kind, Stage, Word};
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::span::Span;
use kiln_dockerfile::suggest;
use kiln_oci::config::ImageConfig;
use kiln_oci::platform::{self, Platform};
use kiln_oci::reference::Reference;

use crate::frontend;
use crate::globals;
use crate::inputs::{ContextKind, Inputs};
use crate::model::{BaseKey, ImageOrigin, Origin};
use crate::trigger;
use crate::variables::Variables;
use crate::words::{Expander, Notes};

/// The configurations of base images that are known.
pub(crate) type Bases = BTreeMap<BaseKey, ImageConfig>;

/// What a stage starts from; stages by their position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Scratch,
    Image(BaseKey),
    Stage(usize),
    Context(String),
}

/// What a `from` names; stages by their position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stage(usize),
    Outside(Origin),
}

/// A stage with its `FROM` resolved.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What it starts from.
    pub(crate) start: Start,
    /// The expanded image name.
    pub(crate) image: String,
    /// The platform of its base; a stage on a stage has that one's.
    pub(crate) platform: Platform,
    /// A build context of its name stands for the whole stage: its instructions do not count.
    pub(crate) replaced: bool,
}

/// The stages of a file.
#[derive(Clone, Debug)]
pub(crate) struct Graph<'a> {
    pub(crate) file: &'a Dockerfile,
    pub(crate) inputs: Inputs,
    /// The scope of `ARG` before the first `FROM`, platform arguments included.
    pub(crate) globals: Variables,
    pub(crate) nodes: Vec<Node>,
    /// Position of the target in the file.
    pub(crate) target: usize,
    /// What is odd but does not stop the build.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Every stage is needed, not only what the target is made from.
    pub(crate) all: bool,
}

impl<'a> Graph<'a> {
    /// Resolves every `FROM` of the file.
    pub(crate) fn new(file: &'a Dockerfile, inputs: Inputs) -> Result<Self, Vec<Diagnostic>> {
        let (graph, errors) = Self::survey(file, inputs);
        if errors.is_empty() { Ok(graph) } else { Err(errors) }
    }

    /// The same as far as it goes, and what is wrong.
    pub(crate) fn survey(file: &'a Dockerfile, inputs: Inputs) -> (Self, Vec<Diagnostic>) {
        let mut notes = Notes::default();
        let globals = globals::collect(file, &inputs, &mut notes);
        // What is not set in the global scope is empty there, and where that matters, the lint of FROM says so.
        notes.diagnostics.retain(|diagnostic| diagnostic.rule.is_none());
        let (nodes, warnings) = (Vec::new(), Vec::new());
        let mut graph = Self { file, inputs, globals, nodes, target: 0, warnings, all: false };
        for stage in &file.stages {
            let node = graph.node(stage, &mut notes);
            graph.nodes.push(node);
        }
        match graph.find_target() {
            Ok(target) => graph.target = target,
            Err(error) => notes.diagnostics.push(error),
        }
        if file.stages.is_empty() {
            notes.error(Span::default(), "the Dockerfile has no stage to build");
        } else {
            graph.check_references(&mut notes);
        }
        notes.diagnostics.extend(frontend::refused(graph.file, &graph.inputs));
        let (errors, warnings) = notes.split();
        graph.warnings = warnings;
        (graph, errors)
    }

    fn node(&self, stage: &Stage, notes: &mut Notes) -> Node {
        let mut own = Notes::default();
        let asked = self.platform(stage, &mut own);
        let platform = asked.unwrap_or_else(|| self.inputs.platform.clone());
        let image = self.expand(&stage.from.image, "image", &mut own).unwrap_or_default();
        let mut node = Node { start: Start::Scratch, image, platform, replaced: false };
        let name = stage.from.name.as_ref().map(|name| name.value.as_str());
        if let Some((key, kind)) = name.and_then(|name| self.inputs.context(name)) {
            node.start = start_of_context(key, kind, &node.platform);
            node.replaced = true;
        } else if let Some(earlier) = self.stage_named(&node.image, self.nodes.len()) {
            node.start = Start::Stage(earlier);
            node.platform = self.nodes[earlier].platform.clone();
        } else if !node.image.is_empty() && node.image != "scratch" {
            node.start = self.start_of_image(&node, stage.from.image.span, &mut own);
        }
        notes.diagnostics.append(&mut own.diagnostics);
        node
    }

    fn platform(&self, stage: &Stage, notes: &mut Notes) -> Option<Platform> {
        let word = stage.from.platform.as_ref()?;
        let text = self.expand(word, "platform", notes)?;
        match text.parse() {
            Ok(platform) => Some(platform),
            Err(error) => {
                notes.error(word.span, format!("{error}"));
                if let Some(near) = suggest::nearest(
                    &text,
                    platform::SYSTEMS.into_iter().chain(platform::ARCHITECTURES),
                    false,
                ) {
                    notes.help(format!("did you mean `{near}`?"));
                }
                None
            }
        }
    }

    /// A word of `FROM` in the global scope; it may not end up empty.
    fn expand(&self, word: &Word, what: &str, notes: &mut Notes) -> Option<String> {
        let expander = Expander::new(&self.globals, self.file.directives.escape);
        let mut own = Notes::default();
        let expansion = expander.expansion(word, &mut own);
        let empty = expansion.as_ref().is_some_and(|expansion| expansion.text.is_empty());
        if !empty {
            own.diagnostics.retain(|diagnostic| diagnostic.rule.is_none());
            notes.diagnostics.append(&mut own.diagnostics);
        }
        let expansion = expansion?;
        if empty {
            notes.diagnostics.push(self.empty(word, what, &expansion.unset));
            return None;
        }
        Some(expansion.text)
    }

    fn empty(&self, word: &Word, what: &str, unset: &[String]) -> Diagnostic {
        let error = Diagnostic::error(word.span, format!("the {what} of FROM, `{}`, is empty", word.value));
        let Some(name) = unset.first() else { return error };
        error.with_help(match suggest::nearest(name, self.globals.names(), true) {
            Some(near) => format!("`{name}` is not set, did you mean `{near}`?"),
            None => format!("`{name}` is not set: declare `ARG {name}=...` before the first FROM, or pass --build-arg {name}=..."),
        })
    }

    fn start_of_image(&self, node: &Node, span: Span, notes: &mut Notes) -> Start {
        match self.inputs.context(&node.image) {
            Some((key, kind)) => start_of_context(key, kind, &node.platform),
            None => {
                if let Err(error) = node.image.parse::<Reference>() {
                    notes.error(span, format!("{error}"));
                    let lower = node.image.to_lowercase();
                    if lower.parse::<Reference>().is_ok() {
                        notes.help(format!("did you mean `{lower}`?"));
                    }
                }
                Start::Image(registry_key(&node.image, &node.platform))
            }
        }
    }

    /// The last stage before position `before` that is called `name`, in any case.
    fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        self.file.stages[..before].iter().rposition(|stage| is_called(stage, name))
    }

    fn find_target(&self) -> Result<usize, Diagnostic> {
        let last = self.file.stages.len().saturating_sub(1);
        let Some(wanted) = &self.inputs.target else { return Ok(last) };
        let by_number = || wanted.parse().ok().filter(|number| *number <= last);
        self.stage_named(wanted, self.file.stages.len()).or_else(by_number).ok_or_else(|| {
            let error =
                Diagnostic::error(Span::default(), format!("target stage `{wanted}` could not be found"));
            let names: Vec<&str> = self.stage_names().collect();
            match suggest::nearest(wanted, names.iter().copied(), false) {
                Some(name) => error.with_help(format!("did you mean `{name}`?")),
                None if names.is_empty() => error.with_help("no stage of the Dockerfile has a name"),
                None => error.with_help(format!("the Dockerfile names these stages: {}", names.join(", "))),
            }
        })
    }

    fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.file.stages.iter().filter_map(|stage| Some(stage.from.name.as_ref()?.value.as_str()))
    }

    /// The mistakes in references, in all stages; a stage may be named before it is defined if nothing needs that.
    fn check_references(&self, notes: &mut Notes) {
        let needed = self.reachable(&Bases::new());
        for number in 0..self.nodes.len() {
            for reference in self.own_instructions(number).iter().flat_map(references) {
                let checked = self.resolve(reference, number);
                let checked = if needed.contains(&number) {
                    checked.and_then(|s| defined(s, number, reference))
                } else {
                    checked
                };
                notes.diagnostics.extend(checked.err());
            }
        }
    }

    /// The instructions of a stage, none if a build context replaces it.
    pub(crate) fn own_instructions(&self, number: usize) -> &'a [Instruction] {
        if self.nodes[number].replaced { &[] } else { &self.file.stages[number].instructions }
    }

    /// What `--from=` or `from=` in stage `number` names: an earlier or later stage by name or number, a build context, an
    /// image; in this order.
    pub(crate) fn resolve(&self, from: &Word, number: usize) -> Result<Source, Diagnostic> {
        let text = from.value.as_str();
        if text.strip_suffix('$').unwrap_or(text).contains('$') {
            let message = format!("variables are not expanded in `from` (`{text}`)");
            let help = "define a stage `FROM <image with the variable> AS name`, with ARG in the global scope, and use its name";
            return Err(Diagnostic::error(from.span, message).with_help(help));
        }
        if let Ok(index) = text.parse::<i64>() {
            let stage = usize::try_from(index).ok().filter(|stage| *stage < self.nodes.len());
            let Some(stage) = stage else {
                let error = Diagnostic::error(from.span, format!("there is no stage number {text}"));
                return Err(error.with_help(format!("the last stage has number {}", self.nodes.len() - 1)));
            };
            return self.stage_source(stage, number, from);
        }
        let all = self.nodes.len();
        if let Some(stage) = self.stage_named(text, number).or_else(|| self.stage_named(text, all)) {
            return self.stage_source(stage, number, from);
        }
        if text == "scratch" {
            return Ok(Source::Outside(Origin::Scratch));
        }
        self.outside(from).map(Source::Outside)
    }

    /// A stage as a source of files for stage `number`: the build context in its place, if there is one.
    fn stage_source(&self, stage: usize, number: usize, from: &Word) -> Result<Source, Diagnostic> {
        let node = &self.nodes[stage];
        if node.replaced {
            return Ok(Source::Outside(origin(node.start.clone())));
        }
        if stage == number {
            let message = format!("circular dependency: stage `{}` takes files from itself", from.value);
            return Err(Diagnostic::error(from.span, message).with_help("name an earlier stage or an image"));
        }
        Ok(Source::Stage(stage))
    }

    fn outside(&self, from: &Word) -> Result<Origin, Diagnostic> {
        let platform = &self.inputs.platform;
        let start = match self.inputs.context(&from.value) {
            Some((key, kind)) => start_of_context(key, kind, platform),
            None => {
                let checked = from.value.parse::<Reference>();
                checked.map_err(|error| Diagnostic::error(from.span, format!("{error}")))?;
                Start::Image(registry_key(&from.value, platform))
            }
        };
        Ok(origin(start))
    }

    /// The `ONBUILD` triggers that stage `number` runs first: those of the stage that it is built on, or of its base image
    /// if that is known.
    pub(crate) fn triggers(
        &self,
        number: usize,
        bases: &Bases,
    ) -> Result<Vec<Cow<'a, Instruction>>, Vec<Diagnostic>> {
        if self.nodes[number].replaced {
            return Ok(Vec::new());
        }
        match &self.nodes[number].start {
            Start::Stage(base) => {
                let from = &self.file.stages[number].from;
                trigger::of_stage(self.own_instructions(*base), (from, self.file.directives.escape))
            }
            Start::Image(key) => {
                let texts = bases.get(key).map_or(&[][..], |config| config.config.on_build.as_slice());
                trigger::parse_all(texts, &self.file.stages[number].from)
            }
            Start::Scratch | Start::Context(_) => Ok(Vec::new()),
        }
    }

    /// The stages that the target needs, by position; triggers of base images count as far as these are known.
    pub(crate) fn reachable(&self, bases: &Bases) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = if self.all { (0..self.nodes.len()).collect() } else { vec![self.target] };
        while let Some(number) = open.pop() {
            if number >= self.nodes.len() || !found.insert(number) {
                continue;
            }
            if let Start::Stage(base) = self.nodes[number].start {
                open.push(base);
            }
            let triggers = self.triggers(number, bases).unwrap_or_default();
            let all = triggers.iter().map(Cow::as_ref).chain(self.own_instructions(number));
            for reference in all.flat_map(references) {
                if let Ok(Source::Stage(stage)) = self.resolve(reference, number) {
                    open.push(stage);
                }
            }
        }
        found
    }
}

/// The words of an instruction that name other file systems; an empty one names none.
pub(crate) fn references(instruction: &Instruction) -> Vec<&Word> {
    let mut words: Vec<&Word> = match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => copy.from.iter().collect(),
        Kind::Run(run) => {
            let options = run.mounts.iter().flat_map(|mount| &mount.options);
            options.filter(|(key, _)| key.value == "from").filter_map(|(_, value)| value.as_ref()).collect()
        }
        _ => Vec::new(),
    };
    words.retain(|word| !word.value.is_empty());
    words
}

/// `source`, unless it is a stage that comes after stage `number`, which asks for it.
pub(crate) fn defined(source: Source, number: usize, from: &Word) -> Result<Source, Diagnostic> {
    match source {
        Source::Stage(stage) if stage > number => {
            let name = &from.value;
            let message = format!("stage `{name}` is defined after the stage that takes files from it");
            Err(Diagnostic::error(from.span, message).with_help(format!("move stage `{name}` up")))
        }
        source => Ok(source),
    }
}

fn origin(start: Start) -> Origin {
    match start {
        Start::Image(key) => Origin::Image(key),
        Start::Context(name) => Origin::Named(name),
        Start::Scratch | Start::Stage(_) => Origin::Scratch,
    }
}

fn is_called(stage: &Stage, name: &str) -> bool {
    stage.from.name.as_ref().is_some_and(|own| own.value.eq_ignore_ascii_case(name))
}

fn registry_key(image: &str, platform: &Platform) -> BaseKey {
    BaseKey { origin: ImageOrigin::Registry(image.to_owned()), platform: platform.clone() }
}

fn start_of_context(name: &str, kind: &ContextKind, platform: &Platform) -> Start {
    match kind {
        ContextKind::Directory => Start::Context(name.to_owned()),
        ContextKind::Image(image) if image == "scratch" => Start::Scratch,
        ContextKind::Image(image) => Start::Image(registry_key(image, platform)),
        ContextKind::Layout(layout) => {
            Start::Image(BaseKey { origin: ImageOrigin::Layout(layout.clone()), platform: platform.clone() })
        }
    }
}
