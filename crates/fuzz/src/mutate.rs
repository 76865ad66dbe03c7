//! Small changes to an input.

use crate::random::Random;

/// Pieces of the notations at hand: a lone random byte seldom makes one.
const SPICE: [&str; 64] = [
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
    "# syntax=x\n",
    "# check=skip=all\n",
    "[",
    "]",
    "[\"",
    ",",
    "=",
    "--",
    "--mount=",
    "type=cache",
    "type=secret,id=",
    "\t",
    "\u{a0}",
    "é",
    "🐳",
    "\u{feff}",
    "\0",
    "ONBUILD ",
    "/",
    "*",
    "**",
    "**/",
    "!",
    "?",
    "[^a-z]",
    "FROM a AS b\n",
    "RUN ",
    "COPY --from=",
    "ADD ",
    "ENV A=",
    "ARG ",
    ":-",
    ":+",
    ":?",
    "##",
    "%%",
    "//",
    "..",
    "./",
    "@",
    ":",
    "?ref=",
    "git@h:p",
    "https://",
    ".git",
    "#main:dir",
];

/// Changes `input` in a few places; `other` lends pieces.
pub fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => {
                let end = (at + 1 + random.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            1 => {
                let piece = slice(&bytes, 24, random).to_vec();
                bytes.splice(at..at, piece);
            }
            2 => {
                let piece = slice(other, 64, random).to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes.truncate(at.max(bytes.len() / 2)),
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            5 => bytes.insert(at, u8::try_from(random.below(256)).unwrap_or_default()),
            _ => {
                bytes.splice(at..at, SPICE[random.below(SPICE.len())].bytes());
            }
        }
    }
    bytes
}

fn slice<'a>(bytes: &'a [u8], longest: usize, random: &mut Random) -> &'a [u8] {
    let from = random.below(bytes.len() + 1);
    &bytes[from..(from + random.below(longest)).min(bytes.len())]
}
