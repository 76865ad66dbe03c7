//! The driver for a stable compiler: mutation, with behaviour instead of coverage to go by.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mutate::mutate;
use crate::random::{Random, Signature};
use crate::target::Target;

/// Inputs do not grow beyond this.
const LONGEST: usize = 16 << 10;

/// The pool does not grow beyond this.
const POOL: usize = 20_000;

/// A target that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a run was about.
#[derive(Clone, Debug)]
pub struct Run {
    /// From which all mutations follow.
    pub seed: u64,
    /// How long to go on.
    pub time: Duration,
    /// The repository's root.
    pub root: PathBuf,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Inputs tried.
    pub tried: u64,
    /// Kinds of inputs seen.
    pub kinds: usize,
    /// An input that must not be lost, and where it is now.
    pub crash: Option<PathBuf>,
    /// The smallest input of each kind that came up during the run.
    pub found: Vec<Vec<u8>>,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The corpus cannot be read, or an input not be saved; the error names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The seeds of `target`: the files of its folder, and those that it names.
///
/// # Errors
/// If a folder cannot be read; its own may be missing.
pub fn corpus(target: &Target, root: &Path) -> Result<Vec<Vec<u8>>, DriveError> {
    let own = root.join("testdata/fuzz").join(target.name);
    let mut folders: Vec<PathBuf> = target.seeds.iter().map(|seeds| root.join(seeds)).collect();
    folders.extend(own.is_dir().then_some(own));
    let mut files = Vec::new();
    for folder in folders {
        files_below(&folder, &mut files)?;
    }
    files.sort();
    let read = files.iter().map(fs_err::read).collect::<Result<Vec<_>, _>>()?;
    Ok(read.into_iter().filter(|bytes| bytes.len() <= LONGEST).collect())
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DriveError> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, files)?;
        } else if path.extension().is_none_or(|e| e != "txt" && e != "md") {
            files.push(path);
        }
    }
    Ok(())
}

/// Tries inputs on `target` until the time is over or one makes it panic.
///
/// # Errors
/// If the corpus cannot be read or an input cannot be saved.
pub fn drive(target: &Target, run: &Run) -> Result<Outcome, DriveError> {
    let watch = Watch::start(target, &run.root);
    let mut random = Random::new(run.seed);
    let mut pool = corpus(target, &run.root)?;
    pool.push(Vec::new());
    let mut outcome = Outcome::default();
    let mut kinds: HashMap<u64, Vec<u8>> = HashMap::new();
    for input in pool.clone() {
        match attempt(target, &input, &watch) {
            Ok(kind) => _ = kinds.insert(kind, input),
            Err(()) => return crashed(target, run, &input, outcome),
        }
    }
    let begin = Instant::now();
    while begin.elapsed() < run.time {
        let input = mutate(&pool[random.below(pool.len())], &pool[random.below(pool.len())], &mut random);
        if input.len() > LONGEST {
            continue;
        }
        outcome.tried += 1;
        let Ok(kind) = attempt(target, &input, &watch) else { return crashed(target, run, &input, outcome) };
        if !kinds.contains_key(&kind) && pool.len() < POOL {
            outcome.found.push(input.clone());
            pool.push(input.clone());
            kinds.insert(kind, input);
        }
    }
    outcome.kinds = kinds.len();
    Ok(outcome)
}

/// Runs `target` once; the panic's message is already on the screen.
fn attempt(target: &Target, input: &[u8], watch: &Watch) -> Result<u64, ()> {
    watch.begin(input);
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    watch.end();
    result.map_err(|_| ())
}

fn crashed(target: &Target, run: &Run, input: &[u8], mut outcome: Outcome) -> Result<Outcome, DriveError> {
    outcome.crash = Some(save(target.name, &run.root, input)?);
    Ok(outcome)
}

/// Puts an input where the tests find it.
///
/// # Errors
/// If it cannot be written.
pub fn save(target: &str, root: &Path, input: &[u8]) -> Result<PathBuf, DriveError> {
    let folder = root.join("testdata/fuzz").join(target);
    fs_err::create_dir_all(&folder)?;
    let mut name = Signature::default();
    name.add(input);
    let path = folder.join(format!("crash-{:016x}", name.finish()));
    fs_err::write(&path, input)?;
    Ok(path)
}

/// The input that a target is busy with, and since when.
type Current = Mutex<Option<(Instant, Vec<u8>)>>;

/// Saves the input that a target hangs on, since nothing else can be done for it.
struct Watch {
    current: Arc<Current>,
}

impl Watch {
    fn start(target: &Target, root: &Path) -> Self {
        let current: Arc<Current> = Arc::default();
        let (seen, name, root) = (Arc::downgrade(&current), target.name, root.to_owned());
        std::thread::spawn(move || {
            while let Some(seen) = seen.upgrade() {
                let late = seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take_if(|(at, _)| at.elapsed() > PATIENCE);
                if let Some((_, input)) = late {
                    let saved = save(name, &root, &input);
                    panic_hook(&format!("{name} hangs, input saved: {saved:?}"));
                    std::process::exit(1);
                }
                drop(seen);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { current }
    }

    fn begin(&self, input: &[u8]) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), input.to_vec()));
    }

    fn end(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The last words of a process that cannot go on.
#[expect(clippy::print_stderr, reason = "a tool for development, and its end")]
fn panic_hook(message: &str) {
    eprintln!("{message}");
}
