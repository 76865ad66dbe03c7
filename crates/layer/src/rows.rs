//! Lists that memory need not hold.
//!
//! A build context of a million files is gone through several times: to be hashed, to be put in its place, to be packed. In between, what is known
//! of each file is kept as bytes, the first megabyte in memory and the rest in an unnamed temporary file.

use std::fmt;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::bytes::Cursor;

/// From so many bytes on a list goes to a file.
pub const HELD: usize = 1 << 20;

/// How many bytes are read back at a time.
const READ: usize = 128 << 10;

/// Something that can be kept as bytes.
pub trait Row: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`Row::put`] has appended; `None` for anything else.
    fn take(from: &mut Cursor<'_>) -> Option<Self>;
}

/// A list that only grows, and is read from the start.
pub struct Rows<T> {
    dir: Arc<Path>,
    /// What is not in the file yet. Each row has its length before it, in four bytes.
    tail: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    spilled: u64,
    /// Whether the file takes no more: then memory holds the rest. A full disk is no reason to fail what writes nothing else.
    full: bool,
    count: usize,
    row: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("count", &self.count)
            .field("spilled", &self.spilled)
            .finish_non_exhaustive()
    }
}

impl<T> Rows<T> {
    /// An empty list; its file is made in `dir` if it comes to that.
    pub fn new(dir: impl Into<Arc<Path>>) -> Self {
        Self {
            dir: dir.into(),
            tail: Vec::new(),
            file: None,
            spilled: 0,
            full: false,
            count: 0,
            row: PhantomData,
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T: Row> Rows<T> {
    /// Appends a row.
    ///
    /// # Errors
    /// If the row is longer than four gigabytes.
    pub fn push(&mut self, row: &T) -> io::Result<()> {
        let start = self.tail.len();
        self.tail.extend_from_slice(&[0; 4]);
        row.put(&mut self.tail);
        let length = u32::try_from(self.tail.len() - start - 4).map_err(io::Error::other)?;
        self.tail[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        if self.tail.len() >= HELD && !self.full {
            self.full = self.spill().is_err();
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(&self.dir)?),
        };
        file.write_all_at(&self.tail, self.spilled)?;
        self.spilled += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    /// All rows in order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { rows: self, buffer: Vec::new(), at: 0, fetched: 0, tail: 0 }
    }
}

impl<'a, T: Row> IntoIterator for &'a Rows<T> {
    type Item = io::Result<T>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Reads [`Rows`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    rows: &'a Rows<T>,
    /// Read from the file; what comes before `at` was given.
    buffer: Vec<u8>,
    at: usize,
    /// Bytes that were read from the file.
    fetched: u64,
    /// Bytes of the tail that were given.
    tail: usize,
}

impl<T: Row> Iter<'_, T> {
    /// Sees to it that `count` bytes stand in the buffer; `false` if the file has not so many.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        let held = self.buffer.len() - self.at;
        if held >= count {
            return Ok(true);
        }
        let Some(file) = &self.rows.file else { return Ok(false) };
        let left = self.rows.spilled - self.fetched;
        let more = (count - held).max(READ).min(usize::try_from(left).unwrap_or(usize::MAX));
        if held + more < count {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.resize(held + more, 0);
        file.read_exact_at(&mut self.buffer[held..], self.fetched)?;
        self.fetched += more as u64;
        Ok(true)
    }

    fn row(&mut self) -> io::Result<Option<T>> {
        if self.fill(4)? {
            let length = length_at(&self.buffer, self.at)?;
            if !self.fill(4 + length)? {
                return Err(damaged());
            }
            let start = self.at + 4;
            self.at = start + length;
            return decode(&self.buffer[start..self.at]).map(Some);
        }
        if self.tail >= self.rows.tail.len() {
            return Ok(None);
        }
        let length = length_at(&self.rows.tail, self.tail)?;
        let start = self.tail + 4;
        self.tail = start + length;
        decode(self.rows.tail.get(start..self.tail).ok_or_else(damaged)?).map(Some)
    }
}

impl<T: Row> Iterator for Iter<'_, T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<io::Result<T>> {
        self.row().transpose()
    }
}

fn length_at(bytes: &[u8], at: usize) -> io::Result<usize> {
    let length = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).ok_or_else(damaged)?;
    Ok(u32::from_le_bytes(length) as usize)
}

fn decode<T: Row>(bytes: &[u8]) -> io::Result<T> {
    let mut cursor = Cursor::new(bytes, 0);
    T::take(&mut cursor).filter(|_| cursor.is_at_end()).ok_or_else(damaged)
}

/// Nobody else has the file: only the disk can have done that.
fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a temporary file does not hold what was written to it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::put_bytes;

    impl Row for Vec<u8> {
        fn put(&self, out: &mut Vec<u8>) {
            put_bytes(out, self);
        }

        fn take(from: &mut Cursor<'_>) -> Option<Self> {
            from.bytes().map(<[u8]>::to_vec)
        }
    }

    #[test]
    fn whatever_was_pushed_comes_back() {
        let dir = tempfile::tempdir().expect("a directory");
        // Nothing, what stays in memory, what goes to the file, and rows longer than what is read at a time.
        for sizes in [vec![], vec![0, 1, 300], vec![1000; 3000], vec![READ * 3, 5, HELD * 2, 0, READ, 7]] {
            let mut rows = Rows::new(dir.path());
            let want: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, size)| vec![i as u8; *size]).collect();
            want.iter().for_each(|row| rows.push(row).expect("pushes"));
            assert_eq!(rows.len(), want.len());
            assert!(rows.tail.len() < HELD);
            for _ in 0..2 {
                let got: Vec<Vec<u8>> = rows.iter().map(|row| row.expect("reads")).collect();
                assert!(got == want, "{} rows", want.len());
            }
        }
        assert_eq!(fs_err::read_dir(dir.path()).expect("reads").count(), 0, "the file has no name");
    }

    #[test]
    fn memory_holds_what_no_file_takes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut rows = Rows::new(dir.path().join("nowhere"));
        let row = vec![7; HELD / 2];
        (0..9).for_each(|_| rows.push(&row).expect("pushes"));
        assert_eq!(rows.iter().map(|row| row.expect("reads")).collect::<Vec<_>>(), vec![row; 9]);
    }
}
