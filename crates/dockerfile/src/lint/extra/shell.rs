//! As much of a shell as it takes to see which commands a line starts.

/// One command of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Its words without quotes; assignments, `sudo` and the words of `if` and `while` in front of it are left out.
    pub(super) words: Vec<String>,
    /// Whether its output goes into the next command.
    pub(super) piped: bool,
    /// Whether `sudo` stood in front of it.
    pub(super) sudo: bool,
}

impl Command {
    /// The program, without its folder.
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word))
    }

    /// What follows the program.
    pub(super) fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// The commands that `line` starts, in order, those in subshells and branches included. What stands in `$(...)` counts as
/// part of a word.
pub(super) fn commands(line: &str) -> Vec<Command> {
    let mut splitter = Splitter::default();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => splitter.word_mut().extend(chars.by_ref().take_while(|c| *c != '\'')),
            '"' => splitter.quoted(&mut chars),
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(c) => splitter.word_mut().push(c),
            },
            '$' if chars.peek() == Some(&'(') => {
                splitter.word_mut().push('$');
                splitter.substitution(&mut chars);
            }
            '#' if splitter.word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            '>' | '<' | '&' if chars.peek() == Some(&'&') && c != '&' => {
                chars.next();
                splitter.word_mut().extend([c, '&']);
            }
            '&' if chars.peek() == Some(&'>') => splitter.end_word(),
            '|' if chars.peek() == Some(&'|') => {
                chars.next();
                splitter.end_command(false);
            }
            '|' => splitter.end_command(true),
            ';' | '&' | '\n' | '(' | ')' => splitter.end_command(false),
            c if c.is_whitespace() => splitter.end_word(),
            c => splitter.word_mut().push(c),
        }
    }
    splitter.end_command(false);
    splitter.done
}

/// Words that introduce a command.
const LEADING: [&str; 12] =
    ["if", "then", "else", "elif", "while", "until", "do", "!", "{", "exec", "command", "time"];

#[derive(Debug, Default)]
struct Splitter {
    word: Option<String>,
    command: Command,
    done: Vec<Command>,
}

impl Splitter {
    fn word_mut(&mut self) -> &mut String {
        self.word.get_or_insert_default()
    }

    fn quoted(&mut self, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
        self.word_mut();
        while let Some(c) = chars.next() {
            match c {
                '"' => return,
                '\\' => self.word_mut().extend(chars.next()),
                c => self.word_mut().push(c),
            }
        }
    }

    fn substitution(&mut self, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
        let mut depth = 0_usize;
        for c in chars.by_ref() {
            self.word_mut().push(c);
            match c {
                '(' => depth += 1,
                ')' if depth <= 1 => return,
                ')' => depth -= 1,
                _ => {}
            }
        }
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if self.command.words.is_empty() {
            if word == "sudo" {
                self.command.sudo = true;
                return;
            }
            if LEADING.contains(&word.as_str())
                || is_assignment(&word)
                || (self.command.sudo && word.starts_with('-'))
            {
                return;
            }
        }
        self.command.words.push(word);
    }

    fn end_command(&mut self, piped: bool) {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        if !command.words.is_empty() || command.sudo {
            self.done.push(Command { piped, ..command });
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        let show = |c: &Command| {
            let sudo = if c.sudo { "sudo:" } else { "" };
            format!("{sudo}{}{}", c.words.join("_"), if c.piped { " |" } else { "" })
        };
        commands(line).iter().map(show).collect()
    }

    #[test]
    fn lines() {
        let cases: &[(&str, &[&str])] = &[
            ("a b && c || d; e\nf", &["a_b", "c", "d", "e", "f"]),
            ("a | b | c", &["a |", "b |", "c"]),
            ("A=1 B=\"x y\" sudo -E make 'in stall' x\\ y", &["sudo:make_in stall_x y"]),
            ("if test -f a; then rm a; fi", &["test_-f_a", "rm_a", "fi"]),
            ("echo \"a | b; $X\" '&& c' # d; e\nf", &["echo_a | b; $X_&& c", "f"]),
            ("x=$(a | b) c", &["c"]),
            ("a 2>&1 | b", &["a_2>&1 |", "b"]),
            ("(cd a && b)", &["cd_a", "b"]),
            ("", &[]),
        ];
        for (line, want) in cases {
            assert_eq!(split(line), *want, "{line}");
        }
        assert_eq!(commands("/usr/bin/apt-get x")[0].name(), "apt-get");
    }
}
