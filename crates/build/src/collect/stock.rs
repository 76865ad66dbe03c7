//! Which parts of a store need which others.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::digest::Digest;
use kiln_oci::manifest::Manifest;
use kiln_oci::store::ContentStore;

use crate::collect::survey::{BLOBS, Object, Survey};
use crate::layers::trees::BASE;
use crate::record::{BuildRecord, FORMAT};
use crate::store::AMENDED;

/// Folders of parts that exist only for the records that lead to them.
const PARTS: [&str; 4] = ["layer", TREES, LOGS, BLOBS];

/// The folder of unpacked layers.
const TREES: &str = "tree";

/// The folder of logs. Records name them.
const LOGS: &str = "log";

/// The folder of records of past builds, which keep their logs and nothing else.
const BUILDS: &str = "build";

/// The folder of what came from elsewhere.
const SOURCES: &str = "source";

/// Folders of records that keep nothing alive: each goes with the layer that it is about.
const WEAK: [&str; 2] = ["chain", "latest"];

/// Folders of what is not finished, or only marks who is at work.
const UNFINISHED: [&str; 4] = ["tmp", "failed", "locks", ""];

/// Records are small; anything larger is not read for digests.
const LARGEST_RECORD: u64 = 16 << 20;

/// What a part of the cache is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// A step's result: its record and the layer that it made.
    Step,
    /// What is remembered of a base image, and its layers.
    Base,
    /// The stat cache of a context.
    Context,
    /// The directory of a cache mount.
    CacheMount,
    /// What came from elsewhere: a file by URL, the files of a commit or of a remote context.
    Source,
    /// Logs and other records.
    Record,
}

/// What is kept or let go as one: a record and what only it may need.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: CacheKind,
    /// What it is called in the store: a key, a digest.
    pub(super) name: String,
    /// For people: a cache mount's id, a source's address.
    pub(super) label: String,
    pub(super) used: SystemTime,
    /// Objects that are this unit's alone.
    pub(super) own: Vec<usize>,
    /// Objects that it shares with others.
    pub(super) refs: Vec<usize>,
}

/// The whole store: objects, who needs them, which are free.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) objects: Vec<Object>,
    pub(super) units: Vec<Unit>,
    /// By object: whether it is part of an image with a name.
    pub(super) named: Vec<bool>,
    /// By object: whether it is part of a layer, or a blob. Those that nothing needs can go.
    pub(super) is_part: Vec<bool>,
    /// By object: whether it is no use once nothing is running.
    pub(super) is_unfinished: Vec<bool>,
    /// Logs of builds that are remembered. The records of those builds stay even if nothing else of them does: they say that something
    /// was there.
    pub(super) remembered: Vec<usize>,
    /// Records that go with the objects that they are about; one of those must stay.
    pub(super) weak: Vec<(usize, Vec<usize>)>,
}

impl Stock {
    /// Reads the records of what `survey` found. `named` are the blobs of images with a name.
    pub(super) fn of(survey: Survey, named: &HashSet<Digest>, content: &ContentStore) -> Self {
        let objects = survey.objects;
        let links = Links::of(&objects, content);
        let mut stock = Self {
            named: objects.iter().map(|o| o.folder == BLOBS && is_named(o, named)).collect(),
            is_part: objects.iter().map(|o| PARTS.contains(&o.folder.as_str())).collect(),
            is_unfinished: objects.iter().map(|o| UNFINISHED.contains(&o.folder.as_str())).collect(),
            weak: Vec::new(),
            remembered: Vec::new(),
            units: Vec::new(),
            objects: Vec::new(),
        };
        let mut units: HashMap<(&str, &str), Unit> = HashMap::new();
        let recorded: HashSet<&str> = source_records(&objects).map(Object::stem).collect();
        for (i, object) in objects.iter().enumerate() {
            let folder = object.folder.as_str();
            if stock.is_unfinished[i] {
                continue;
            } else if folder == BUILDS && is_readable(object) {
                stock.remembered.extend(links.of_record(object));
            } else if folder == BUILDS {
                stock.is_unfinished[i] = true;
            } else if folder == SOURCES && !recorded.contains(object.stem()) {
                // A folder is whole when its record says so.
                stock.is_unfinished[i] = true;
            } else if WEAK.contains(&folder) {
                let mut about = links.of_record(object);
                // Without its index a layer cannot be found, even if its blob stays as part of an image.
                about.retain(|part| objects[*part].folder == "layer");
                stock.weak.push((i, about));
            } else if !PARTS.contains(&folder) {
                let unit = units.entry((folder, object.stem())).or_insert_with(|| unit(object));
                unit.own.push(i);
                unit.used = unit.used.max(object.used);
                if unit.kind == CacheKind::Source && unit.label.is_empty() {
                    unit.label = address(object);
                }
                // The parts of a step's key name what it read, which it does not need any more.
                if !object.name.ends_with(".parts.json") {
                    unit.refs.extend(links.of_record(object));
                }
            }
        }
        for ((folder, stem), mut unit) in units {
            if folder == "base" {
                // The record of a pulled blob is named after it.
                unit.refs.extend(links.of_digest(stem));
            }
            unit.refs.sort_unstable();
            unit.refs.dedup();
            stock.units.push(unit);
        }
        stock.units.sort_by(|a, b| (a.used, a.kind, &a.name).cmp(&(b.used, b.kind, &b.name)));
        stock.objects = objects;
        stock
    }
}

/// Blobs that are files by URL.
pub(super) fn fetched_blobs(objects: &[Object]) -> HashSet<Digest> {
    source_records(objects).flat_map(|record| digests_in(&text_of(record))).collect()
}

fn source_records(objects: &[Object]) -> impl Iterator<Item = &Object> {
    objects.iter().filter(|object| object.folder == SOURCES && object.name.ends_with(".json"))
}

/// Whether the record of a build can still be understood.
fn is_readable(object: &Object) -> bool {
    serde_json::from_str::<BuildRecord>(&text_of(object)).is_ok_and(|record| record.format == FORMAT)
}

/// The address in the record of a remote source.
fn address(object: &Object) -> String {
    #[derive(serde::Deserialize)]
    struct Address {
        url: String,
    }
    serde_json::from_str::<Address>(&text_of(object)).map(|record| record.url).unwrap_or_default()
}

fn is_named(object: &Object, named: &HashSet<Digest>) -> bool {
    format!("sha256:{}", object.name).parse::<Digest>().is_ok_and(|digest| named.contains(&digest))
}

fn unit(object: &Object) -> Unit {
    let kind = match object.folder.as_str() {
        "step" => CacheKind::Step,
        "base" => CacheKind::Base,
        "context" => CacheKind::Context,
        "cache" => CacheKind::CacheMount,
        SOURCES => CacheKind::Source,
        _ => CacheKind::Record,
    };
    let label = match kind {
        CacheKind::CacheMount => fs_err::read_to_string(object.path.join("id")).unwrap_or_default(),
        _ => String::new(),
    };
    // A cache mount's directory keeps its own time; its `id` is noted at each use.
    let noted = fs_err::metadata(object.path.join("id")).and_then(|m| m.modified()).unwrap_or(UNIX_EPOCH);
    let used = if kind == CacheKind::CacheMount { noted } else { object.used };
    Unit { kind, name: object.stem().to_owned(), label, used, own: Vec::new(), refs: Vec::new() }
}

/// From digests to the objects that they stand for.
struct Links<'a> {
    objects: &'a [Object],
    /// Index, tree and list of blobs of a layer, by the hex digits of its id.
    layers: HashMap<&'a str, Vec<usize>>,
    blobs: HashMap<&'a str, usize>,
    logs: HashMap<&'a str, usize>,
    content: &'a ContentStore,
}

impl<'a> Links<'a> {
    fn of(objects: &'a [Object], content: &'a ContentStore) -> Self {
        let (layers, blobs, logs) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut links = Self { objects, layers, blobs, logs, content };
        for (i, object) in objects.iter().enumerate() {
            match object.folder.as_str() {
                "layer" | TREES => links.layers.entry(object.stem()).or_default().push(i),
                LOGS => drop(links.logs.insert(object.name.as_str(), i)),
                BLOBS => drop(links.blobs.insert(object.name.as_str(), i)),
                _ => {}
            }
        }
        links
    }

    /// Everything that a record leads to. Every digest that it names counts, whatever it is of: that errs on the side of keeping.
    fn of_record(&self, record: &Object) -> Vec<usize> {
        let text = text_of(record);
        let names = text.match_indices(".log\"").filter_map(|(end, _)| text[..end + 4].rsplit('"').next());
        let mut found: Vec<usize> = names.filter_map(|name| self.logs.get(name)).copied().collect();
        if record.folder == BUILDS {
            return found;
        }
        for digest in digests_in(&text) {
            found.extend(self.of_digest(&digest.hex()));
            // Manifests of base images lead to their configurations.
            if self.blobs.contains_key(digest.hex().as_str())
                && let Ok(bytes) = self.content.read_blob(&digest)
                && let Ok(manifest) = Manifest::parse(&bytes)
            {
                found.extend(self.blobs.get(manifest.config.digest.hex().as_str()));
            }
        }
        found
    }

    fn of_digest(&self, hex: &str) -> Vec<usize> {
        let mut found: Vec<usize> = self.blobs.get(hex).copied().into_iter().collect();
        for &part in self.layers.get(hex).into_iter().flatten() {
            found.push(part);
            let object = &self.objects[part];
            if object.name.ends_with(".json") {
                let blobs = digests_in(&text_of(object));
                found.extend(blobs.iter().filter_map(|blob| self.blobs.get(blob.hex().as_str())));
            } else if object.folder == TREES && object.name.contains(AMENDED) {
                let base = fs_err::read_to_string(object.path.join(BASE)).unwrap_or_default();
                let bases = digests_in(&base);
                found.extend(bases.iter().filter_map(|id| self.layers.get(id.hex().as_str())).flatten());
            }
        }
        found
    }
}

fn digests_in(text: &str) -> Vec<Digest> {
    text.match_indices("sha256:").filter_map(|(i, _)| text.get(i..i + 71)?.parse().ok()).collect()
}

/// A record's text; empty for a folder, and for one that cannot be read: a damaged record leads nowhere, and must not stand in the
/// way of a collection.
fn text_of(record: &Object) -> String {
    if record.bytes > LARGEST_RECORD || record.path.is_dir() {
        return String::new();
    }
    fs_err::read(&record.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
