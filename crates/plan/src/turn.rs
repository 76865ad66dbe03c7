//! One instruction's turn: what it may look at and change.

use kiln_dockerfile::ast::{CommandLine, Word};
use kiln_dockerfile::expand::Expansion;
use kiln_dockerfile::span::Span;

use crate::graph::{Graph, Source, defined};
use crate::model::{Op, Origin};
use crate::state::State;
use crate::words::{Expander, Notes};

/// Where a stage stands among the others.
#[derive(Clone, Copy)]
pub(crate) struct Site<'g> {
    /// All stages.
    pub(crate) graph: &'g Graph<'g>,
    /// Position of this one in the file.
    pub(crate) number: usize,
    /// Positions in the file of the stages that are planned, in the order of the plan.
    pub(crate) planned: &'g [usize],
}

/// What an instruction amounts to.
pub(crate) struct Outcome {
    /// Its history line.
    pub(crate) created_by: String,
    /// What it does to the root filesystem.
    pub(crate) op: Option<Op>,
}

impl Outcome {
    /// An instruction that only changes the configuration.
    pub(crate) fn metadata(created_by: String) -> Option<Self> {
        Some(Self { created_by, op: None })
    }

    /// An instruction that makes a layer.
    pub(crate) fn layer(created_by: String, op: Op) -> Option<Self> {
        Some(Self { created_by, op: Some(op) })
    }
}

/// The turn. Interpreters return `None` after noting an error.
pub(crate) struct Turn<'t> {
    pub(crate) site: Site<'t>,
    pub(crate) state: &'t mut State,
    pub(crate) notes: Notes,
}

impl Turn<'_> {
    /// Expands one word.
    pub(crate) fn word(&mut self, word: &Word) -> Option<String> {
        Some(self.expansion(word)?.text)
    }

    /// Expands an optional word; the outer `None` means an error was noted.
    pub(crate) fn optional(&mut self, word: Option<&Word>) -> Option<Option<String>> {
        word.map_or(Some(None), |word| self.word(word).map(Some))
    }

    /// Expands each word, all of them even if one is wrong.
    pub(crate) fn each(&mut self, words: &[Word]) -> Option<Vec<String>> {
        let all: Vec<Option<String>> = words.iter().map(|word| self.word(word)).collect();
        all.into_iter().collect()
    }

    /// Expands one word to as many as its variables hold.
    pub(crate) fn split(&mut self, word: &Word) -> Option<Vec<String>> {
        let expander = Self::expander(self.state, self.site);
        expander.words(word, &mut self.notes)
    }

    /// Expands the body of a here-document.
    pub(crate) fn body(&mut self, body: &Word) -> Option<String> {
        let expander = Self::expander(self.state, self.site);
        expander.body(body, &mut self.notes)
    }

    /// Notes an error; returns `None` so that it can end an interpreter.
    pub(crate) fn error<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        self.notes.error(span, message);
        None
    }

    /// What a `from` names, with stages by their index in the plan.
    pub(crate) fn origin(&mut self, from: &Word) -> Option<Origin> {
        let Site { graph, number, planned } = self.site;
        match graph.resolve(from, number).and_then(|source| defined(source, number, from)) {
            Ok(Source::Outside(origin)) => Some(origin),
            Ok(Source::Stage(stage)) => planned.iter().position(|other| *other == stage).map(Origin::Stage),
            Err(error) => {
                self.notes.diagnostics.push(error);
                None
            }
        }
    }

    /// A command as it is run or recorded: the shell form behind the shell.
    pub(crate) fn command(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(argv) => argv.clone(),
            CommandLine::Shell(line) => self.state.with_shell(line.clone()),
        }
    }

    fn expansion(&mut self, word: &Word) -> Option<Expansion> {
        let expander = Self::expander(self.state, self.site);
        expander.expansion(word, &mut self.notes)
    }

    fn expander<'s>(state: &'s State, site: Site<'_>) -> Expander<'s> {
        Expander::new(&state.variables, site.graph.file.directives.escape).with_declared(&state.arguments)
    }
}
