use std::collections::{BTreeSet, HashMap};

use tempfile::TempDir;

use super::*;

/// So small that a few dozen entries make several levels of blocks and runs of several sizes.
const TINY: Limits = Limits { block: 2, held: 3, runs: 2 };

fn stamp(ctime: i128) -> Stamp {
    Stamp { dev: 1, ino: 2, size: 3, mtime: 4, ctime }
}

/// A cache of `/context` in `dir`, with the clock at a second after the epoch.
fn open(dir: &TempDir, limits: Limits) -> StatCache {
    let now = 1_000_000_000;
    StatCache::limited(dir.path().join("cache"), Path::new("/context"), (now, dir.path().to_owned()), limits)
}

/// Nothing but the cache itself has a name in `dir`.
fn leaves_nothing(dir: &TempDir) {
    let names: Vec<_> = fs_err::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "cache"), "{names:?}");
}

#[test]
fn what_changed_just_now_is_not_believed() {
    let dir = TempDir::new().unwrap();
    let mut cache = open(&dir, Limits::USUAL);
    let path = LayerPath::clean("a");
    let mut check = |ctime, seen: &[(i128, bool)], why| {
        cache.note(&path, &stamp(ctime), Some(Digest::of(b"x")), false).unwrap();
        for (ctime, known) in seen {
            assert_eq!(cache.digest(&path, &stamp(*ctime)), known.then(|| Digest::of(b"x")), "{why}");
        }
    };
    check(1_000_000_000 - 1, &[(1_000_000_000 - 1, false)], "the same tick");
    check(0, &[(0, false)], "a clock of whole seconds");
    check(5, &[(5, true), (6, false)], "another change time");
}

#[test]
fn each_part_of_a_stamp_counts_and_survives() {
    let dir = TempDir::new().unwrap();
    let min = i128::from(i64::MIN) * 1_000_000_000;
    let base = Stamp { dev: 8 << 32 | 1, ino: u64::MAX, size: 1 << 63, mtime: min, ctime: -7 };
    let path = LayerPath::clean("a");
    let mut cache = open(&dir, Limits::USUAL);
    cache.note(&path, &base, Some(Digest::of(b"x")), true).unwrap();
    cache.save().unwrap();
    let cache = open(&dir, Limits::USUAL);
    let known = Known { stamp: base, digest: Some(Digest::of(b"x")), no_xattrs: true };
    assert_eq!(cache.get(&path, &base), Some(known));
    let others = [
        Stamp { dev: 8 << 32, ..base },
        Stamp { ino: u64::MAX - 1, ..base },
        Stamp { size: 0, ..base },
        Stamp { mtime: min + 1, ..base },
        Stamp { ctime: 7, ..base },
    ];
    assert!(others.iter().all(|other| cache.get(&path, other).is_none()));
}

#[test]
fn it_belongs_to_one_root() {
    let dir = TempDir::new().unwrap();
    let mut cache = open(&dir, Limits::USUAL);
    cache.note(&LayerPath::root(), &stamp(5), None, true).unwrap();
    cache.save().unwrap();
    assert!(open(&dir, Limits::USUAL).get(&LayerPath::root(), &stamp(5)).is_some());
    let file = dir.path().join("cache");
    let other = StatCache::load(file, Path::new("/contexts"), 1_000_000_000, dir.path().to_owned());
    assert!(other.get(&LayerPath::root(), &stamp(5)).is_none());
}

#[test]
fn nothing_learnt_nothing_written() {
    let dir = TempDir::new().unwrap();
    open(&dir, TINY).save().unwrap();
    assert!(!dir.path().join("cache").exists());
    let mut cache = filled(&dir, 9);
    let file = dir.path().join("cache");
    fs_err::remove_file(&file).unwrap();
    cache.save().unwrap();
    assert!(!file.exists());
}

/// Numbers that are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }
}

type Model = HashMap<LayerPath, Known>;

fn note_by_chance(chance: &mut Chance, path: &LayerPath, cache: &mut StatCache, model: &mut Model) {
    let stamp = stamp(1 + chance.below(3) as i128);
    let digest = [None, Some(Digest::of(&[chance.below(256) as u8]))][chance.below(2)];
    let no_xattrs = chance.below(2) == 1;
    cache.note(path, &stamp, digest, no_xattrs).unwrap();
    let fresh = Known { stamp, digest: None, no_xattrs: false };
    let known = model.entry(path.clone()).or_insert(fresh);
    if known.stamp != stamp {
        *known = fresh;
    }
    known.digest = digest.or(known.digest);
    known.no_xattrs |= no_xattrs;
}

fn agrees(cache: &StatCache, model: &Model, path: &LayerPath) {
    for ctime in 1..4 {
        let want = model.get(path).filter(|known| known.stamp == stamp(ctime)).copied();
        assert_eq!(cache.get(path, &stamp(ctime)), want, "{path:?} at {ctime}");
    }
}

#[test]
fn it_knows_what_a_map_would_know() {
    for seed in 0..24 {
        let mut chance = Chance(seed);
        let limits =
            Limits { block: 2 + chance.below(4), held: 1 + chance.below(9), runs: 2 + chance.below(3) };
        let names = ["", "a", "a/b", "a.b", "a/b/c", "z\u{e9}", "long-name-that-others-share"];
        let pool: Vec<LayerPath> = (0..1 + chance.below(90))
            .map(|_| LayerPath::clean(format!("{}/{}", names[chance.below(7)], chance.below(40))))
            .chain([LayerPath::root()])
            .collect();
        let dir = TempDir::new().unwrap();
        let (mut cache, mut model) = (open(&dir, limits), Model::new());
        let mut saved = model.clone();
        for _ in 0..600 {
            let path = &pool[chance.below(pool.len())];
            match chance.below(60) {
                0 => {
                    cache.save().unwrap();
                    saved.clone_from(&model);
                }
                1 => {
                    cache = open(&dir, limits);
                    model.clone_from(&saved);
                }
                2..30 => agrees(&cache, &model, path),
                _ => note_by_chance(&mut chance, path, &mut cache, &mut model),
            }
        }
        pool.iter().for_each(|path| agrees(&cache, &model, path));
        cache.save().unwrap();
        pool.iter().for_each(|path| agrees(&open(&dir, limits), &model, path));
        leaves_nothing(&dir);
    }
}

fn numbered(i: usize) -> LayerPath {
    LayerPath::clean(format!("dir-{}/file-{i:06}", i / 1000))
}

fn digest_of(i: usize) -> Digest {
    Digest::of(&i.to_le_bytes())
}

/// A saved cache of `count` files.
fn filled(dir: &TempDir, count: usize) -> StatCache {
    let mut cache = open(dir, TINY);
    (0..count).for_each(|i| cache.note(&numbered(i), &stamp(5), Some(digest_of(i)), true).unwrap());
    cache.save().unwrap();
    cache
}

/// How many of `count` files are still known; none may be known as something else.
fn count_known(cache: &StatCache, count: usize) -> usize {
    let known = |i: &usize| {
        let digest = cache.digest(&numbered(*i), &stamp(5));
        assert!(digest.is_none_or(|digest| digest == digest_of(*i)), "{i}");
        digest.is_some()
    };
    (0..count).filter(known).count()
}

#[test]
fn damage_is_never_believed() {
    let count = 11;
    let dir = TempDir::new().unwrap();
    filled(&dir, count);
    let file = dir.path().join("cache");
    let good = fs_err::read(&file).unwrap();
    // To replace a file waits for the disk in some file systems; this one is gone before it is replaced.
    let damaged = |bytes: &[u8]| {
        let _ = fs_err::remove_file(&file);
        fs_err::write(&file, bytes).unwrap();
        let cache = open(&dir, TINY);
        fs_err::remove_file(&file).unwrap();
        cache
    };
    let mut seen = BTreeSet::new();
    for i in 0..good.len() {
        for bits in [1, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[i] ^= bits;
            let mut cache = damaged(&bad);
            let known = count_known(&cache, count);
            assert!(known < count, "byte {i} serves for nothing");
            seen.insert(known);
            // What is left of it goes into the next file, and is right there, too.
            cache.note(&numbered(count), &stamp(5), Some(digest_of(count)), true).unwrap();
            cache.save().unwrap();
            assert_eq!(count_known(&open(&dir, TINY), count + 1), known + 1, "byte {i}");
        }
        assert_eq!(count_known(&damaged(&good[..i]), count), 0, "the first {i} bytes");
    }
    assert!(seen.contains(&0) && seen.contains(&(count - 2)), "a block's damage costs that block: {seen:?}");
}

#[test]
fn memory_holds_the_bounds_whatever_the_count() {
    let dir = TempDir::new().unwrap();
    let limits = Limits { block: 8, held: 32, runs: 4 };
    let count = 8192;
    let mut cache = open(&dir, limits);
    for i in 0..count {
        cache.note(&numbered(i), &stamp(5), Some(digest_of(i)), true).unwrap();
        let (latest, runs) = cache.learnt.held();
        assert!(latest < 32, "{latest} entries in memory");
        // 256 runs of 32 would be four times four times four times four: at most three of each size.
        assert!(runs.len() <= 4 * 3 + 1, "{} runs", runs.len());
    }
    assert_eq!(count_known(&cache, count), count);
    cache.save().unwrap();
    let cache = open(&dir, limits);
    assert_eq!(count_known(&cache, count), count);
    assert_eq!(cache.digest(&numbered(count), &stamp(5)), None);
    let held = cache.before.as_ref().unwrap().held();
    assert!((3..=13).contains(&held), "{held} blocks in memory");
    leaves_nothing(&dir);
}

#[test]
fn several_threads_look_at_once() {
    let dir = TempDir::new().unwrap();
    filled(&dir, 300);
    let cache = open(&dir, TINY);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| count_known(&cache, 300))).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 300));
    });
}

#[test]
fn deleted_files_are_forgotten() {
    let dir = TempDir::new().unwrap();
    let (root, caches, tmp) = (dir.path().join("root"), dir.path().join("caches"), dir.path().join("tmp"));
    for made in [&root, &caches, &tmp] {
        fs_err::create_dir(made).unwrap();
    }
    let file = caches.join("cache");
    let load = |limits| StatCache::limited(file.clone(), &root, (1_000_000_000, tmp.clone()), limits);
    let mut cache = load(TINY);
    for i in 0..40 {
        fs_err::create_dir_all(root.join("dir-0")).unwrap();
        fs_err::write(root.join(format!("dir-0/file-{i:06}")), "x").unwrap();
        cache.note(&numbered(i), &stamp(5), Some(digest_of(i)), true).unwrap();
    }
    cache.save().unwrap();
    let whole = fs_err::read(&file).unwrap();
    forget_deleted(&caches, &tmp).unwrap();
    assert_eq!(fs_err::read(&file).unwrap(), whole, "all are there");

    for i in [0, 7, 8, 39] {
        fs_err::remove_file(root.join(format!("dir-0/file-{i:06}"))).unwrap();
    }
    forget_deleted(&caches, &tmp).unwrap();
    let cache = load(TINY);
    assert_eq!(count_known(&cache, 40), 36);
    assert!([0, 7, 8, 39].iter().all(|i| cache.digest(&numbered(*i), &stamp(5)).is_none()));

    // A damaged block goes, a cache that is damaged as a whole, too, and one of whose files none is left.
    let mut bad = whole.clone();
    bad[100] ^= 1;
    fs_err::write(&file, &bad).unwrap();
    let known = count_known(&load(TINY), 40);
    forget_deleted(&caches, &tmp).unwrap();
    assert!(fs_err::read(&file).unwrap().len() < whole.len());
    assert!((30..known + 1).contains(&count_known(&load(TINY), 40)));
    fs_err::write(&file, &whole[1..]).unwrap();
    forget_deleted(&caches, &tmp).unwrap();
    assert!(!file.exists());
    fs_err::write(&file, &whole).unwrap();
    fs_err::remove_dir_all(root.join("dir-0")).unwrap();
    forget_deleted(&caches, &tmp).unwrap();
    assert!(!file.exists());
    assert_eq!(fs_err::read_dir(&tmp).unwrap().count(), 0);
}
