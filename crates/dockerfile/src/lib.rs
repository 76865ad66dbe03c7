//! Dockerfile and ignore-file text to typed syntax.
//!
//! Everything here is a pure function of text: no file is read, no clock or environment asked, nothing
//! printed. What a Dockerfile *does* (which stages are needed, what a variable is worth) is decided
//! elsewhere; this crate says what is *written*, where, and what is wrong with it.
//!
//! # The parser
//!
//! [`parse`] turns a text into a [`Dockerfile`](ast::Dockerfile) and a list of
//! [`Diagnostic`](diagnostic::Diagnostic)s. It never fails and never stops at the first mistake: a
//! broken instruction is reported and left out (or kept as far as it was understood), and reading goes
//! on with the next one, so that one look shows all there is to mend. Each node carries the
//! [`Span`](span::Span) of bytes it was written at, through continuation lines, quotes and escapes.
//! Whoever finds a mistake later (an unset variable, a missing file) can point at the word.
//!
//! Words keep their raw spelling. Quotes, escapes and variables are resolved by [`expand`] at the
//! moment when the variables are known, since what `$x` is worth differs from line to line. What can be
//! judged without them is judged here: flags, mount options, durations, literal ports and modes.
//!
//! [`parse_trigger`] does the same for one `ONBUILD` trigger that was found in an image.
//!
//! # The small languages
//!
//! A Dockerfile speaks several notations, and each has a module that can be tested by itself:
//! [`expand`] (shell-like words), [`glob`] (wildcards of `COPY`, patterns of ignore files), [`ignore`]
//! (the ignore file), [`duration`], [`chmod`], [`chown`], [`expose`], [`signal`] and [`source`] (paths,
//! URLs, git references). [`suggest`] finds the name that a misspelt one was meant to be.
//!
//! # The checks
//!
//! [`lint`] holds the build checks, under the names that `# check=skip=` lines use.
//!
//! # Whose rules
//!
//! The rules are those of BuildKit's Dockerfile frontend 1.26, learnt from its source and measured
//! against it. Where it would misread a file that a reader understands, this crate does better and says
//! so at the spot: `$((1 << 3))` opens no here-document, an empty line ends a description comment.
//!
//! ```
//! use kiln_dockerfile::ast::Kind;
//! use kiln_dockerfile::span::line_column;
//!
//! let text = "FROM alpine AS base\nCOPPY a /b\nENV A=1 \\\n    B=\"$A\"\n";
//! let parsed = kiln_dockerfile::parse(text);
//!
//! let found = &parsed.diagnostics[0];
//! assert_eq!(found.message, "unknown instruction: COPPY");
//! assert_eq!(found.help.as_deref(), Some("did you mean `COPY`?"));
//! assert_eq!(line_column(text, found.span.start), (2, 1));
//!
//! let stage = &parsed.dockerfile.stages[0];
//! let Kind::Env(pairs) = &stage.instructions[0].kind else { panic!("not an ENV") };
//! assert_eq!(pairs[1].value.value, "\"$A\"");
//! assert_eq!(line_column(text, pairs[1].value.span.start), (4, 7));
//! ```

pub mod ast;
pub mod chmod;
pub mod chown;
pub mod diagnostic;
pub mod duration;
pub mod expand;
pub mod expose;
pub mod glob;
pub mod ignore;
pub mod lint;
mod parse;
pub mod signal;
pub mod source;
pub mod span;
pub mod suggest;

pub use parse::{Parsed, instructions, parse, parse_trigger};
