//! Sending an image: blobs first and in parallel, then manifests, then the name that makes it visible.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::reference::Reference;
use ureq::http::Method;

use crate::answer::Answer;
use crate::error::{Failure, PushError, PushStep};
use crate::pull::RawManifest;
use crate::retry;
use crate::session::{Ask, Payload, Registry, Session};
use crate::token::Access;
use crate::url::{resolve, with_query};

/// What to push.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Registry and repository; tag and digest only serve to name it in errors.
    pub target: &'a Reference,
    /// The names that `root` gets, in order; if there are none it is sent by digest alone.
    pub tags: &'a [String],
    /// The blobs that the manifests mention. One that is listed twice is sent once.
    pub blobs: &'a [PushBlob],
    /// Manifests that `root` mentions, each after those that it mentions itself.
    pub manifests: &'a [RawManifest],
    /// The image's manifest, or the index.
    pub root: &'a RawManifest,
}

/// A blob to push.
#[derive(Clone, Debug)]
pub struct PushBlob {
    /// Digest and size are what counts.
    pub descriptor: Descriptor,
    /// Repositories of the same registry that may have it (a base image's), the likeliest first: the registry is asked
    /// to mount it from there before it is sent.
    pub mount_from: Vec<String>,
}

/// Gives the bytes of blobs, compressed as their descriptors say.
pub trait BlobProvider: Sync {
    /// Opens a blob at its start. It may be called from several threads, and again for the same blob after a failure.
    fn open_blob<'a>(&'a self, blob: &Descriptor) -> io::Result<Box<dyn Read + 'a>>;
}

impl<F> BlobProvider for F
where
    F: Fn(&Descriptor) -> io::Result<Box<dyn Read>> + Sync,
{
    fn open_blob<'a>(&'a self, blob: &Descriptor) -> io::Result<Box<dyn Read + 'a>> {
        self(blob)
    }
}

/// What happens during a push. Events come from several threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushEvent<'a> {
    /// The registry has the blob already.
    Exists {
        /// Which.
        blob: &'a Descriptor,
    },
    /// The registry took the blob over from another repository.
    Mounted {
        /// Which.
        blob: &'a Descriptor,
        /// From where.
        from: &'a str,
    },
    /// Bytes were handed to the network.
    Sending {
        /// Which; its `size` is the total.
        blob: &'a Descriptor,
        /// Bytes so far; falls back when a broken upload starts over.
        sent: u64,
    },
    /// The registry has taken the blob.
    Sent {
        /// Which.
        blob: &'a Descriptor,
    },
    /// The registry has taken a manifest or index.
    Manifest {
        /// The tag, or the digest if it was sent by that.
        name: &'a str,
        /// Its digest.
        digest: Digest,
    },
}

/// Receives events.
pub type PushSink<'a> = dyn Fn(PushEvent<'_>) + Sync + 'a;

/// One push under way.
struct Pusher<'a> {
    session: &'a Session,
    registry: Arc<Registry>,
    push: &'a Push<'a>,
    access: Access,
    blobs: &'a dyn BlobProvider,
    events: &'a PushSink<'a>,
    /// Set when one blob failed: the others need not go on.
    stop: AtomicBool,
}

/// Pushes; the digest of the root is returned.
pub(crate) fn run(
    session: &Session,
    push: &Push<'_>,
    blobs: &dyn BlobProvider,
    events: &PushSink<'_>,
) -> Result<Digest, PushError> {
    let error =
        |step, failure| PushError { reference: push.target.familiar(), step, failure: Box::new(failure) };
    let registry = session.registry(&push.target.registry).map_err(|f| error(PushStep::Connect, f))?;
    let access = Access::push(&push.target.repository);
    let pusher = Pusher { session, registry, push, access, blobs, events, stop: AtomicBool::new(false) };
    if let Some((digest, failure)) = pusher.all_blobs() {
        return Err(error(PushStep::Blob(digest), failure));
    }
    for manifest in push.manifests {
        let name = manifest.digest.to_string();
        pusher.manifest(&name, manifest).map_err(|f| error(PushStep::Manifest(name), f))?;
    }
    let by_digest = [push.root.digest.to_string()];
    for name in if push.tags.is_empty() { &by_digest[..] } else { push.tags } {
        pusher.manifest(name, push.root).map_err(|f| error(PushStep::Manifest(name.clone()), f))?;
    }
    Ok(push.root.digest)
}

impl Pusher<'_> {
    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.registry.base, self.push.target.repository)
    }

    /// Sends what the registry lacks, several at a time. The first failure ends all and is returned.
    fn all_blobs(&self) -> Option<(Digest, Failure)> {
        let mut seen = HashSet::new();
        let queue: Vec<&PushBlob> =
            self.push.blobs.iter().filter(|blob| seen.insert(blob.descriptor.digest)).collect();
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<(Digest, Failure)>> = Mutex::default();
        let work = || {
            while let Some(blob) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(failure) = self.blob(blob) {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert((blob.descriptor.digest, failure));
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        };
        let width = self.session.options().parallel_uploads.max(1).min(queue.len());
        std::thread::scope(|scope| {
            for _ in 1..width {
                scope.spawn(work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the registry has a blob.
    fn blob(&self, blob: &PushBlob) -> Result<(), Failure> {
        let options = self.session.options();
        let mut sources = blob.mount_from.iter().filter(|from| **from != self.push.target.repository);
        let descriptor = &blob.descriptor;
        // One try is the whole of it: an upload that broke may yet have arrived, and its session cannot be trusted.
        retry::run(&options.retry, &options.cancel, || {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
            if self.exists(descriptor)? {
                (self.events)(PushEvent::Exists { blob: descriptor });
                return Ok(());
            }
            let mut location = None;
            for from in sources.by_ref() {
                match self.mount(descriptor, from)? {
                    Mount::Done => {
                        (self.events)(PushEvent::Mounted { blob: descriptor, from });
                        return Ok(());
                    }
                    Mount::Declined(upload) => location = Some(upload),
                    Mount::Refused => {}
                }
            }
            let location = match location {
                Some(location) => location,
                None => self.begin()?,
            };
            self.upload(descriptor, &location)?;
            (self.events)(PushEvent::Sent { blob: descriptor });
            Ok(())
        })
    }

    fn exists(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let ask = self.ask(Method::HEAD, self.url(&format!("blobs/{}", blob.digest)), &[200, 404]);
        Ok(self.session.send_once(&self.registry, &ask)?.status() == 200)
    }

    /// Asks the registry to take a blob over from another repository (distribution specification, "Mounting a blob").
    fn mount(&self, blob: &Descriptor, from: &str) -> Result<Mount, Failure> {
        let url = with_query(&self.url("blobs/uploads/"), "mount", &blob.digest.to_string());
        let access = self.access.and_pull(from);
        let ask =
            Ask { access: &access, ..self.ask(Method::POST, with_query(&url, "from", from), &[201, 202]) };
        match self.session.send_once(&self.registry, &ask) {
            Ok(answer) if answer.status() == 201 => {
                answer.agree(&format!("blob {}", blob.digest), &blob.digest)?;
                answer.drain();
                Ok(Mount::Done)
            }
            Ok(answer) => location(answer).map(Mount::Declined),
            // No right to read there, or a registry that answers oddly: sending the blob is always right.
            Err(Failure::Denied { .. } | Failure::Status { status: 400..=499, .. }) => Ok(Mount::Refused),
            Err(other) => Err(other),
        }
    }

    /// Opens an upload session; the result is where to send to.
    fn begin(&self) -> Result<String, Failure> {
        location(
            self.session
                .send_once(&self.registry, &self.ask(Method::POST, self.url("blobs/uploads/"), &[202]))?,
        )
    }

    fn upload(&self, blob: &Descriptor, location: &str) -> Result<(), Failure> {
        // What goes wrong while reading the blob is not the network's fault; the HTTP library would blur the two.
        let trouble: Mutex<Option<Failure>> = Mutex::default();
        let open = || -> io::Result<Box<dyn Read + '_>> {
            let inner = self.blobs.open_blob(blob)?.take(blob.size);
            Ok(Box::new(Metered { inner, sent: 0, blob, pusher: self, trouble: &trouble }))
        };
        let ask = Ask {
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            body: Payload::Stream(&open, blob.size),
            ..self.ask(
                Method::PUT,
                with_query(location, "digest", &blob.digest.to_string()),
                &[200, 201, 204],
            )
        };
        let result = self.session.send_once(&self.registry, &ask);
        if let Some(failure) = trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        let answer = result?;
        answer.agree(&format!("blob {}", blob.digest), &blob.digest)?;
        answer.drain();
        Ok(())
    }

    fn manifest(&self, name: &str, manifest: &RawManifest) -> Result<(), Failure> {
        let ask = Ask {
            headers: vec![("content-type", manifest.media_type.clone())],
            body: Payload::Bytes(&manifest.bytes),
            ..self.ask(Method::PUT, self.url(&format!("manifests/{name}")), &[200, 201, 202])
        };
        let answer = self.session.send(&self.registry, &ask)?;
        answer.agree(&format!("manifest {name}"), &manifest.digest)?;
        answer.drain();
        (self.events)(PushEvent::Manifest { name, digest: manifest.digest });
        Ok(())
    }

    fn ask(&self, method: Method, url: String, fine: &'static [u16]) -> Ask<'_> {
        let empty = method == Method::POST;
        let body = if empty { Payload::Bytes(&[]) } else { Payload::None };
        Ask { method, url, headers: Vec::new(), access: &self.access, body, fine }
    }
}

/// What became of a request to mount.
enum Mount {
    /// The blob is there now.
    Done,
    /// An upload session was opened instead.
    Declined(String),
    /// Neither.
    Refused,
}

/// Where an upload session lives.
fn location(answer: Answer) -> Result<String, Failure> {
    let target = answer.header("location").and_then(|location| resolve(&answer.url, location));
    let found = target.ok_or_else(|| Failure::Malformed {
        what: format!("upload session from {}", crate::url::shown(&answer.url)),
        detail: "it has no usable Location".to_owned(),
    });
    answer.drain();
    found
}

/// A blob on its way out: tells progress, notices cancellation, and keeps what went wrong on our side.
struct Metered<'a, R> {
    inner: R,
    sent: u64,
    blob: &'a Descriptor,
    pusher: &'a Pusher<'a>,
    trouble: &'a Mutex<Option<Failure>>,
}

impl<R: Read> Metered<'_, R> {
    fn step(&mut self, buf: &mut [u8]) -> Result<usize, Failure> {
        let local = |cause| Failure::Local { what: format!("blob {}", self.blob.digest), cause };
        if self.pusher.stop.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        retry::check(&self.pusher.session.options().cancel)?;
        let n = loop {
            match self.inner.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(local)?,
            }
        };
        if n == 0 && self.sent < self.blob.size && !buf.is_empty() {
            let text = format!("it ends after {} of {} bytes", self.sent, self.blob.size);
            return Err(local(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        self.sent += n as u64;
        if n > 0 {
            (self.pusher.events)(PushEvent::Sending { blob: self.blob, sent: self.sent });
        }
        Ok(n)
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.step(buf).map_err(|failure| {
            let words = failure.to_string();
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            io::Error::other(words)
        })
    }
}
