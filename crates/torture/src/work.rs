//! What is built, and what it has to come to.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::kiln::{Kiln, TOKEN, context};

/// How many contexts there are.
pub(crate) const VARIANTS: u64 = 4;

/// What is copied from stage `two` differs between variants in one file of sixty: its tree is changes to that of another variant. Each
/// command ends at its first failure: one that goes on when a write failed has a right image of its own on a full disk.
const DOCKERFILE: &str = "\
FROM scratch AS base
COPY busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
FROM base AS one
COPY data /data
RUN --mount=type=cache,target=/c set -e; : TOKEN; cat /data/* > /sum; sleep 0.02; echo x >> /c/x
FROM base AS two
RUN set -e; : TOKEN; mkdir /many; for i in $(seq 60); do echo $i > /many/$i; done
COPY data/a /many/seed
FROM one
COPY --from=two /many /many
WORKDIR /w
RUN set -e; : TOKEN; echo end > /w/end; ln /w/end /w/hard; rm /many/7; chmod 700 /many
COPY data/a /z
";

/// The binary, the contexts and their images.
pub(crate) struct Work {
    /// What was asked for.
    pub(crate) arguments: Arguments,
    /// A copy of the binary: its path tells its processes from others'.
    pub(crate) binary: PathBuf,
    /// Digests of undisturbed images, by variant.
    pub(crate) images: Vec<String>,
    /// How long an undisturbed build takes.
    pub(crate) duration: Duration,
    /// Bytes of a store with one build in it.
    pub(crate) bytes: u64,
    dir: TempDir,
}

impl Work {
    /// Makes the contexts and builds each once.
    pub(crate) fn prepare(arguments: &Arguments) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("kiln-torture-").tempdir_in(&arguments.work)?;
        let binary = dir.path().join("kiln");
        fs_err::copy(&arguments.kiln, &binary)?;
        if !arguments.busybox.is_file() {
            let problem = "no static busybox is there; install busybox-static or name one with --busybox";
            return Err(Failure::Place { path: arguments.busybox.clone(), problem });
        }
        (0..VARIANTS)
            .try_for_each(|variant| write_context(&context(dir.path(), variant), arguments, variant))?;
        let (mut images, mut duration, mut bytes) = (Vec::new(), Duration::MAX, 0);
        for variant in 0..VARIANTS {
            let store = dir.path().join("undisturbed");
            let kiln = Kiln { binary: &binary, contexts: dir.path(), images: &[], store };
            let began = Instant::now();
            images.push(kiln.build(variant)?);
            duration = duration.min(began.elapsed());
            bytes = kiln.bytes()?.max(bytes);
            kiln.run(&["prune", "--all"])?;
            fs_err::remove_dir_all(&kiln.store)?;
        }
        println!("an undisturbed build takes {duration:?} and {bytes} bytes of disk");
        Ok(Self { arguments: arguments.clone(), binary, images, duration, bytes, dir })
    }

    /// A folder for a trial.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// kiln on the store in `store`.
    pub(crate) fn kiln(&self, store: &Path) -> Kiln<'_> {
        Kiln {
            binary: &self.binary,
            contexts: self.dir.path(),
            images: &self.images,
            store: store.to_owned(),
        }
    }
}

fn write_context(context: &Path, arguments: &Arguments, variant: u64) -> Result<(), Failure> {
    fs_err::create_dir_all(context.join("data"))?;
    fs_err::copy(&arguments.busybox, context.join("busybox"))?;
    fs_err::write(context.join("Dockerfile"), DOCKERFILE.replace("TOKEN", TOKEN))?;
    fs_err::write(context.join("data/a"), format!("variant {variant}\n"))?;
    for file in 0..20_u64 {
        let byte = b'a' + ((file + variant) % 26) as u8;
        fs_err::write(context.join(format!("data/f{file}")), vec![byte; 3000 * (file as usize + 1)])?;
    }
    let files = std::iter::once("data/a".to_owned()).chain((0..20).map(|n| format!("data/f{n}")));
    let moment = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    for path in files.map(|name| context.join(name)).chain([context.join("busybox"), context.join("data")]) {
        fs_err::File::open(&path)?.file().set_modified(moment)?;
    }
    Ok(())
}
