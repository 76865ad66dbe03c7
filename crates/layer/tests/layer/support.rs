//! Builders for entries, archives and trees.

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_layer::codec::encode;
use kiln_layer::compress::Format;
use kiln_layer::handle::{BlobForm, LayerHandle};
use kiln_layer::index::{Entry, Index, Kind, Mtime};
use kiln_layer::pack::{Content, PackEntry, Packed, pack};
use kiln_layer::path::LayerPath;
use kiln_layer::tar::scan::{NullSink, Scanned, scan};
use kiln_oci::digest::Digest;

/// Xorshift: the same numbers on every run.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 40) as u8).collect()
    }
}

pub(crate) fn path(text: impl AsRef<[u8]>) -> LayerPath {
    LayerPath::clean(text)
}

pub(crate) fn entry(at: impl AsRef<[u8]>, kind: Kind, mode: u32) -> Entry {
    Entry {
        path: path(at),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Mtime { secs: 1_600_000_000, nanos: 0 },
        xattrs: BTreeMap::new(),
        offset: None,
    }
}

pub(crate) fn file(at: impl AsRef<[u8]>, bytes: &[u8]) -> PackEntry {
    let kind = Kind::File { size: bytes.len() as u64, digest: Digest::of(bytes) };
    PackEntry { entry: entry(at, kind, 0o644), content: Content::Bytes(bytes.into()) }
}

pub(crate) fn dir(at: impl AsRef<[u8]>) -> PackEntry {
    PackEntry { entry: entry(at, Kind::Directory, 0o755), content: Content::None }
}

pub(crate) fn link(at: impl AsRef<[u8]>, target: &str) -> PackEntry {
    let kind = Kind::Symlink { target: target.into() };
    PackEntry { entry: entry(at, kind, 0o777), content: Content::None }
}

pub(crate) fn hardlink(at: impl AsRef<[u8]>, target: &str) -> PackEntry {
    let kind = Kind::Hardlink { target: path(target) };
    PackEntry { entry: entry(at, kind, 0o644), content: Content::None }
}

pub(crate) fn whiteout(at: impl AsRef<[u8]>) -> PackEntry {
    let mut entry = entry(at, Kind::Whiteout, 0);
    entry.mtime = Mtime::default();
    PackEntry { entry, content: Content::None }
}

pub(crate) fn packed(entries: &[PackEntry], opaque: &[&str]) -> (Packed, Vec<u8>) {
    let opaque: Vec<LayerPath> = opaque.iter().map(path).collect();
    let mut out = Vec::new();
    let packed = pack(entries, &opaque, &mut out, None).unwrap();
    (packed, out)
}

pub(crate) fn scanned(tar: &[u8]) -> Scanned {
    scan(tar, &temp_dir(), &mut NullSink).unwrap()
}

pub(crate) fn index(entries: &[PackEntry], opaque: &[&str]) -> Index {
    let entries = entries.iter().map(|item| item.entry.clone()).collect();
    Index::from_unsorted(entries, opaque.iter().map(path).collect())
}

/// A layer of which only the index is there.
pub(crate) fn bare(entries: &[PackEntry], opaque: &[&str]) -> Arc<LayerHandle> {
    Arc::new(LayerHandle::of(Arc::new(index(entries, opaque))))
}

/// A layer with a blob in `dir`.
pub(crate) fn blob(dir: &Path, entries: &[PackEntry]) -> Arc<LayerHandle> {
    let (packed, tar) = packed(entries, &[]);
    let file = dir.join(packed.diff_id.0.hex());
    fs_err::write(&file, tar).unwrap();
    let blob = BlobForm { path: file, format: Format::None };
    Arc::new(LayerHandle { index: Arc::new(packed.index), trees: Vec::new(), blob: Some(blob), later: None })
}

/// Names in an index, as text.
pub(crate) fn names(index: &Index) -> Vec<String> {
    all_of(index).iter().map(|entry| String::from_utf8_lossy(entry.path.as_bytes()).into_owned()).collect()
}

/// All that is in an index.
pub(crate) fn all_of(index: &Index) -> Vec<Entry> {
    index.iter().map(Result::unwrap).collect()
}

/// What is at `at`.
pub(crate) fn find(index: &Index, at: impl AsRef<[u8]>) -> Entry {
    index.get(&path(at)).unwrap().unwrap()
}

/// What the index is as bytes: equal for equal ones.
pub(crate) fn bytes(index: &Index) -> Vec<u8> {
    encode(index).unwrap()
}

/// The same with nearly all of it in a file, in pages of an entry or two.
pub(crate) fn spilled(index: &Index) -> Index {
    let mut builder = Index::builder_in(std::env::temp_dir(), 100);
    all_of(index).iter().for_each(|entry| builder.push(entry));
    builder.finish(index.opaque().to_vec())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a tool; its standard output. Fails the test if the tool does.
pub(crate) fn run(program: &str, arguments: &[&str], dir: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    output.stdout
}

pub(crate) fn sh(script: &str, dir: &Path) -> String {
    String::from_utf8(run("sh", &["-ec", script], dir)).unwrap()
}

pub(crate) fn read_all(mut reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}

/// An archive written by hand, for what no tool would write.
#[derive(Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn add(mut self, name: &[u8], flag: u8, link: &[u8], data: &[u8]) -> Self {
        let mut block = [0u8; 512];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[100..107].copy_from_slice(b"0000644");
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = flag;
        block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Changes bytes of the header added last (which must have had no data).
    pub(crate) fn patch(mut self, at: usize, bytes: &[u8]) -> Self {
        let start = self.0.len() - 512;
        let block: &mut [u8; 512] = (&mut self.0[start..]).try_into().unwrap();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        seal(block);
        self
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = [key.as_bytes(), b"=", value, b"\n"].concat();
            let mut length = body.len() + 2;
            while length.to_string().len() + 1 + body.len() != length {
                length = length.to_string().len() + 1 + body.len();
            }
            data.extend_from_slice(format!("{length} ").as_bytes());
            data.extend_from_slice(&body);
        }
        self.add(b"PaxHeaders/x", b'x', b"", &data)
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(name.as_bytes(), b'0', b"", data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
