//! The contexts of a build, opened when something is read from them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_dockerfile::ignore::Ignore;
use kiln_oci::digest::Digest;
use kiln_plan::CopiedPath;
use kiln_plan::model::Origin;

use crate::copy::foreseen::Foreseen;
use crate::copy::gather::Looking;
use crate::error::BuildErrorKind;
use crate::files::context::ContextFiles;
use crate::files::statcache::StatCache;
use crate::remote::Sources;
use crate::request::{Context, NamedContext, Request};
use crate::store::Store;

/// All contexts of one build; the main one has the name "".
pub(crate) struct Contexts<'a> {
    store: &'a Store,
    request: &'a Request,
    sources: &'a Sources<'a>,
    open: Mutex<HashMap<String, Arc<ContextFiles>>>,
    /// What was seen of the main context before a step asked.
    pub(crate) foreseen: Foreseen,
}

impl<'a> Contexts<'a> {
    pub(crate) fn new(store: &'a Store, request: &'a Request, sources: &'a Sources<'a>) -> Self {
        Self { store, request, sources, open: Mutex::default(), foreseen: Foreseen::default() }
    }

    /// The main context.
    pub(crate) fn main(&self) -> Result<Arc<ContextFiles>, BuildErrorKind> {
        match &self.request.context {
            Context::Directory(root) => {
                self.get("", root, "the build context".to_owned(), &main_ignore_files(self.request))
            }
            Context::Fetched(fetched) => {
                self.get("", &fetched.root, format!("the build context {}", fetched.name), &[])
            }
            Context::Empty => Err(no_context()),
        }
    }

    /// Does `work`, which is handed what looks at `paths` of the main context ahead of the steps that copy them, on a thread
    /// of its own.
    pub(crate) fn looking_ahead<T>(&self, work: impl FnOnce(&dyn Fn(BTreeSet<CopiedPath>)) -> T) -> T {
        self.foreseen.begin();
        std::thread::scope(|scope| {
            // Also if the work panics, or the scope would wait for a look that nobody wants.
            let _end = Ending(&self.foreseen);
            work(&|paths| {
                self.foreseen.announce(paths);
                // A context that cannot be opened is for the step to complain of.
                scope.spawn(|| {
                    let looking = Looking { tmp: &self.store.tmp(), stop: self.sources.stop() };
                    self.main().map(|files| self.foreseen.look(files.as_ref(), looking)).ok()
                });
            })
        })
    }

    /// A directory of `--build-context`, or what was fetched for one.
    pub(crate) fn named(&self, name: &str) -> Result<Arc<ContextFiles>, BuildErrorKind> {
        match self.request.contexts.get(name) {
            Some(NamedContext::Directory(root)) => {
                self.get(name, root, format!("the build context {name:?}"), &[PathBuf::from(".dockerignore")])
            }
            Some(NamedContext::Remote(remote)) => {
                let tree = self.sources.context(remote)?;
                self.get(name, &tree.root, format!("the build context {name:?} ({})", remote.shown()), &[])
            }
            _ => Err(BuildErrorKind::Copy {
                message: format!("{name:?} is not a directory given with --build-context"),
                help: None,
            }),
        }
    }

    /// The files of `origin` if it is a context that nothing has to be fetched for any more.
    pub(crate) fn at_hand(&self, origin: &Origin) -> Option<Arc<ContextFiles>> {
        match origin {
            Origin::Context => self.main().ok(),
            Origin::Named(name) => match self.request.contexts.get(name) {
                Some(NamedContext::Directory(_)) => self.named(name).ok(),
                _ => self.open.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned(),
            },
            Origin::Stage(_) | Origin::Image(_) | Origin::Scratch => None,
        }
    }

    fn get(
        &self,
        name: &str,
        root: &Path,
        whence: String,
        ignore: &[PathBuf],
    ) -> Result<Arc<ContextFiles>, BuildErrorKind> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = open.get(name) {
            return Ok(context.clone());
        }
        let root = fs_err::canonicalize(root)?;
        let id = Digest::of(root.as_os_str().as_encoded_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        let cache = StatCache::load(self.store.context_path(&id), &root, now, self.store.tmp());
        let context = Arc::new(ContextFiles::open(&root, whence, ignore_file(&root, ignore)?, cache)?);
        open.insert(name.to_owned(), context.clone());
        Ok(context)
    }

    /// Keeps the stat caches for the next build.
    pub(crate) fn save(&self) -> Result<(), BuildErrorKind> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().try_for_each(|context| context.save())
    }
}

struct Ending<'a>(&'a Foreseen);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What is said when files of a context are wanted and there is none.
pub(crate) fn no_context() -> BuildErrorKind {
    BuildErrorKind::Copy {
        message: "this build has no context to copy from".to_owned(),
        help: Some(
            "give a directory: `kiln build -f - DIR` reads the Dockerfile from standard input".to_owned(),
        ),
    }
}

/// Where the main context's ignore file may be, relative to it; the first that exists counts.
pub(crate) fn main_ignore_files(request: &Request) -> Vec<PathBuf> {
    let beside = request.dockerfile_path.as_ref().map(|path| {
        let mut name = path.clone().into_os_string();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    beside.into_iter().chain([PathBuf::from(".dockerignore")]).collect()
}

/// The first of `candidates` (relative to `root`) that exists, with its name; `None` if none does or it has no pattern.
pub(crate) fn ignore_file(
    root: &Path,
    candidates: &[PathBuf],
) -> Result<Option<(String, Ignore)>, BuildErrorKind> {
    for name in candidates {
        let text = match fs_err::read(root.join(name)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e.into()),
        };
        let name = name.display().to_string();
        let parsed = Ignore::parse(&text).map_err(|e| BuildErrorKind::Copy {
            message: format!("{name}:{}: {}", e.line, e.source),
            help: Some(
                "the patterns are those of Go's filepath.Match, with ** for any number of directories"
                    .to_owned(),
            ),
        })?;
        return Ok((!parsed.is_empty()).then_some((name, parsed)));
    }
    Ok(None)
}
