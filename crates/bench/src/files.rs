//! The files of a build context, as data. The same row makes the same bytes everywhere.

use std::io::{BufWriter, Write};
use std::path::Path;

use fs_err::File;

/// What lies in a context besides the Dockerfile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Files {
    /// Nothing.
    None,
    /// So many files of so many bytes each, in folders of 50, of text that compresses about as source code does.
    Many {
        /// How many.
        count: u32,
        /// Bytes of each.
        size: usize,
    },
    /// One file `big` of so many MiB without a block on disk: all zeros.
    Sparse(u64),
    /// One file `big`; by turns one MiB of random bytes and one of text.
    Half {
        /// How many MiB.
        mib: u64,
        /// Other bytes for another number: what a tool has of one row should not help or hinder it in the next.
        seed: u64,
    },
    /// What the function says for the row's size.
    Of(fn(u32) -> Files),
}

const MIB: usize = 1 << 20;

impl Files {
    /// Writes the files for a row of `size` into a folder that exists.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(self, folder: &Path, size: u32) -> std::io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Of(files) => files(size).write(folder, size),
            Self::Many { count, size } => (0..count).try_for_each(|n| {
                let path = folder.join(many(n));
                if n % 50 == 0
                    && let Some(parent) = path.parent()
                {
                    fs_err::create_dir_all(parent)?;
                }
                fs_err::write(path, text(u64::from(n), size))
            }),
            Self::Sparse(mib) => File::create(folder.join("big"))?.set_len(mib * MIB as u64),
            Self::Half { mib, seed } => {
                let mut big = BufWriter::new(File::create(folder.join("big"))?);
                for n in (0..mib).map(|n| n + (seed << 32)) {
                    big.write_all(&if n % 2 == 0 { noise(n, MIB) } else { text(n, MIB) })?;
                }
                big.flush()
            }
        }
    }
}

/// The path of one of many files.
fn many(n: u32) -> String {
    format!("dir{:04}/file{n:06}.txt", n / 50)
}

/// Splitmix64: good enough to be incompressible, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
    bytes.truncate(size);
    bytes
}

/// Lines of words with a number here and there.
fn text(seed: u64, size: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "let", "return", "if", "else", "match", "value", "index", "path", "error", "(", ")", "{", "}", "=",
        ";\n", "self.",
    ];
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        let n = random.next();
        let word = WORDS[(n % 16) as usize];
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(b' ');
        if n >> 60 == 0 {
            bytes.extend_from_slice((n as u16).to_string().as_bytes());
        }
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        let folder = tempfile::tempdir().unwrap();
        Files::Many { count: 51, size: 1000 }.write(folder.path(), 1).unwrap();
        assert_eq!(fs_err::metadata(folder.path().join("dir0001/file000050.txt")).unwrap().len(), 1000);
        Files::Half { mib: 2, seed: 0 }.write(folder.path(), 1).unwrap();
        assert_eq!(fs_err::read(folder.path().join("big")).unwrap().len(), 2 * MIB);
        Files::Sparse(5).write(folder.path(), 1).unwrap();
        assert_eq!(fs_err::metadata(folder.path().join("big")).unwrap().len(), 5 * MIB as u64);
    }

    #[test]
    fn bytes_are_the_same_every_time_and_differ_by_seed() {
        assert_eq!(noise(1, 100), noise(1, 100));
        assert_ne!(noise(1, 100), noise(2, 100));
        assert_ne!(text(1, 100), text(2, 100));
    }
}
