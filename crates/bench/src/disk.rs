//! A file system for each tool alone.
//!
//! On a shared one the tools would slow each other down: for a while after files have been deleted, ext4 looks at each of their inodes
//! whenever a file is made nearby, and whoever builds after a tool that cleans up pays for it.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::meter;

/// An ext4 file system in a sparse file, mounted; unmounted and removed when this value goes.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

const BYTES: u64 = 48 << 30;

impl Disk {
    /// Makes the file system and mounts it at `folder`, which is made.
    ///
    /// # Errors
    /// When there is no mkfs.ext4 or no loop device.
    pub(crate) fn make(folder: PathBuf) -> Result<Self, Failure> {
        fs_err::create_dir_all(&folder)?;
        let disk = Self { image: folder.with_extension("ext4"), folder };
        fs_err::File::create(&disk.image)?.set_len(BYTES)?;
        let mut format = Command::new("mkfs.ext4");
        // Everything is laid out now, so that nothing of it happens while somebody is measured.
        format
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-i", "65536"])
            .arg(&disk.image);
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).args([&disk.image, &disk.folder]);
        meter::run(vec![format, mount], None, &disk.image.with_extension("log"))?;
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process of a tool may need a moment to end.
        Command::new("umount").args(["--quiet", "--lazy"]).arg(&self.folder).status().ok();
        fs_err::remove_file(&self.image).ok();
    }
}
