//! What the steps of one build share.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_oci::config::History;
use kiln_oci::digest::Digest;
use kiln_plan::model::{Origin, Plan, Step};
use kiln_sandbox::Helpers;
use serde::{Deserialize, Serialize};

use crate::ahead::Ahead;
use crate::bases::Bases;
use crate::contexts::Contexts;
use crate::copy::From;
use crate::error::BuildErrorKind;
use crate::event::{TaskId, TaskOutcome};
use crate::files::rootfs::RootfsFiles;
use crate::history::HistoryError;
use crate::key::{self, KeyParts};
use crate::layers::pull::Puller;
use crate::layers::thin::Squashes;
use crate::layers::{Layer, Rootfs, forms};
use crate::record::{BuildRecord, Place};
use crate::remote::Sources;
use crate::report::Reporter;
use crate::request::{Mode, Request};
use crate::schedule::{Permits, Slots};
use crate::scratch::Scratches;
use crate::store::{Store, note_use, read_json, write_json, write_parts};
use crate::why::Why;

/// Says why a step of the build with this record is not taken from the cache.
pub(crate) type Explain<'a> =
    dyn Fn(&BuildRecord, Place, &KeyParts) -> Result<Option<Why>, HistoryError> + Sync + 'a;

/// One build of one platform.
pub(crate) struct Work<'a> {
    pub(crate) store: &'a Store,
    pub(crate) request: &'a Request,
    pub(crate) reporter: &'a Reporter<'a>,
    pub(crate) bases: &'a Bases<'a>,
    pub(crate) contexts: &'a Contexts<'a>,
    pub(crate) sources: &'a Sources<'a>,
    pub(crate) plan: &'a Plan,
    /// Which of the build's plans it is, from 0.
    pub(crate) number: usize,
    /// Steps that are not in the store where none is to be done.
    pub(crate) unforeseen: AtomicUsize,
    /// Says why steps are not taken from the cache.
    pub(crate) explainer: Option<&'a Explain<'a>>,
    pub(crate) slots: Slots<StageResult>,
    pub(crate) permits: Permits,
    /// Layers of the target that may be compressed already.
    pub(crate) ahead: Ahead,
    /// For commands, which wait for networks, disks and clocks more than they compute.
    pub(crate) runs: Permits,
    /// `SOURCE_DATE_EPOCH`, wherever it was set.
    pub(crate) epoch: Option<i64>,
    /// What starts them.
    pub(crate) helpers: Helpers,
    /// Where they write.
    pub(crate) scratches: Scratches,
    /// What their thin layers lie in together.
    pub(crate) squashes: Squashes,
    /// Whether something asked for a sandbox that is not there.
    pub(crate) can_run: bool,
    /// The steps that were done or found, for a cache that is written afterwards.
    pub(crate) used: Mutex<Vec<Used>>,
    /// Set when a step needs a user namespace that the process could still enter.
    pub(crate) wants_namespace: AtomicBool,
}

/// A stage that is done.
pub(crate) struct StageResult {
    pub(crate) rootfs: Rootfs,
    /// The base image's history and one line for each step since.
    pub(crate) history: Vec<History>,
    /// When its last layer was made, if any step has made one.
    pub(crate) created: Option<String>,
    /// Whether its last step was made by this build, and not just as before.
    pub(crate) made_anew: bool,
    /// Whether all of its steps are in the store; if not, its root filesystem is not to be looked at.
    pub(crate) foreseen: bool,
}

/// A step that is about to be done.
pub(crate) struct Turn<'a> {
    pub(crate) task: TaskId,
    pub(crate) step: &'a Step,
    /// Whether the cache may be used for it.
    pub(crate) cached: bool,
    /// Whether the root filesystem below is known.
    pub(crate) foreseen: bool,
    /// How many steps with a layer come after it in its stage.
    pub(crate) after: usize,
    /// Whether a RUN is among those.
    pub(crate) runs_later: bool,
}

/// A step that belongs to the build, by the names of its records.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) key: Digest,
    /// See [`chain_of`].
    pub(crate) chain: Digest,
    pub(crate) layer: Arc<Layer>,
}

/// What a step made; named by its key.
#[derive(Serialize, Deserialize)]
struct StepRecord {
    layer: Digest,
    content: Digest,
    /// See [`Layer::ran`].
    #[serde(default)]
    ran: bool,
    /// RFC 3339
    created: String,
    /// The log of the run that made it, if it was a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// The layer that an instruction first made of a root filesystem's content.
#[derive(Serialize, Deserialize)]
struct ChainRecord {
    layer: Digest,
    created: String,
}

/// A step that is done.
pub(crate) struct Made {
    pub(crate) layer: Arc<Layer>,
    pub(crate) created: String,
    pub(crate) outcome: TaskOutcome,
    /// The log of the run that made it.
    log: Option<String>,
}

impl Work<'_> {
    /// The time that is written into what is made now: `SOURCE_DATE_EPOCH` if there is one.
    pub(crate) fn now(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self.epoch {
            Some(epoch) => rfc3339(epoch, 0),
            None => rfc3339(now.as_secs().cast_signed(), now.subsec_nanos()),
        }
    }

    /// Gives the layer of a step on content `below`: from the store if its key is known, else from `make`. Builds that want the same key
    /// take turns, and the later ones find what the first made. `make` is told the name of the log that it may write.
    pub(crate) fn layer_of(
        &self,
        parts: KeyParts,
        below: &Digest,
        turn: &Turn<'_>,
        make: impl FnOnce(&str) -> Result<Layer, BuildErrorKind>,
    ) -> Result<Made, BuildErrorKind> {
        if !turn.foreseen && parts.has_rootfs() {
            let known = parts.without_rootfs()?;
            self.reporter.record(|recording| recording.would_run(turn.task.0, known));
            return Err(BuildErrorKind::Unforeseen { depends: true });
        }
        let key = parts.key();
        let instruction = parts.instruction();
        self.reporter.record(|recording| recording.keyed(turn.task.0, key));
        let made = self.find_or_make((&key, parts), below, turn, make)?;
        self.reporter.record(|recording| {
            recording.made(turn.task.0, made.layer.record(), made.log.clone());
        });
        let chain = chain_of(below, &made.layer.content, &instruction);
        let used = Used { key, chain, layer: made.layer.clone() };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(used);
        Ok(made)
    }

    fn find_or_make(
        &self,
        (key, parts): (&Digest, KeyParts),
        below: &Digest,
        turn: &Turn<'_>,
        make: impl FnOnce(&str) -> Result<Layer, BuildErrorKind>,
    ) -> Result<Made, BuildErrorKind> {
        let cached = turn.cached;
        if cached && let Some(made) = self.known(key, &parts)? {
            return Ok(made);
        }
        if self.request.mode == Mode::Foresee {
            self.explain(turn.task, &parts);
            self.reporter.record(|recording| recording.would_run(turn.task.0, parts));
            return Err(BuildErrorKind::Unforeseen { depends: false });
        }
        let _turn = self.store.lock_while(&format!("step-{}", key.hex()), || self.reporter.check())?;
        if cached && let Some(made) = self.known(key, &parts)? {
            return Ok(made);
        }
        self.reporter.check()?;
        self.explain(turn.task, &parts);
        let tmp = self.store.tmp();
        // Before the step: of one that fails it is asked all the more what it was made of.
        write_parts(self.store, key, &parts)?;
        let instruction = parts.instruction();
        // Of a large context they take much room, if only in a file.
        drop(parts);
        let log = new_log(key);
        let layer = make(&log)?;
        let mut made = self.cut_off(below, &instruction, layer)?;
        made.log = self.store.log_path(&log).exists().then_some(log);
        let record = StepRecord {
            layer: made.layer.id,
            content: made.layer.content,
            ran: made.layer.ran,
            created: made.created.clone(),
            log: made.log.clone(),
        };
        write_json(&tmp, &self.store.step_path(key), &record)?;
        Ok(made)
    }

    /// Says why the step of `task` is not taken from the cache, if that is wanted.
    fn explain(&self, task: TaskId, parts: &KeyParts) {
        let Some(explainer) = self.explainer else { return };
        self.reporter.record(|recording| {
            let Some(place) = recording.place(task.0) else { return };
            match explainer(&recording.record(), place, parts) {
                Ok(Some(why)) => self.reporter.explained(task, why),
                Ok(None) => {}
                Err(error) => self.reporter.notice(Some(task), format!("it cannot be told why: {error}")),
            }
        });
    }

    fn known(&self, key: &Digest, parts: &KeyParts) -> Result<Option<Made>, BuildErrorKind> {
        let Some(record) = self.step_record(key, parts)? else { return Ok(None) };
        note_use(&self.store.step_path(key));
        let layer = Arc::new(Layer::new(record.layer, record.content, None).times_of_run(record.ran));
        Ok(Some(Made {
            layer,
            created: self.clamp(record.created),
            outcome: TaskOutcome::Cached,
            log: record.log,
        }))
    }

    /// What is recorded of `key`, here or in a cache elsewhere, if its layer can be had.
    fn step_record(&self, key: &Digest, parts: &KeyParts) -> Result<Option<StepRecord>, BuildErrorKind> {
        let path = self.store.step_path(key);
        if let Some(record) = read_json::<StepRecord>(&path)?
            && forms::is_there(self.store, &record.layer)?
        {
            return Ok(Some(record));
        }
        let offered =
            self.store.imports().step(key).and_then(|v| serde_json::from_value::<StepRecord>(v).ok());
        let Some(record) = offered else { return Ok(None) };
        if !forms::is_there(self.store, &record.layer)? {
            return Ok(None);
        }
        let record = StepRecord { log: None, ..record };
        // No cache carries them: who asks for the step has them. The next miss is explained by them.
        write_parts(self.store, key, parts)?;
        write_json(&self.store.tmp(), &path, &record)?;
        Ok(Some(record))
    }

    /// What is recorded of a chain, as [`Work::step_record`].
    fn chain_record(&self, chain: &Digest) -> Result<Option<ChainRecord>, BuildErrorKind> {
        let stored = read_json::<ChainRecord>(&self.store.chain_path(chain))?;
        let offered = || self.store.imports().chain(chain).and_then(|v| serde_json::from_value(v).ok());
        match stored.or_else(offered) {
            Some(record) if forms::is_there(self.store, &record.layer)? => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    /// A cached step's time, unless the build says which time it is.
    fn clamp(&self, created: String) -> String {
        self.epoch.map_or(created, |epoch| rfc3339(epoch, 0))
    }

    /// If the same instruction led from the same root filesystem to the same content before, that layer is taken: the image keeps its
    /// digest. (What lies above stays cached anyway: its keys are of contents.) Another instruction may be there for the sake of the times
    /// that it gives files, which contents leave out, so its layer stays its own.
    fn cut_off(&self, below: &Digest, instruction: &Digest, layer: Layer) -> Result<Made, BuildErrorKind> {
        let chain = chain_of(below, &layer.content, instruction);
        if let Some(record) = self.chain_record(&chain)? {
            let old = Arc::new(Layer::new(record.layer, layer.content, None).times_of_run(layer.ran));
            let created = self.clamp(record.created);
            return Ok(Made { layer: old, created, outcome: TaskOutcome::Same, log: None });
        }
        let created = self.now();
        let record = ChainRecord { layer: layer.id, created: created.clone() };
        write_json(&self.store.tmp(), &self.store.chain_path(&chain), &record)?;
        Ok(Made { layer: Arc::new(layer), created, outcome: TaskOutcome::Done, log: None })
    }

    /// What gets the layers of bases.
    pub(crate) fn puller(&self) -> &Puller<'_> {
        self.bases.puller()
    }

    /// The root filesystem that `origin` stands for, and what messages call it; `None` for a directory.
    pub(crate) fn rootfs_of(&self, origin: &Origin) -> Result<Option<(Rootfs, String)>, BuildErrorKind> {
        Ok(match origin {
            Origin::Context | Origin::Named(_) => None,
            Origin::Stage(i) => {
                let result = self.slots.wait(*i)?;
                if !result.foreseen {
                    return Err(BuildErrorKind::Unforeseen { depends: true });
                }
                Some((result.rootfs.clone(), format!("stage {}", self.stage_name(*i))))
            }
            Origin::Image(key) => {
                let base = self.bases.find(key)?;
                let name = base.image().reference.familiar();
                let rootfs = Rootfs::on(base);
                // Whoever asks reads from it.
                rootfs.layers(self.puller())?;
                let records = || rootfs.records().unwrap_or_default();
                self.reporter.record(|recording| recording.image(self.number, key, records));
                Some((rootfs, format!("image {name}")))
            }
            Origin::Scratch => Some((Rootfs::empty(), "the empty image".to_owned())),
        })
    }

    /// The files that `origin` stands for.
    pub(crate) fn open(&self, origin: &Origin) -> Result<From, BuildErrorKind> {
        match self.directory(origin)? {
            Some(files) => Ok(files),
            None => {
                let (rootfs, whence) = self.rootfs_of(origin)?.unwrap_or((Rootfs::empty(), String::new()));
                Ok(From::Rootfs(Arc::new(RootfsFiles::new(rootfs.view(self.puller())?, whence))))
            }
        }
    }

    /// The same for who reads no file yet, and whether files could be read: those of a base may still be where they are.
    pub(crate) fn outline(&self, origin: &Origin) -> Result<(From, bool), BuildErrorKind> {
        if let Some(files) = self.directory(origin)? {
            return Ok((files, true));
        }
        let (rootfs, whence) = self.rootfs_of(origin)?.unwrap_or((Rootfs::empty(), String::new()));
        let (view, whole) = rootfs.sketch(self.puller())?;
        Ok((From::Rootfs(Arc::new(RootfsFiles::new(view, whence))), whole))
    }

    fn directory(&self, origin: &Origin) -> Result<Option<From>, BuildErrorKind> {
        Ok(match origin {
            Origin::Context => Some(From::Context(self.contexts.main()?)),
            Origin::Named(name) => Some(From::Context(self.contexts.named(name)?)),
            _ => None,
        })
    }

    /// What messages call stage `i` of the plan.
    pub(crate) fn stage_name(&self, i: usize) -> String {
        match self.plan.stages.get(i).map(|s| (&s.name, s.number)) {
            Some((Some(name), _)) => name.clone(),
            Some((None, number)) => format!("stage-{number}"),
            None => format!("stage-{i}"),
        }
    }
}

/// Names the record of what an instruction first made of a content.
fn chain_of(below: &Digest, content: &Digest, instruction: &Digest) -> Digest {
    key::chain(&key::chain(below, content), instruction)
}

/// The name of a new log; names sort by time.
fn new_log(key: &Digest) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:020}-{}.log", now.as_nanos(), &key.hex()[..16])
}

/// `secs` and `nanos` since 1970 as RFC 3339 in UTC.
pub(crate) fn rfc3339(secs: i64, nanos: u32) -> String {
    jiff::Timestamp::new(secs, nanos.cast_signed())
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}
