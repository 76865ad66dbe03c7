//! Pushing to servers that decline, break and lie.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_registry::{BlobProvider, Failure, Push, PushError, PushEvent, PushStep};

use crate::double::{Reply, Request, Server};
use crate::image::{Image, image};
use crate::{client, reference};

impl BlobProvider for Image {
    fn open_blob<'a>(&'a self, blob: &Descriptor) -> io::Result<Box<dyn Read + 'a>> {
        let bytes = self.blobs.get(&blob.digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(bytes.as_slice()))
    }
}

/// What happened to blobs during a push, in words.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(crate) fn take(&self, event: PushEvent<'_>) {
        let word = match event {
            PushEvent::Exists { .. } => "exists".to_owned(),
            PushEvent::Mounted { from, .. } => format!("mounted from {from}"),
            PushEvent::Sent { .. } => "sent".to_owned(),
            PushEvent::Manifest { name, .. } => format!("manifest {name}"),
            PushEvent::Sending { blob, sent } => {
                assert!(sent <= blob.size);
                return;
            }
            _ => return,
        };
        self.0.lock().unwrap().push(word);
    }

    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = self.0.lock().unwrap().clone();
        words.sort();
        words
    }
}

/// A registry that takes everything; `interfere` sees each request and the honest answer.
fn taking(interfere: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        let digest = request.query.split("digest=sha256%3A").nth(1).unwrap_or_default();
        let named = |digest: String| Reply::new(201, "").with("Docker-Content-Digest", digest);
        let honest = match (request.method.as_str(), request.path.as_str()) {
            ("GET", _) => Reply::new(200, "{}"),
            ("HEAD", _) => Reply::new(404, ""),
            ("POST", _) => Reply::new(202, "").with("Location", "/v2/a/b/up?state=x"),
            ("PUT", "/v2/a/b/up") => named(format!("sha256:{digest}")),
            _ => named(Digest::of(&request.body).to_string()),
        };
        interfere(request, honest)
    })
}

/// Pushes an image with one layer to `a/b` as `t` and `u`.
fn push(
    server: &Server,
    image: &Image,
    from: &[&str],
    blobs: &dyn BlobProvider,
) -> Result<Vec<String>, PushError> {
    let log = Log::default();
    let push = Push {
        target: &reference(&server.address, "a/b", "t"),
        tags: &["t".to_owned(), "u".to_owned()],
        blobs: &image.push_blobs(from),
        manifests: &[],
        root: &image.manifest,
    };
    let digest = client().push(&push, blobs, &|event| log.take(event))?;
    assert_eq!(digest, image.manifest.digest);
    Ok(log.words())
}

#[test]
fn blobs_go_whole_and_before_the_tags() {
    let image = image("amd64", &[1_000_000]);
    let server = taking(|_, honest| honest);
    assert_eq!(push(&server, &image, &[], &image).unwrap(), ["manifest t", "manifest u", "sent", "sent"]);
    let puts: Vec<Request> = server.requests().into_iter().filter(|r| r.method == "PUT").collect();
    let layer = &image.layers[0];
    let sent = puts.iter().find(|r| r.query.ends_with(&layer.digest.hex())).unwrap();
    assert_eq!(sent.query, format!("state=x&digest=sha256%3A{}", layer.digest.hex()));
    assert_eq!(sent.header("content-length"), Some("1000000"));
    assert_eq!(sent.header("transfer-encoding"), None);
    assert!(sent.body == image.blobs[&layer.digest]);
    let names: Vec<String> = puts.iter().map(Request::line).collect();
    assert_eq!(names[2..], ["PUT /v2/a/b/manifests/t", "PUT /v2/a/b/manifests/u"]);
    assert_eq!(puts[2].body, image.manifest.bytes);
    assert_eq!(puts[2].header("content-type"), Some(image.manifest.media_type.as_str()));
}

#[test]
fn what_exists_is_not_sent() {
    let image = image("amd64", &[10]);
    let server =
        taking(|request, honest| if request.method == "HEAD" { Reply::new(200, "") } else { honest });
    assert_eq!(push(&server, &image, &[], &image).unwrap(), ["exists", "exists", "manifest t", "manifest u"]);
    assert_eq!(server.count("POST"), 0);
}

#[test]
fn a_mount_spares_the_upload_and_a_declined_one_becomes_it() {
    let image = image("amd64", &[10]);
    let layer = image.layers[0].digest.hex();
    let server = taking(move |request, honest| {
        // The layer is mounted from the second place; the configuration is nowhere.
        let mounted = request.query == format!("mount=sha256%3A{layer}&from=base%2Ftwo");
        if mounted { Reply::new(201, "") } else { honest }
    });
    let words = push(&server, &image, &["base/one", "a/b", "base/two"], &image).unwrap();
    assert_eq!(words, ["manifest t", "manifest u", "mounted from base/two", "sent"]);
    assert_eq!(server.count("POST"), 4, "the session of a declined mount is used");

    let refusing = taking(
        |request, honest| {
            if request.query.starts_with("mount=") { Reply::new(403, "") } else { honest }
        },
    );
    assert_eq!(
        push(&refusing, &image, &["x"], &image).unwrap(),
        ["manifest t", "manifest u", "sent", "sent"]
    );
}

#[test]
fn an_upload_that_breaks_starts_over() {
    let image = image("amd64", &[300_000]);
    let seen = AtomicUsize::new(0);
    let server = taking(move |request, honest| {
        let spoil = request.path == "/v2/a/b/up" && seen.fetch_add(1, Ordering::SeqCst) < 2;
        let lost = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown"}]}"#;
        if spoil {
            if request.body.len() > 1000 { Reply::new(404, lost) } else { Reply::new(503, "") }
        } else {
            honest
        }
    });
    assert_eq!(push(&server, &image, &[], &image).unwrap(), ["manifest t", "manifest u", "sent", "sent"]);
    assert_eq!(server.count("POST"), 4);
}

#[test]
fn a_server_that_took_something_else_is_caught() {
    let image = image("amd64", &[10]);
    let other = Digest::of(b"other").to_string();
    let lie = |path: &'static str| {
        let other = other.clone();
        taking(move |request, honest| {
            let lies = request.method == "PUT" && request.path.contains(path);
            if lies { Reply::new(201, "").with("Docker-Content-Digest", other.as_str()) } else { honest }
        })
    };
    let error = push(&lie("/up"), &image, &[], &image).unwrap_err();
    assert!(matches!(*error.failure, Failure::Mismatch { .. }), "{error}");
    assert!(matches!(error.step, PushStep::Blob(_)));
    let error = push(&lie("/manifests/"), &image, &[], &image).unwrap_err();
    assert!(matches!(*error.failure, Failure::Mismatch { .. }), "{error}");
    assert_eq!(error.step, PushStep::Manifest("t".to_owned()));
}

#[test]
fn refusals_carry_the_registrys_errors() {
    let image = image("amd64", &[10]);
    let server = taking(|request, honest| {
        let body = r#"{"errors":[{"code":"TAG_INVALID","message":"immutable","detail":{"tag":"t"}}]}"#;
        if request.path.ends_with("/manifests/t") { Reply::new(400, body) } else { honest }
    });
    let error = push(&server, &image, &[], &image).unwrap_err();
    let Failure::Status { url, status: 400, errors, .. } = &*error.failure else { panic!("{error}") };
    assert_eq!(*url, format!("http://{}/v2/a/b/manifests/t", server.address));
    assert_eq!((errors[0].code.as_str(), errors[0].detail.as_str()), ("TAG_INVALID", r#"{"tag":"t"}"#));
    let words = format!(
        "cannot push {}/a/b:t (manifest t): {url} answered 400: TAG_INVALID: immutable",
        server.address
    );
    assert_eq!(error.to_string(), words);
}

#[test]
fn a_blob_that_cannot_be_read_is_our_fault() {
    let image = image("amd64", &[300_000]);
    let broken = |blob: &Descriptor| -> io::Result<Box<dyn Read>> {
        Ok(Box::new(io::repeat(7).take(blob.size.saturating_sub(1))))
    };
    let missing = |_: &Descriptor| -> io::Result<Box<dyn Read>> { Err(io::ErrorKind::NotFound.into()) };
    for provider in [&broken as &dyn BlobProvider, &missing] {
        let server = taking(|_, honest| honest);
        let error = push(&server, &image, &[], provider).unwrap_err();
        assert!(matches!(*error.failure, Failure::Local { .. }), "{error}");
        assert_eq!(server.count("PUT /v2/a/b/manifests"), 0);
    }
}

#[test]
fn an_upload_session_without_location_is_named() {
    let image = image("amd64", &[10]);
    let server =
        taking(|request, honest| if request.method == "POST" { Reply::new(202, "") } else { honest });
    let error = push(&server, &image, &[], &image).unwrap_err().to_string();
    assert!(error.contains("it has no usable Location"), "{error}");
}
