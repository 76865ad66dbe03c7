//! `--chmod` values: octal, or symbolic as chmod(1) takes them (`u=rwX,go=rX`).
//!
//! The symbolic form follows BSD's `setmode` with an umask of 0: `X` looks at the mode from before
//! any change.

/// A parsed `--chmod` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChmodSpec {
    /// A complete mode, at most `0o7777`.
    Octal(u32),
    /// Changes to the mode that a file has, in order.
    Symbolic(Vec<Change>),
}

/// One step of a symbolic mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Clears these bits.
    Clear(u32),
    /// Sets these bits.
    Set(u32),
    /// Sets these bits on a directory and on what was executable by anyone.
    SetIfExecutable(u32),
    /// Gives, takes or assigns (`+`, `-`, `=`) what one class may do to others.
    Copy {
        /// Where the three bits of the class copied from begin: 6, 3 or 0.
        from: u32,
        /// The class bits (`0o777` for all) copied to.
        to: u32,
        /// `+`, `-` or `=`.
        operator: char,
    },
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid chmod parameter `{0}`, it should be an octal number from 0 to 07777 or symbolic like `u=rwX,go=rX`"
)]
pub struct ChmodError(pub String);

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const STANDARD: u32 = SET_UID | SET_GID | 0o777;

/// Parses an expanded `--chmod` value.
///
/// # Errors
/// If it is neither an octal number up to `07777` nor a symbolic mode.
pub fn parse(text: &str) -> Result<ChmodSpec, ChmodError> {
    let error = || ChmodError(text.to_owned());
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        return mode.map(ChmodSpec::Octal).ok_or_else(error);
    }
    let mut changes = Vec::new();
    for clause in text.split(',') {
        parse_clause(clause, &mut changes).ok_or_else(error)?;
    }
    Ok(ChmodSpec::Symbolic(changes))
}

impl ChmodSpec {
    /// The permission bits (`0o7777`) of something that had `mode` before.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let changes = match self {
            Self::Octal(mode) => return *mode,
            Self::Symbolic(changes) => changes,
        };
        let executable = is_dir || mode & 0o111 != 0;
        let mut new = mode & 0o7777;
        for change in changes {
            match *change {
                Change::Clear(bits) => new &= !bits,
                Change::Set(bits) => new |= bits,
                Change::SetIfExecutable(bits) if executable => new |= bits,
                Change::SetIfExecutable(_) => {}
                Change::Copy { from, to, operator } => {
                    let spread = ((new >> from & 7) * 0o111) & to;
                    match operator {
                        '+' => new |= spread,
                        '-' => new &= !spread,
                        _ => new = (new & !to) | spread,
                    }
                }
            }
        }
        new
    }
}

/// One clause, `[ugoa]*` and then operators with letters; `None` if it is not that.
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let operators = clause.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let (classes, mut rest) = clause.split_at(operators);
    let who = classes.chars().fold(0, |who, class| {
        who | match class {
            'u' => SET_UID | 0o700,
            'g' => SET_GID | 0o070,
            'o' => 0o007,
            _ => STANDARD,
        }
    });
    while let Some(operator) = rest.chars().next() {
        if !matches!(operator, '+' | '-' | '=') {
            return None;
        }
        let letters = &rest[1..];
        let end = letters.find(|c| !"rwxXstugo".contains(c)).unwrap_or(letters.len());
        parse_letters(operator, who, &letters[..end], changes);
        rest = &letters[end..];
    }
    Some(())
}

fn parse_letters(operator: char, mut who: u32, letters: &str, changes: &mut Vec<Change>) {
    let special = who == 0 || who & !0o007 != 0;
    let (mut bits, mut if_executable, mut assigned) = (0, 0, operator != '=');
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'X' if operator != '-' => if_executable = 0o111,
            'x' | 'X' => bits |= 0o111,
            's' if special => bits |= SET_UID | SET_GID,
            't' if special => {
                who |= STICKY;
                bits |= STICKY;
            }
            class @ ('u' | 'g' | 'o') => {
                if bits != 0 {
                    push(operator, who, bits, changes);
                }
                push_executable(who, if_executable, changes);
                (bits, if_executable, assigned) = (0, 0, true);
                let from = match class {
                    'u' => 6,
                    'g' => 3,
                    _ => 0,
                };
                let to = if who == 0 { 0o777 } else { who & 0o777 };
                changes.push(Change::Copy { from, to, operator });
            }
            _ => {}
        }
    }
    if bits != 0 || !assigned {
        push(operator, who, bits, changes);
    }
    push_executable(who, if_executable, changes);
}

fn push(operator: char, who: u32, bits: u32, changes: &mut Vec<Change>) {
    let reached = if who == 0 { bits } else { bits & who };
    if operator == '-' {
        changes.push(Change::Clear(reached));
        return;
    }
    if operator == '=' {
        changes.push(Change::Clear(if who == 0 { STANDARD } else { who }));
    }
    changes.push(Change::Set(reached));
}

fn push_executable(who: u32, bits: u32, changes: &mut Vec<Change>) {
    if bits != 0 {
        changes.push(Change::SetIfExecutable(if who == 0 { bits } else { bits & who }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal() {
        for (text, want) in [("644", 0o644), ("0755", 0o755), ("7777", 0o7777), ("0", 0), ("00000644", 0o644)]
        {
            assert_eq!(parse(text), Ok(ChmodSpec::Octal(want)), "{text}");
        }
        for text in ["9z9", "888", "10000", "", "rwx", "u", "u=r,", "u=rq", "-", "u=r w", "é=r"] {
            let got = parse(text);
            if text == "-" {
                assert_eq!(got.expect("no letters, no change").apply(0o644, false), 0o644);
            } else {
                assert_eq!(got, Err(ChmodError(text.to_owned())), "{text}");
            }
        }
    }

    #[test]
    fn symbolic() {
        let cases = [
            ("u=rwX,go=rX", 0o644, false, 0o644),
            ("u=rwX,go=rX", 0o755, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("go=u-w", 0o600, false, 0o644),
            ("o+g", 0o640, false, 0o644),
            ("o-u", 0o666, false, 0o660),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o755, true, 0o1755),
            ("u-s", 0o4755, false, 0o755),
            ("=r", 0o4777, false, 0o444),
            ("a=rw,+X", 0o711, false, 0o777),
            ("a-X", 0o755, false, 0o644),
            ("u+x,g+X", 0o600, false, 0o700),
        ];
        for (text, mode, is_dir, want) in cases {
            let got = parse(text).expect(text).apply(mode, is_dir);
            assert_eq!(got, want, "{text} on {mode:o} gave {got:o}");
        }
    }
}
