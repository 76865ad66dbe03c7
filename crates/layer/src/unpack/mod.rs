//! Putting layers on disk: the directory that overlayfs takes as a lower layer, or a plain root filesystem.
//!
//! The unpacker trusts nobody. Each parent directory is opened component by component without following links, files are made
//! with `O_EXCL`, what is in the way is removed by name and never written through. A hostile archive can fill the directory
//! and nothing else.

mod error;
mod metadata;
mod place;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

pub use error::UnpackError;
use place::Parents;

use crate::path::LayerPath;
use crate::stop::Stop;
use crate::tar::scan::Sink;
use crate::tar::{Body, Member};
use crate::tree::Root;
use crate::view::View;

/// Whose the files on disk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owners {
    /// As in the image: the caller is root, or root of a user namespace that maps all the ids.
    Keep,
    /// Everything belongs to the caller, who can own as one id only. The index knows the real owners.
    Mine,
}

/// What the directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// One layer, to be a lower directory of an overlay mounted with `userxattr`: whiteouts become character devices 0:0,
    /// opaque directories get `user.overlay.opaque=y`.
    Overlay,
    /// A whole root filesystem: there is nothing for whiteouts and opaque marks to hide, they are passed over.
    Plain,
}

/// What could not be put on disk because the caller may not; the index still has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Devices that were not made.
    pub devices: Vec<LayerPath>,
    /// Files that lack one or more of their attributes.
    pub attributes: Vec<LayerPath>,
}

/// Unpacks members into a directory, one after the other; also as the [`Sink`] of a scan. A later member replaces an
/// earlier one with the same path; a directory stays and takes the new metadata.
///
/// Only attributes that belong to an image are set (see [`crate::xattr`]). Runs of zeros become holes.
pub struct Unpacker<'a> {
    root: Root,
    form: Form,
    owners: Owners,
    /// Where the metadata of directories comes from that the layer does not describe.
    lower: Option<&'a View>,
    parents: Parents,
    directories: metadata::Directories,
    skipped: Unpacked,
    /// Until the filesystem has said that it knows no reflinks, or none from where the originals are. To ask it again for each
    /// file is dear: the file that was made in vain slows the making of all others down (ext4 avoids inodes just freed).
    may_clone: bool,
    stop: Stop<'a>,
}

impl<'a> Unpacker<'a> {
    /// Unpacks into the directory `dest`, which exists and to which nothing else writes meanwhile.
    ///
    /// # Errors
    /// [`UnpackError`] if it cannot be opened.
    pub fn new(dest: &Path, form: Form, owners: Owners) -> Result<Self, UnpackError> {
        let root = Root::open(dest).map_err(|source| UnpackError::Open { source })?;
        let mut directories = metadata::Directories::new(dest);
        directories.imply(LayerPath::root()).map_err(|source| UnpackError::Open { source })?;
        Ok(Self {
            root,
            form,
            owners,
            lower: None,
            parents: Parents::default(),
            directories,
            skipped: Unpacked::default(),
            may_clone: true,
            stop: Stop::NEVER,
        })
    }

    /// Directories that the layer leaves undescribed, its root among them, look as in `lower`: else overlayfs would
    /// show the new layer's 0755 in place of what lies below.
    #[must_use]
    pub fn above(mut self, lower: &'a View) -> Self {
        self.lower = Some(lower);
        self
    }

    /// Ends with an error that holds [`crate::stop::Stopped`] when `stop` says so. What was unpacked until then stays.
    #[must_use]
    pub fn until(mut self, stop: Stop<'a>) -> Self {
        self.stop = stop;
        self
    }

    pub(crate) fn stop(&self) -> Stop<'a> {
        self.stop
    }

    /// Puts one member in its place, a file with the bytes of `content`.
    ///
    /// # Errors
    /// See [`UnpackError`]. What was unpacked so far stays.
    pub fn place(&mut self, member: &Member, content: &mut dyn Read) -> Result<(), UnpackError> {
        self.placed(member, content).map_err(|source| at(&member.path, source))
    }

    /// Whether [`Unpacker::place_clone`] may succeed; once `false`, it stays so.
    #[must_use]
    pub fn may_clone(&self) -> bool {
        self.may_clone
    }

    /// Makes `member`, a file, as a copy of `original` without passing its bytes through the process, if the filesystem can
    /// share them (reflink). Returns the new file, to be read for verification, or `None` if it cannot; then nothing was made.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn place_clone(&mut self, member: &Member, original: &File) -> Result<Option<File>, UnpackError> {
        self.cloned(member, original).map_err(|source| at(&member.path, source))
    }

    /// Sets what could not be set before on directories: modes, owners and times, deepest first.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn finish(self) -> Result<Unpacked, UnpackError> {
        let lower = self.lower;
        self.finished(lower)
    }

    /// [`Unpacker::finish`] for who learns only now what lies below, as [`Unpacker::above`] wants it: layers that are unpacked side by
    /// side.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn finish_above(self, lower: &View) -> Result<Unpacked, UnpackError> {
        self.finished(Some(lower))
    }

    fn finished(mut self, lower: Option<&View>) -> Result<Unpacked, UnpackError> {
        let nothing = metadata::Directories::new(Path::new(""));
        let directories = std::mem::replace(&mut self.directories, nothing);
        let mut last = LayerPath::root();
        let described = directories.deepest_first(&mut |path, described| {
            last = path;
            let member = described.map_or_else(|| metadata::implied(&last, lower), Ok)?;
            self.describe(&last, &member)
        });
        described.map_err(|source| at(&last, source))?;
        Ok(self.skipped)
    }

    fn describe(&mut self, path: &LayerPath, member: &Member) -> io::Result<()> {
        let dir = self.root.open_dir(path)?;
        if !metadata::set_by_handle(&dir, member, self.owners)? {
            self.skipped.attributes.push(path.clone());
        }
        Ok(())
    }

    fn placed(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()> {
        self.stop.check()?;
        match &member.body {
            Body::Directory => return self.directory(member),
            Body::Opaque => return self.opaque(&member.path),
            Body::Whiteout if self.form == Form::Plain => return Ok(()),
            _ => {}
        }
        self.forget(&member.path)?;
        let parent = self.parent_of(&member.path)?;
        let name = member.path.name();
        match &member.body {
            Body::File { size } => {
                let mut file = place::new_file(&parent, name)?;
                place::fill(&mut file, *size, &mut self.stop.over(content))?;
                if !metadata::set_by_handle(&file, member, self.owners)? {
                    self.skipped.attributes.push(member.path.clone());
                }
            }
            Body::Hardlink { target } => {
                let from = self.parent_of(target)?;
                place::hardlink(&from, target.name(), &parent, name)?;
            }
            Body::Whiteout => place::whiteout(&parent, name)?,
            _ => {
                if !place::special(&parent, name, &member.body)? {
                    self.skipped.devices.push(member.path.clone());
                } else if !metadata::set_by_name(&parent, name, member, self.owners)? {
                    self.skipped.attributes.push(member.path.clone());
                }
            }
        }
        Ok(())
    }

    fn cloned(&mut self, member: &Member, original: &File) -> io::Result<Option<File>> {
        self.forget(&member.path)?;
        let parent = self.parent_of(&member.path)?;
        let name = member.path.name();
        let file = place::new_file(&parent, name)?;
        if let Err(refusal) = rustix::fs::ioctl_ficlone(&file, original) {
            // EINVAL is about this one file.
            self.may_clone &= refusal == rustix::io::Errno::INVAL;
            crate::tree::remove(parent.as_fd(), name)?;
            return Ok(None);
        }
        if !metadata::set_by_handle(&file, member, self.owners)? {
            self.skipped.attributes.push(member.path.clone());
        }
        place::reopen(&parent, name).map(Some)
    }

    fn directory(&mut self, member: &Member) -> io::Result<()> {
        if !member.path.is_root() {
            let parent = self.parent_of(&member.path)?;
            place::new_directory(&parent, member.path.name())?;
        }
        self.directories.describe(member)
    }

    fn opaque(&mut self, path: &LayerPath) -> io::Result<()> {
        if self.form == Form::Plain {
            return Ok(());
        }
        self.open(path)?;
        place::mark_opaque(&self.root.open_dir(path)?)
    }

    /// Something that is no directory comes to `path`: what stood there and below is no longer to be described.
    fn forget(&mut self, path: &LayerPath) -> io::Result<()> {
        self.parents.forget(path);
        self.directories.forget(path)
    }

    /// The directory that is to hold `path`, made if it is missing.
    fn parent_of(&mut self, path: &LayerPath) -> io::Result<place::Parent> {
        self.open(&path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn open(&mut self, dir: &LayerPath) -> io::Result<place::Parent> {
        let directories = &mut self.directories;
        self.parents.open(&self.root, dir, &mut |made| directories.imply(made))
    }
}

impl Sink for Unpacker<'_> {
    fn member(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()> {
        self.placed(member, content)
    }
}

fn at(path: &LayerPath, source: io::Error) -> UnpackError {
    UnpackError::Place { path: path.display(), source }
}
