//! Broken input: nothing panics, and every span lies inside the text on character boundaries.

use kiln_dockerfile::ast::{Instruction, Kind};
use kiln_dockerfile::expand::{NoVariables, expand_heredoc_body, expand_word, expand_words};
use kiln_dockerfile::glob::{PatternSet, matches};
use kiln_dockerfile::ignore::Ignore;
use kiln_dockerfile::span::Span;
use kiln_dockerfile::{chmod, duration, expose, parse, parse_trigger, source};

use crate::corpus::cases;

const MUTANTS: usize = 20_000;

/// xorshift64, so that each run tries the same mutants.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

const SPICE: [&str; 34] = [
    "\\",
    "\\\n",
    "`",
    "\n",
    "\r\n",
    "\"",
    "'",
    "$",
    "${",
    "}",
    "$((",
    "))",
    "<<",
    "<<-",
    "<<EOF",
    "EOF\n",
    "#",
    "# escape=`\n",
    "[",
    "]",
    "[\"",
    ",",
    "=",
    "--",
    "--mount=",
    "\t",
    "\u{a0}",
    "é",
    "🐳",
    "\u{feff}",
    "\0",
    "ONBUILD ",
    "/",
    "*",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let at = random.below(chars.len() + 1);
        match random.below(4) {
            0 => {
                let end = (at + random.below(6)).min(chars.len());
                chars.drain(at..end);
            }
            1 => {
                let from = random.below(chars.len() + 1);
                let end = (from + random.below(12)).min(chars.len());
                let copied: Vec<char> = chars[from..end].to_vec();
                chars.splice(at..at, copied);
            }
            2 => chars.truncate(at.max(chars.len() / 2)),
            _ => {
                chars.splice(at..at, SPICE[random.below(SPICE.len())].chars());
            }
        }
    }
    chars.into_iter().collect()
}

fn check_span(text: &str, span: Span) {
    assert!(text.get(span.start..span.end).is_some(), "{span:?} in {text:?}");
}

fn check_instruction(text: &str, one: &Instruction) {
    check_span(text, one.span);
    match &one.kind {
        Kind::Onbuild(_, Some(inner)) => check_instruction(text, inner),
        Kind::Run(run) => {
            for doc in &run.heredocs {
                check_span(text, doc.span);
                check_span(text, doc.body_span);
            }
            for mount in &run.mounts {
                check_span(text, mount.span);
                for (key, value) in &mount.options {
                    check_span(text, key.span);
                    value.iter().for_each(|v| check_span(text, v.span));
                }
            }
        }
        Kind::Copy(copy) | Kind::Add(copy) => {
            for word in copy.sources.iter().chain([&copy.dest]).chain(&copy.excludes).chain(&copy.chown) {
                check_span(text, word.span);
                let _ = source::classify(&word.value);
            }
        }
        Kind::Env(pairs) | Kind::Label(pairs) => {
            for pair in pairs {
                check_span(text, pair.key.span);
                check_span(text, pair.value.span);
            }
        }
        Kind::Expose(words) | Kind::Volume(words) => words.iter().for_each(|w| check_span(text, w.span)),
        _ => {}
    }
}

#[test]
fn dockerfiles() {
    let cases = cases();
    let mut random = Random(0x5eed_0001);
    let (mut with_errors, mut without) = (0, 0);
    for _ in 0..MUTANTS {
        let text = mutate(&cases[random.below(cases.len())].text, &mut random);
        let parsed = parse(&text);
        *if parsed.has_errors() { &mut with_errors } else { &mut without } += 1;
        assert!(parsed.has_errors() || !parsed.dockerfile.stages.is_empty(), "{text:?}");
        for found in &parsed.diagnostics {
            check_span(&text, found.span);
        }
        for stage in &parsed.dockerfile.stages {
            check_span(&text, stage.from.span);
            check_span(&text, stage.from.image.span);
            stage.instructions.iter().for_each(|one| check_instruction(&text, one));
        }
    }
    assert!(with_errors > MUTANTS / 10 && without > MUTANTS / 10, "{with_errors} {without}");
}

#[test]
fn words_and_patterns() {
    let mut random = Random(0x5eed_0002);
    let seeds = [
        "${a:-b}/${c##*/}${d//x/y}\"$e\"'f'",
        "**/a[b-d]/!*.c\\?",
        "u=rwX,go=rX",
        "1m30s",
        "8000-8010/udp",
        "https://h/r.git?ref=a#b:c",
        "git@h:p#x",
        "a\\ b <<EOF ${x%*.}",
    ];
    for _ in 0..MUTANTS {
        let text = mutate(seeds[random.below(seeds.len())], &mut random);
        if let Err(error) = expand_word(&text, '\\', &NoVariables) {
            check_span(&text, Span::new(error.offset, error.offset));
        }
        let _ = expand_words(&text, '`', &NoVariables);
        let _ = expand_heredoc_body(&text, &NoVariables);
        let _ = (chmod::parse(&text), duration::parse(&text), expose::parse(&text), source::classify(&text));
        let _ = parse_trigger(&text, '\\');
        if matches(&text, "a/b.c").is_ok() {
            let _ = PatternSet::new([&text]).map(|set| set.decide(b"a/b\xff/c.c"));
        }
        let _ = Ignore::parse(&text).map(|ignore| ignore.decide("a/b", true).ignored);
    }
}
