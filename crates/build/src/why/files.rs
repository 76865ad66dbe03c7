//! The files that two keys name, compared.
//!
//! However many they are, memory holds a few megabytes of them and those that differ: each list is sorted in pieces, into an unnamed temporary file, and
//! then the two are gone through side by side.
//!
//! Two files can have one path here if a wildcard found them in different directories: the key has no more of it. The second is called `path (2)`, in the
//! order of the key, or `path (3)` if there is a file of just that name. All paths that can come into each other's way like that are a family:
//! those that are the same but for such endings.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Change, FileState};

/// Bytes that are sorted at a time.
const HELD: usize = 2 << 20;

/// Bytes of a sorted piece that are read at a time.
const BUFFER: usize = 64 << 10;

/// So many files that differ are told, the first by name; the others are counted. Of two lists that have nothing in common, nobody wants to hold, print
/// and read all.
const TOLD: usize = 10_000;

/// Paths, and what a key says of each.
pub(super) struct Files {
    tmp: PathBuf,
    held: usize,
    coming: Coming,
    /// In the order in which they came.
    sorted: Vec<Piece>,
    file: Option<File>,
    /// Bytes in the file.
    filed: u64,
}

/// Files as they come. Of each there are two lengths, its path and its value.
#[derive(Default)]
struct Coming {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// Files, sorted.
enum Piece {
    Held(Vec<u8>),
    Filed { start: u64, end: u64 },
}

impl Files {
    /// None yet. The file that becomes necessary is made in `tmp`; if it cannot be, as in a store that may only be read, memory holds all.
    pub(super) fn new(tmp: PathBuf) -> Self {
        Self { tmp, held: HELD, coming: Coming::default(), sorted: Vec::new(), file: None, filed: 0 }
    }

    /// Adds the file that comes next in the key.
    pub(super) fn push(&mut self, path: &str, value: &str) {
        let Coming { bytes, starts } = &mut self.coming;
        starts.push(bytes.len());
        bytes.extend_from_slice(&(path.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
        if bytes.len() >= self.held {
            let piece = self.coming.take_sorted();
            let piece = self.write(&piece).unwrap_or(Piece::Held(piece));
            self.sorted.push(piece);
        }
    }

    /// To be called when no more will come.
    pub(super) fn end(&mut self) {
        let last = self.coming.take_sorted();
        self.coming = Coming::default();
        self.sorted.push(Piece::Held(last));
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<Piece> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.tmp)?),
        };
        file.write_all_at(piece, self.filed)?;
        let start = self.filed;
        self.filed += piece.len() as u64;
        Ok(Piece::Filed { start, end: self.filed })
    }

    /// All of them, family by family, and those of one family in the order in which they came.
    fn families(&self) -> io::Result<Families<'_>> {
        let mut all = Families { pieces: Vec::new(), heads: BinaryHeap::new() };
        for piece in &self.sorted {
            let reader: Box<dyn BufRead + '_> = match (piece, &self.file) {
                (Piece::Filed { start, end }, Some(file)) => {
                    let piece = At { file, at: *start }.take(end - start);
                    Box::new(BufReader::with_capacity(BUFFER, piece))
                }
                (Piece::Held(bytes), _) => Box::new(bytes.as_slice()),
                (Piece::Filed { .. }, None) => return Err(damaged()),
            };
            all.pieces.push(reader);
        }
        (0..all.pieces.len()).try_for_each(|piece| all.advance(piece))?;
        Ok(all)
    }
}

impl Coming {
    /// What has come, in order, and room for more.
    fn take_sorted(&mut self) -> Vec<u8> {
        let length = |at: usize| {
            let eight = self.bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
            eight.map_or(0, u64::from_le_bytes) as usize
        };
        let path = |start: &usize| &self.bytes[start + 16..start + 16 + length(*start)];
        self.starts.sort_by(|a, b| family(path(a)).cmp(family(path(b))));
        let mut sorted = Vec::with_capacity(self.bytes.len());
        for start in &self.starts {
            let end = start + 16 + length(*start) + length(start + 8);
            sorted.extend_from_slice(&self.bytes[*start..end]);
        }
        self.bytes.clear();
        self.starts.clear();
        sorted
    }
}

/// Reads a file from a place on, whoever else reads it.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Goes through [`Files`].
struct Families<'a> {
    pieces: Vec<Box<dyn BufRead + 'a>>,
    /// The next file of each piece.
    heads: BinaryHeap<Head>,
}

/// A file, and the piece that it is from.
#[derive(PartialEq, Eq)]
struct Head {
    path: String,
    value: String,
    piece: usize,
}

impl Head {
    fn family(&self) -> &[u8] {
        family(self.path.as_bytes())
    }
}

impl Ord for Head {
    /// What is to come first is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.family().cmp(self.family()).then(other.piece.cmp(&self.piece))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Families<'_> {
    /// The family of the file that comes next.
    fn peek(&self) -> Option<&[u8]> {
        self.heads.peek().map(Head::family)
    }

    /// The next file if it is of `family`.
    fn next_of(&mut self, family: &[u8]) -> io::Result<Option<(String, String)>> {
        if self.peek() != Some(family) {
            return Ok(None);
        }
        let Some(Head { path, value, piece }) = self.heads.pop() else { return Ok(None) };
        self.advance(piece)?;
        Ok(Some((path, value)))
    }

    fn advance(&mut self, piece: usize) -> io::Result<()> {
        let reader = &mut self.pieces[piece];
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        let mut lengths = [[0; 8]; 2];
        reader.read_exact(lengths.as_flattened_mut())?;
        let [path, value] = lengths.map(u64::from_le_bytes);
        let (path, value) = (text(reader, path)?, text(reader, value)?);
        self.heads.push(Head { path, value, piece });
        Ok(())
    }
}

fn text(reader: &mut impl BufRead, length: u64) -> io::Result<String> {
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0).min(BUFFER));
    let count = reader.take(length).read_to_string(&mut text)? as u64;
    if count == length { Ok(text) } else { Err(damaged()) }
}

/// Nobody else has the file: only the disk can have done that.
fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a temporary file does not hold what was written to it")
}

/// The files of `new` that are not as in `old`, by name.
pub(super) fn differing(new: &Files, old: &Files) -> io::Result<Vec<Change>> {
    let (mut new, mut old) = (new.families()?, old.families()?);
    let mut found = Found::default();
    while let Some(family) = [new.peek(), old.peek()].into_iter().flatten().min() {
        let family = family.to_vec();
        let mut open: BTreeMap<String, Pair> = BTreeMap::new();
        let (mut here, mut there) = (Names::default(), Names::default());
        loop {
            let (a, b) = (new.next_of(&family)?, old.next_of(&family)?);
            if a.is_none() && b.is_none() {
                break;
            }
            let a = a.map(|(path, value)| (here.name(path), value));
            let b = b.map(|(path, value)| (there.name(path), value));
            if a == b {
                continue;
            }
            if let Some((name, value)) = a {
                close(&mut open, name, |pair| pair.new = Some(value));
            }
            if let Some((name, value)) = b {
                close(&mut open, name, |pair| pair.old = Some(value));
            }
        }
        open.into_iter().for_each(|(name, pair)| found.add(name, pair));
    }
    Ok(found.changes())
}

/// What the two keys say of one file.
#[derive(Default, PartialEq, Eq)]
struct Pair {
    old: Option<String>,
    new: Option<String>,
}

/// Puts down what one side says of a file; if the other said the same, there is no more to be said.
fn close(open: &mut BTreeMap<String, Pair>, name: String, say: impl FnOnce(&mut Pair)) {
    let mut pair = open.remove(&name).unwrap_or_default();
    say(&mut pair);
    if pair.old != pair.new {
        open.insert(name, pair);
    }
}

#[derive(Default)]
struct Found {
    told: BTreeMap<String, Pair>,
    more: usize,
}

impl Found {
    fn add(&mut self, name: String, pair: Pair) {
        if let (Some(old), Some(new)) = (&pair.old, &pair.new)
            && FileState::of(old) == FileState::of(new)
        {
            return;
        }
        self.told.insert(name, pair);
        if self.told.len() > TOLD {
            self.told.pop_last();
            self.more += 1;
        }
    }

    fn changes(self) -> Vec<Change> {
        let state = |value: Option<String>| value.as_deref().map(FileState::of);
        let told = self.told.into_iter();
        let told =
            told.map(|(path, Pair { old, new })| Change::File { path, old: state(old), new: state(new) });
        let more = (self.more > 0).then_some(Change::MoreFiles { count: self.more });
        told.chain(more).collect()
    }
}

/// The names that the files of one family have got.
#[derive(Default)]
struct Names {
    /// For each path that there was, up to which number the names that it could have are taken.
    taken: HashMap<String, usize>,
}

impl Names {
    /// The first name for a file at `path` that no other has.
    fn name(&mut self, path: String) -> String {
        let Some(last) = self.taken.get(&path).copied() else {
            if !self.is_numbered(&path) {
                self.taken.insert(path.clone(), 1);
                return path;
            }
            return self.number(path, 2);
        };
        self.number(path, last + 1)
    }

    fn number(&mut self, path: String, from: usize) -> String {
        let mut number = from;
        let mut name = format!("{path} ({number})");
        while self.taken.contains_key(&name) {
            number += 1;
            name = format!("{path} ({number})");
        }
        self.taken.insert(path, number);
        name
    }

    /// Whether a file at another path got `name`.
    fn is_numbered(&self, name: &str) -> bool {
        let Some((path, number)) = ending(name.as_bytes()) else { return false };
        self.taken.get(&name[..path]).is_some_and(|last| *last >= number)
    }
}

/// Of a path that ends in ` (2)` or a greater number, the length of what is before, and the number.
fn ending(path: &[u8]) -> Option<(usize, usize)> {
    let inner = path.strip_suffix(b")")?;
    let digits = inner.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = inner.split_at(inner.len() - digits);
    let path = before.strip_suffix(b" (")?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (digits[0] != b'0' && number > 1).then_some((path.len(), number))
}

fn family(mut path: &[u8]) -> &[u8] {
    while let Some((length, _)) = ending(path) {
        path = &path[..length];
    }
    path
}

impl FileState {
    /// What a part's value says.
    fn of(value: &str) -> Self {
        let mut words = value.split(' ').peekable();
        let kind = words.next().unwrap_or_default().to_owned();
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (mut size, mut digest, mut rest) = (None, None, Vec::new());
        match kind.as_str() {
            "file" => {
                size = next().parse().ok();
                digest = Some(format!("sha256:{}", next()));
            }
            "symlink" => digest = Some(format!("sha256:{}", next())),
            "char" | "block" => rest.extend([next(), next()]),
            _ => {}
        }
        let mode = next();
        let owner = words.peek().filter(|word| word.contains(':')).map(|word| (*word).to_owned());
        rest.extend(words.skip(usize::from(owner.is_some())).map(str::to_owned));
        Self { kind, size, digest, mode, owner, rest: rest.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As [`differing`] would be if memory were no matter.
    fn plainly(new: &[(String, String)], old: &[(String, String)]) -> Vec<Change> {
        let named = |list: &[(String, String)]| {
            let mut all = BTreeMap::new();
            for (path, value) in list {
                let (mut name, mut count) = (path.clone(), 1);
                while all.contains_key(&name) {
                    count += 1;
                    name = format!("{path} ({count})");
                }
                all.insert(name, FileState::of(value));
            }
            all
        };
        let (here, there) = (named(new), named(old));
        let names: std::collections::BTreeSet<_> = here.keys().chain(there.keys()).collect();
        let pair = |name: &String| (there.get(name).cloned(), here.get(name).cloned());
        let pairs =
            names.into_iter().map(|name| (name.clone(), pair(name))).filter(|(_, (old, new))| old != new);
        pairs.map(|(path, (old, new))| Change::File { path, old, new }).collect()
    }

    fn of(list: &[(String, String)], held: usize, tmp: &std::path::Path) -> Files {
        let mut files = Files { held, ..Files::new(tmp.to_owned()) };
        list.iter().for_each(|(path, value)| files.push(path, value));
        files.end();
        files
    }

    /// Lists that are alike, in order, out of order, with paths that occur several times and paths that look like the names of those.
    #[test]
    fn what_differs_is_what_comparing_all_would_tell() {
        const PATHS: [&str; 12] =
            ["a", "a/b", "a (2)", "a (3)", "a (2) (2)", "b (1)", "b", "b (02)", "c", " (2)", "(2)", "é (2)"];
        let tmp = tempfile::tempdir().unwrap();
        let mut state = 11u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..600 {
            let paths = 1 + random(PATHS.len());
            let mut old: Vec<_> = (0..random(40))
                .map(|_| {
                    (PATHS[random(paths)].to_owned(), format!("file {} ab 0644", ["1", "2", "02"][random(3)]))
                })
                .collect();
            if round % 3 == 0 {
                old.sort();
            }
            let mut new = old.clone();
            for _ in 0..random(4) {
                let at = random(new.len() + 1);
                match random(4) {
                    0 if at < new.len() => drop(new.remove(at)),
                    1 if at < new.len() => new[at].1 = "directory 0755".to_owned(),
                    2 => new.rotate_left(at),
                    _ => new.insert(at, (PATHS[random(PATHS.len())].to_owned(), "fifo 0600".to_owned())),
                }
            }
            let want = plainly(&new, &old);
            for (held, tmp) in
                [(HELD, tmp.path()), (100, tmp.path()), (100, std::path::Path::new("/nowhere"))]
            {
                let got = differing(&of(&new, held, tmp), &of(&old, held, tmp)).unwrap();
                assert_eq!(got, want, "round {round}, {held}: {new:?} {old:?}");
            }
        }
        assert_eq!(fs_err::read_dir(tmp.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn of_too_many_the_first_are_told_and_the_others_counted() {
        let tmp = tempfile::tempdir().unwrap();
        let list = |value: &str| -> Vec<_> {
            (0..TOLD + 7).rev().map(|i| (format!("{i:06}"), value.to_owned())).collect()
        };
        let (new, old) =
            (of(&list("fifo 0600"), 10_000, tmp.path()), of(&list("fifo 0644"), HELD, tmp.path()));
        let all = differing(&new, &old).unwrap();
        assert_eq!(all.len(), TOLD + 1);
        assert!(
            matches!(&all[TOLD - 1], Change::File { path, .. } if path == "009999"),
            "{:?}",
            all[TOLD - 1]
        );
        assert_eq!(all[TOLD], Change::MoreFiles { count: 7 });
        assert_eq!(differing(&new, &new).unwrap(), []);
    }

    #[test]
    fn states() {
        let plain = FileState::of("file 3 ab 0644 ee");
        assert_eq!((plain.size, plain.digest.as_deref()), (Some(3), Some("sha256:ab")));
        assert_eq!((plain.mode.as_str(), plain.owner, plain.rest.as_str()), ("0644", None, "ee"));
        let owned = FileState::of("char 1 3 0666 0:5 ee linked to 2");
        assert_eq!((owned.kind.as_str(), owned.mode.as_str()), ("char", "0666"));
        assert_eq!((owned.owner.as_deref(), owned.rest.as_str()), (Some("0:5"), "1 3 ee linked to 2"));
        assert_eq!(FileState::of("directory 0755 ee").mode, "0755");
    }
}
