//! Pulling: what comes is verified, and what is not an image is named.

use kiln_oci::digest::Digest;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::source::{ImageSource as _, SourceErrorKind};

use crate::double::{Reply, Request, Server};
use crate::image::{CONFIG, DOCKER_MANIFEST, Image, build, image, index, noise};
use crate::{client, reference};

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// Resolves `a/b:t` of a double and says how it failed.
fn failure(server: &Server) -> SourceErrorKind {
    client().resolve(&reference(&server.address, "a/b", "t"), &amd64()).unwrap_err().kind
}

/// A double that serves `image` but answers `line` with `reply`.
fn lying(image: &Image, line: String, reply: Reply) -> Server {
    image.serve(move |request, honest| if request.line() == line { reply.clone() } else { honest })
}

fn get_manifest() -> String {
    "GET /v2/a/b/manifests/t".to_owned()
}

#[test]
fn an_index_leads_to_a_platform_and_its_layers() {
    let (amd, arm) = (image("amd64", &[70_000, 0, 5]), image("arm64", &[9]));
    let root = index(&[("linux/arm64", &arm), ("linux/amd64", &amd)]);
    let (served, shown) = (amd.clone(), root.clone());
    let server = Server::start(move |request| served.answer(&shown, request));
    let client = client();
    let by_tag = reference(&server.address, "a/b", "t");
    let found = client.resolve(&by_tag, &amd64()).unwrap();
    assert_eq!(found.root_digest, root.digest);
    assert_eq!(found.manifest_digest, amd.manifest.digest);
    assert_eq!(found.manifest_bytes, amd.manifest.bytes);
    assert_eq!(Digest::of(&found.config_bytes), found.config_descriptor.digest);
    assert_eq!(found.config.config.env, ["A=b"]);
    assert_eq!(found.layers, amd.layers);
    for layer in &found.layers {
        let mut bytes = Vec::new();
        client.open_blob(&found, layer).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, amd.blobs[&layer.digest]);
    }
    assert_eq!(client.digest(&by_tag).unwrap(), root.digest);
    assert_eq!(client.manifest(&by_tag).unwrap(), root);
    let by_digest = Reference { digest: Some(amd.manifest.digest), ..by_tag };
    let found = client.resolve(&by_digest, &amd64()).unwrap();
    assert_eq!((found.root_digest, found.manifest_digest), (amd.manifest.digest, amd.manifest.digest));
}

#[test]
fn a_manifest_without_index_serves_any_platform() {
    let arm = image("arm64", &[9]);
    let server = arm.serve(|_, honest| honest);
    let found = client().resolve(&reference(&server.address, "a/b", "t"), &amd64()).unwrap();
    assert_eq!(found.config.architecture, "arm64");
}

#[test]
fn an_index_without_the_platform_lists_what_it_has() {
    let arm = image("arm64", &[9]);
    let root = index(&[("linux/arm64", &arm), ("linux/arm/v7", &arm)]);
    let server = Server::start(move |request| arm.answer(&root, request));
    match failure(&server) {
        SourceErrorKind::NoPlatform { wanted, available } => {
            assert_eq!(wanted, amd64());
            assert_eq!(available, ["linux/arm64", "linux/arm/v7"]);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = image("amd64", &[9]).serve(|_, honest| honest);
    let error = client().resolve(&reference(&server.address, "a/b", "other"), &amd64()).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::NotFound), "{error}");
    assert_eq!(error.to_string(), format!("{}/a/b:other: not found", server.address));
    assert_eq!(server.count("GET /v2/a/b/manifests/other"), 1, "a 404 is not retried");
}

#[test]
fn digests_and_sizes_are_verified() {
    let honest = image("amd64", &[9]);
    let config = format!("GET /v2/a/b/blobs/{}", honest.config.digest);
    let bytes = &honest.blobs[&honest.config.digest];
    let mut changed = bytes.clone();
    changed[0] ^= 1;
    let other = Digest::of(b"other").to_string();
    let manifest = Reply::new(200, honest.manifest.bytes.clone());
    for (what, line, reply) in [
        ("manifest t", get_manifest(), manifest.with("Docker-Content-Digest", other)),
        ("configuration", config.clone(), Reply::new(200, changed)),
        ("configuration", config.clone(), Reply::new(200, &bytes[1..])),
        ("configuration", config, Reply::new(200, [bytes.as_slice(), b" "].concat())),
    ] {
        match failure(&lying(&honest, line, reply)) {
            SourceErrorKind::Mismatch { what: got, .. } => assert!(got.starts_with(what), "{got}"),
            other => panic!("{what}: {other}"),
        }
    }
    let other = image("amd64", &[10]);
    let line = format!("GET /v2/a/b/manifests/{}", honest.manifest.digest);
    let server = lying(&honest, line, Reply::new(200, other.manifest.bytes));
    let mut by_digest = reference(&server.address, "a/b", "t");
    by_digest.digest = Some(honest.manifest.digest);
    let error = client().resolve(&by_digest, &amd64()).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Mismatch { .. }), "{error}");
}

#[test]
fn documents_that_are_no_image_are_named() {
    let honest = image("amd64", &[9]);
    let typed = |bytes: &[u8]| Reply::new(200, bytes).with("Content-Type", DOCKER_MANIFEST);
    let huge = noise(1, 5 << 20);
    let unsized_huge = Reply { unsized_body: true, ..typed(&huge) };
    for (reply, words) in [
        (typed(b"{\"schemaVersion\":2,"), "manifest t is not valid: EOF"),
        (typed(b"<html>hello</html>"), "manifest t is not valid: expected value"),
        (typed(&[0xff; 40]), "manifest t is not valid"),
        (typed(b"{\"schemaVersion\":1,\"fsLayers\":[]}"), "schema 1"),
        (typed(&huge), "larger than 4 MiB"),
        (unsized_huge, "larger than 4 MiB"),
    ] {
        let error = failure(&lying(&honest, get_manifest(), reply)).to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_configuration_must_fit_its_manifest() {
    for (config, words) in [
        (&b"nonsense"[..], "configuration sha256:"),
        (br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#, "it lists 0 layers, the manifest 1"),
    ] {
        let server = build(config.to_vec(), vec![vec![1]], CONFIG).serve(|_, honest| honest);
        let error = failure(&server).to_string();
        assert!(error.contains(words), "{error}");
    }
    let chart = build(b"{}".to_vec(), vec![vec![1]], "application/vnd.cncf.helm.config.v1+json");
    let error = failure(&chart.serve(|_, honest| honest)).to_string();
    assert!(error.contains("not a container image"), "{error}");
}

#[test]
fn a_missing_part_is_not_a_missing_image() {
    let honest = image("amd64", &[9]);
    let config = format!("GET /v2/a/b/blobs/{}", honest.config.digest);
    let error = failure(&lying(&honest, config, Reply::new(404, ""))).to_string();
    assert!(error.contains("does not have its part"), "{error}");
}

#[test]
fn indexes_within_indexes_end() {
    let server = Server::start(|request: &Request| {
        // Each index names the one before it in a chain of ten, by its true digest.
        let mut link = index(&[("linux/amd64", &image("amd64", &[1]))]);
        let mut chain = vec![link.clone()];
        for _ in 0..10 {
            let inner = Image { manifest: link, ..image("amd64", &[1]) };
            link = index(&[("linux/amd64", &inner)]);
            chain.push(link.clone());
        }
        let name = request.path.rsplit('/').next().unwrap();
        let found = chain.iter().find(|m| m.digest.to_string() == name).unwrap_or(&link);
        Reply::new(200, found.bytes.clone())
    });
    let error = failure(&server).to_string();
    assert!(error.contains("indexes within each other"), "{error}");
}

#[test]
fn a_raw_manifest_may_be_anything() {
    let cache = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0"}}"#;
    let server =
        lying(&image("amd64", &[1]), get_manifest(), Reply::new(200, *cache).with("Content-Type", "x/y; z"));
    let raw = client().manifest(&reference(&server.address, "a/b", "t")).unwrap();
    assert_eq!((raw.media_type.as_str(), raw.bytes.as_slice()), ("x/y", &cache[..]));
    assert_eq!(raw.digest, Digest::of(cache));
}
