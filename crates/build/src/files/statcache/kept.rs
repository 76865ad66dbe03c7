//! The file that a context's cache is kept in.
//!
//! First a mark and the root of the context, then a table, in the end where its topmost block is and a digest of that and the root. So to
//! open it takes three reads, however long it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kiln_oci::digest::Digest;

use super::known::Known;
use super::table::{Place, Table, Top, Writer};

const MARK: &[u8; 8] = b"kilnst3\n";

/// Bytes of the end without its digest: where the topmost block is, its length and digest, the levels below.
const END: usize = 8 + 4 + 32 + 1;

/// What is kept in `file`, and the root it was seen in; `None` if there is none or it is not understood.
pub(super) fn open(file: &Path) -> Option<(PathBuf, Table<Known>)> {
    let file: File = fs_err::File::open(file).ok()?.into_parts().0;
    let size = file.metadata().ok()?.len();
    let mut begin = [0; 12];
    file.read_exact_at(&mut begin, 0).ok()?;
    let length = begin.strip_prefix(MARK)?.try_into().ok().map(u32::from_le_bytes)?;
    if u64::from(length) > size {
        return None;
    }
    let mut root = vec![0; length as usize];
    file.read_exact_at(&mut root, begin.len() as u64).ok()?;
    let mut end = [0; END + 32];
    let at = size.checked_sub(end.len() as u64)?;
    file.read_exact_at(&mut end, at).ok()?;
    let (top, seal) = end.split_first_chunk::<END>()?;
    if seal_of(&root, top).as_bytes() != seal {
        return None;
    }
    let table = Table::open(file, decode(top)?)?;
    Some((OsStr::from_bytes(&root).into(), table))
}

/// Writes a file for what is known below `root`; `block` as in [`super::learnt::Limits`].
pub(super) fn write(
    out: &mut dyn Write,
    root: &Path,
    entries: impl Iterator<Item = (Vec<u8>, Known)>,
    block: usize,
) -> io::Result<()> {
    let root = root.as_os_str().as_bytes();
    let mut out = BufWriter::new(out);
    out.write_all(MARK)?;
    out.write_all(&u32::try_from(root.len()).map_err(io::Error::other)?.to_le_bytes())?;
    out.write_all(root)?;
    let mut writer = Writer::new(&mut out, (MARK.len() + 4 + root.len()) as u64, block);
    for (path, known) in entries {
        writer.push(&path, &known)?;
    }
    let top = encode(&writer.finish()?);
    out.write_all(&top)?;
    out.write_all(seal_of(root, &top).as_bytes())?;
    out.flush()
}

fn encode(top: &Top) -> Vec<u8> {
    let Top { place, height } = top;
    let place = [&place.offset.to_le_bytes()[..], &place.length.to_le_bytes(), place.sum.as_bytes()];
    [&place.concat()[..], &[*height]].concat()
}

fn decode(end: &[u8; END]) -> Option<Top> {
    let (offset, rest) = end.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (offset, length) = (u64::from_le_bytes(*offset), u32::from_le_bytes(*length));
    let [height] = *rest else { return None };
    Some(Top { place: Place { offset, length, sum: Digest::from_bytes(*sum) }, height })
}

/// The mark needs no digest: a file with another is not opened.
fn seal_of(root: &[u8], top: &[u8]) -> Digest {
    Digest::of(&[&(root.len() as u64).to_le_bytes(), root, top].concat())
}
