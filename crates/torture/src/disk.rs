//! Builds on a disk that becomes full.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;

use crate::Tally;
use crate::chance::Chance;
use crate::failure::Failure;
use crate::judge::{came_through, nobody_left};
use crate::kiln::{failed, succeeded};
use crate::work::{VARIANTS, Work};

/// How much larger the file system is than a store: its own tables, and room for a second try.
const SPARE: u64 = 64 << 20;

/// Builds with less room than they need; then again with enough.
pub(crate) fn full(work: &Work) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    if !rustix::process::geteuid().is_root() {
        println!("full: skipped, mounting a loop file system takes root");
        return Ok(tally);
    }
    let disk = Disk::mount(work, work.bytes * 2 + SPARE)?;
    let mut refused = 0;
    for number in work.arguments.numbers(work.arguments.full) {
        let mut chance = Chance::new(work.arguments.seed, "full", number);
        let replay = format!("--seed {} --trial full --only {number}", work.arguments.seed);
        let outcome = one(work, &disk, &mut chance);
        refused += usize::from(matches!(outcome, Ok(true)));
        tally.count(&replay, outcome.map(drop));
    }
    println!("full: {refused} of the builds ran out of room");
    Ok(tally)
}

/// One build with little room, and one with enough; whether the first one failed.
fn one(work: &Work, disk: &Disk, chance: &mut Chance) -> Result<bool, Failure> {
    let kiln = work.kiln(&disk.at.join("store"));
    disk.leave(u64::MAX)?;
    if kiln.store.exists() {
        fs_err::remove_dir_all(&kiln.store)?;
    }
    let variant = chance.below(VARIANTS);
    if chance.below(2) == 0 {
        kiln.build_right((variant + 1) % VARIANTS)?;
    }
    // Once in a while not even a store can be begun.
    let bound = if chance.below(4) == 0 { 64 << 10 } else { work.bytes * 11 / 10 };
    let room = chance.below(bound) & !4095;
    disk.leave(room)?;
    let mut command = kiln.build_command(variant);
    let output = command.output()?;
    // A failure is said as one of the machine, or the step says it itself. Nothing else is acceptable.
    let status = output.status.code();
    if ![Some(0), Some(1), Some(3)].contains(&status) {
        return Err(failed(format!("{command:?}, with {room} bytes left"), &output));
    }
    nobody_left(&kiln)?;
    // Making room is what a prune is for; it must work where nothing can be written.
    kiln.run(&["prune"])?;
    disk.leave(u64::MAX)?;
    came_through(&kiln, variant)?;
    Ok(!output.status.success())
}

/// A file system in a file.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(work: &Work, size: u64) -> Result<Self, Failure> {
        let (image, at) = (work.folder("disk.img"), work.folder("disk"));
        fs_err::File::create(&image)?.file().set_len(size)?;
        fs_err::create_dir_all(&at)?;
        succeeded(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-F"]).arg(&image))?;
        succeeded(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
        Ok(Self { at })
    }

    /// Fills it up until `room` bytes are free; with `u64::MAX` it is emptied again.
    fn leave(&self, room: u64) -> Result<(), Failure> {
        let ballast = self.at.join("ballast");
        if ballast.exists() {
            fs_err::remove_file(&ballast)?;
        }
        let free = free(&self.at)?;
        if free > room {
            let file = fs_err::File::create(&ballast)?;
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&file, flags, 0, free - room) {
                // Where to find its blocks takes some as well: then nothing is left, which is less than `room`.
                Err(Errno::NOSPC) => {}
                other => other.map_err(std::io::Error::from)?,
            }
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The folder goes with everything else; a mount in it would not.
        let _ = Command::new("umount").arg(&self.at).status();
    }
}

fn free(path: &Path) -> Result<u64, Failure> {
    let disk = rustix::fs::statvfs(path).map_err(std::io::Error::from)?;
    Ok(disk.f_bavail * disk.f_frsize)
}
