//! What the store holds, and taking away what nobody needs.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_oci::digest::Digest;
use kiln_oci::graph::Graph;
use walkdir::WalkDir;

use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::record::{BuildRecord, FORMAT};
use crate::remove::remove_tree;

/// Bytes on disk, by kind. Blocks are counted, each inode once, so the sum is what `du` says of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Blobs of images that have a name.
    pub images: u64,
    /// Other blobs: layers of steps and of base images.
    pub blobs: u64,
    /// Unpacked layers.
    pub trees: u64,
    /// Cache mounts.
    pub caches: u64,
    /// Indexes, step records, logs, locks.
    pub records: u64,
    /// Unfinished things; if no build is running, what killed ones left.
    pub unfinished: u64,
}

impl Usage {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.images + self.blobs + self.trees + self.caches + self.records + self.unfinished
    }
}

/// What to take away.
#[derive(Clone, Copy, Debug, Default)]
pub struct PruneOptions {
    /// All that is not part of a named image: the whole cache. Else only what no step and no named image refers to.
    pub all: bool,
}

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Bytes freed.
    pub bytes: u64,
    /// Files and folders removed, each tree as one.
    pub objects: u64,
}

impl Engine {
    /// Counts the store's bytes.
    pub fn usage(&self) -> Result<Usage, BuildError> {
        Ok(self.measure().map_err(BuildErrorKind::from)?)
    }

    fn measure(&self) -> io::Result<Usage> {
        let root = self.store.root();
        let named = self.named_blobs().unwrap_or_default();
        let mut seen = HashSet::new();
        let mut usage = Usage::default();
        for entry in fs_err::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "oci" {
                let content = self.store.content();
                for (digest, _) in content.list().unwrap_or_default() {
                    let size = size_of(&content.path_of(&digest), &mut seen)?;
                    *(if named.contains(&digest) { &mut usage.images } else { &mut usage.blobs }) += size;
                }
                usage.records += size_of(&entry.path(), &mut seen)?;
                continue;
            }
            let size = size_of(&entry.path(), &mut seen)?;
            *match name.to_str() {
                Some("tree") => &mut usage.trees,
                Some("cache") => &mut usage.caches,
                Some("tmp") => &mut usage.unfinished,
                _ => &mut usage.records,
            } += size;
        }
        Ok(usage)
    }

    fn named_blobs(&self) -> Result<HashSet<Digest>, BuildErrorKind> {
        let content = self.store.content();
        let mut named = HashSet::new();
        for entry in content.layout().list()? {
            named.extend(Graph::walk(content, &entry.descriptor)?.digests());
        }
        Ok(named)
    }

    /// Takes away what nobody needs. Waits until no build is running.
    pub fn prune(&self, options: PruneOptions) -> Result<Pruned, BuildError> {
        let _alone = self.store.collection().map_err(|e| e.kind)?;
        let mut keep = if options.all { Keep::default() } else { self.referred()? };
        self.remembered(&mut keep)?;
        let named = self.named_blobs()?;
        let mut pruned = Pruned::default();
        let root = self.store.root();
        for folder in ["tmp", "locks"] {
            // The lock that is held right now has a file there, too.
            sweep(&root.join(folder), &mut pruned, |name| name == "collect")?;
        }
        let of_layer = |name: &str| keep.layers.contains(name.split('.').next().unwrap_or_default());
        sweep(&root.join("layer"), &mut pruned, of_layer)?;
        sweep(&root.join("tree"), &mut pruned, of_layer)?;
        let logs = if options.all { HashSet::new() } else { keep.logs };
        sweep(&root.join("log"), &mut pruned, |name| logs.contains(name))?;
        // Builds are remembered even if nothing of them is left: they say that something was there.
        sweep(&self.store.builds(), &mut pruned, |name| keep.builds.contains(name))?;
        if options.all {
            for folder in ["step", "chain", "base", "context", "cache"] {
                sweep(&root.join(folder), &mut pruned, |_| false)?;
            }
        }
        let content = self.store.content();
        for (digest, _) in content.list().map_err(BuildErrorKind::from)? {
            if !named.contains(&digest) && !keep.blobs.contains(&digest) {
                let path = content.path_of(&digest);
                pruned.bytes += size_of(&path, &mut HashSet::new()).map_err(BuildErrorKind::from)?;
                content.remove(&digest).map_err(BuildErrorKind::from)?;
                pruned.objects += 1;
            }
        }
        Ok(pruned)
    }

    /// Records of builds that can be read, and the logs that they name.
    fn remembered(&self, keep: &mut Keep) -> Result<(), BuildErrorKind> {
        for path in files(&self.store.builds())? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(record) = serde_json::from_str::<BuildRecord>(&text_of(&path)?) else { continue };
            if record.format != FORMAT {
                continue;
            }
            let steps = record.places().filter_map(|place| record.step(place));
            keep.logs.extend(steps.filter_map(|step| step.log.clone()));
            keep.builds.insert(name.to_owned());
        }
        Ok(())
    }

    /// What step records and remembered base images still lead to.
    fn referred(&self) -> Result<Keep, BuildErrorKind> {
        let mut keep = Keep::default();
        let root = self.store.root();
        for folder in ["step", "chain", "base"] {
            for path in files(&root.join(folder))? {
                // Every digest that a record names counts, whatever it is of: that errs on the side of keeping.
                let text = text_of(&path)?;
                keep.add_digests(&text);
                keep.add_log(&text);
                let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
                keep.blobs.extend(format!("sha256:{stem}").parse::<Digest>().ok());
            }
        }
        for path in files(&root.join("layer"))? {
            let id = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default()
                .split('.')
                .next()
                .unwrap_or_default();
            if keep.layers.contains(id) && path.extension().is_some_and(|e| e == "json") {
                let text = text_of(&path)?;
                keep.blobs.extend(digests_in(&text));
            }
        }
        let content = self.store.content();
        // Manifests of base images lead to their configurations.
        for digest in keep.blobs.clone() {
            if let Ok(bytes) = content.read_blob(&digest)
                && let Ok(manifest) = kiln_oci::manifest::Manifest::parse(&bytes)
            {
                keep.blobs.insert(manifest.config.digest);
            }
        }
        Ok(keep)
    }
}

#[derive(Default)]
struct Keep {
    /// Hex digits of layer ids.
    layers: HashSet<String>,
    blobs: HashSet<Digest>,
    /// Names of files.
    logs: HashSet<String>,
    /// Names of files.
    builds: HashSet<String>,
}

impl Keep {
    fn add_log(&mut self, record: &str) {
        #[derive(serde::Deserialize)]
        struct Named {
            log: Option<String>,
        }
        self.logs.extend(serde_json::from_str::<Named>(record).ok().and_then(|named| named.log));
    }

    fn add_digests(&mut self, text: &str) {
        for digest in digests_in(text) {
            self.layers.insert(digest.hex());
            self.blobs.insert(digest);
        }
    }
}

fn digests_in(text: &str) -> impl Iterator<Item = Digest> {
    text.match_indices("sha256:").filter_map(|(i, _)| text.get(i..i + 71)?.parse().ok())
}

/// A record's text; one that is damaged must not stand in the way of a collection.
fn text_of(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs_err::read(path)?).into_owned())
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        files.push(entry?.path());
    }
    Ok(files)
}

/// Removes what is in `dir` but for the names that `keep` wants.
fn sweep(dir: &Path, pruned: &mut Pruned, keep: impl Fn(&str) -> bool) -> Result<(), BuildErrorKind> {
    for path in files(dir)? {
        if path.file_name().and_then(|n| n.to_str()).is_some_and(&keep) {
            continue;
        }
        pruned.bytes += size_of(&path, &mut HashSet::new())?;
        pruned.objects += 1;
        if path.is_dir() && !path.is_symlink() { remove_tree(&path)? } else { fs_err::remove_file(&path)? }
    }
    Ok(())
}

/// Bytes on disk of `path` and all below it; inodes that were `seen` count nothing. What vanishes meanwhile (a build that is
/// running takes its temporaries away) counts nothing either.
fn size_of(path: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<u64> {
    let mut total = 0;
    for entry in WalkDir::new(path) {
        let meta = match entry.and_then(|entry| entry.metadata()) {
            Ok(meta) => meta,
            Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        if seen.insert((meta.dev(), meta.ino())) {
            total += meta.blocks() * 512;
        }
    }
    Ok(total)
}
