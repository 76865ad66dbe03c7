//! Standard input as a file that can be read more than once: kiln may start itself again in a user namespace, and the
//! second life has to find the same bytes.

use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::stdio::dup2_stdin;

/// Copies what is left of standard input into a nameless temporary file and makes that the new standard input, at its start.
/// Whoever starts the program anew inherits it.
pub(crate) fn spool() -> io::Result<std::fs::File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.flush()?;
    file.seek(SeekFrom::Start(0))?;
    dup2_stdin(&file)?;
    Ok(file)
}

/// All of a spooled input; its position is at the start again afterwards.
pub(crate) fn read_all(file: &mut std::fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(bytes)
}

/// The first bytes of a spooled input; its position is at the start again afterwards.
pub(crate) fn head(file: &mut std::fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(512).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(bytes)
}

/// Goes back to the start, for whoever reads standard input next.
pub(crate) fn rewind(mut file: std::fs::File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0)).map(|_| ())
}

/// Whether bytes are the beginning of a tar archive or of a compressed file, rather than of a text.
pub(crate) fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 5] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"LZIP"];
    MAGIC.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_texts() {
        let mut tar = vec![0_u8; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_archive(&tar) && is_archive(b"\x1f\x8b\x08") && is_archive(b"BZh9"));
        assert!(!is_archive(b"FROM debian\n") && !is_archive(b""));
    }
}
