//! Images from layouts.

use std::io::Read;

use kiln_oci::compose::{ComposeOptions, compose};
use kiln_oci::export::{Export, Placement};
use kiln_oci::layout::EntryName;
use kiln_oci::layout_source::{LayoutSource, LayoutSpec};
use kiln_oci::manifest::Index;
use kiln_oci::media_type::{Flavour, OCI_INDEX};
use kiln_oci::platform::Platform;
use kiln_oci::source::{ImageSource, SourceErrorKind};

use crate::fixture::{Scratch, reference};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

#[test]
fn the_store_serves_what_was_tagged() {
    let scratch = Scratch::new();
    let image = scratch.composed(&["linux/amd64", "linux/arm64"], Flavour::Oci);
    let name = reference("app:1");
    scratch.store.layout().tag(&EntryName::stored(&name), &image.root).unwrap();
    let source = LayoutSource::by_reference(scratch.store.layout().clone());
    let got = source.resolve(&name, &platform("linux/arm64/v8")).unwrap();
    assert_eq!(got.root_digest, image.root.digest);
    assert_eq!(got.manifest_digest, image.manifests[1].digest);
    assert_eq!(got.config.architecture, "arm64");
    assert_eq!(got.layers.len(), 3);
    let mut bytes = Vec::new();
    source.open_blob(&got, &got.layers[1]).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, got.layers[1].size);

    let error = source.resolve(&name, &platform("linux/s390x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "app:1: no manifest for platform linux/s390x (it has linux/amd64, linux/arm64)"
    );
    let error = source.resolve(&reference("app:2"), &platform("linux/amd64")).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::NotFound), "{error}");
    let pinned = reference(&format!("whatever@{}", image.manifests[0].digest));
    assert_eq!(source.resolve(&pinned, &platform("linux/amd64")).unwrap().config.architecture, "amd64");
}

#[test]
fn a_single_image_of_another_platform_is_returned_as_it_is() {
    let scratch = Scratch::new();
    let image = scratch.composed(&["linux/arm64"], Flavour::Oci);
    let name = reference("app:1");
    scratch.store.layout().tag(&EntryName::stored(&name), &image.root).unwrap();
    let source = LayoutSource::by_reference(scratch.store.layout().clone());
    let got = source.resolve(&name, &platform("linux/amd64")).unwrap();
    assert_eq!(got.config.platform(), platform("linux/arm64"));
}

#[test]
fn an_index_in_an_index_is_followed() {
    let scratch = Scratch::new();
    let inner = scratch.composed(&["linux/amd64", "linux/arm/v6"], Flavour::Oci);
    let outer = Index::new(Flavour::Oci, vec![inner.root.clone()]);
    let outer = scratch.store.put_document(OCI_INDEX, &outer.to_bytes()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("nested"), &outer).unwrap();
    let source =
        LayoutSource::parse(&format!("oci-layout://{}:nested", scratch.store.root().display())).unwrap();
    let got = source.resolve(&reference("x"), &platform("linux/arm/v7")).unwrap();
    assert_eq!((got.root_digest, got.manifest_digest), (outer.digest, inner.manifests[1].digest));
}

#[test]
fn a_layout_is_addressed_by_tag_and_digest() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.image(), scratch.composed(&["linux/arm64"], Flavour::Oci));
    let directory = scratch.path("a:b@c");
    let export = |names: &[&str], image| {
        let names: Vec<_> = names.iter().map(|n| reference(n)).collect();
        let export = Export { store: &scratch.store, root: image, names: &names, cancel: None };
        export.oci_directory(&directory, Placement::Share).unwrap();
    };
    export(&["ghcr.io/me/app:v1"], &one.root);
    let resolve = |suffix: &str| {
        let source = LayoutSource::parse(&format!("oci-layout://{}{suffix}", directory.display())).unwrap();
        source.resolve(&reference("ignored"), &platform("linux/amd64"))
    };
    assert_eq!(resolve("/").unwrap().root_digest, one.root.digest, "the only one");
    assert_eq!(resolve(":v1").unwrap().root_digest, one.root.digest);
    export(&["ghcr.io/me/app:latest"], &two.root);
    assert_eq!(resolve("/").unwrap().root_digest, two.root.digest, "the latest");
    assert_eq!(resolve(&format!("@{}", one.root.digest)).unwrap().root_digest, one.root.digest);
    assert_eq!(resolve(&format!(":v1@{}", one.root.digest)).unwrap().root_digest, one.root.digest);
    let error = resolve(":v9").unwrap_err().to_string();
    assert!(error.contains("no image \"v9\" in the layout (it has v1, latest)"), "{error}");
}

#[test]
fn damage_is_noticed() {
    let scratch = Scratch::new();
    let image = scratch.image();
    scratch.store.layout().tag(&EntryName::plain("x"), &image.root).unwrap();
    let spec = format!("{}:x", scratch.store.root().display());
    let source = LayoutSource::parse(&spec).unwrap();
    let got = source.resolve(&reference("x"), &platform("linux/amd64")).unwrap();
    let layer = &got.layers[0];
    let path = scratch.store.path_of(&layer.digest);
    fs_err::write(&path, b"torn").unwrap();
    assert!(source.open_blob(&got, layer).is_err());
    fs_err::remove_file(&path).unwrap();
    assert!(source.open_blob(&got, layer).is_err());
    fs_err::write(scratch.store.path_of(&image.configs[0].digest), b"{}").unwrap();
    let error = source.resolve(&reference("x"), &platform("linux/amd64")).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Mismatch { .. }), "{error}");
}

#[test]
fn a_configuration_that_does_not_fit_its_layers_is_refused() {
    let scratch = Scratch::new();
    let mut parts = scratch.parts("linux/amd64", &scratch.three_layers());
    parts.layers.pop();
    let image = compose(&scratch.store, &[parts], &ComposeOptions::default()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("x"), &image.root).unwrap();
    let source = LayoutSource::parse(scratch.store.root().to_str().unwrap()).unwrap();
    let error = source.resolve(&reference("x"), &platform("linux/amd64")).unwrap_err().to_string();
    assert!(error.contains("3 diff ids, and the manifest 2 layers"), "{error}");
}

#[test]
fn specs() {
    let sha = format!("sha256:{}", "0".repeat(64));
    let table = [
        ("oci-layout:///a/b", "/a/b", None, false),
        ("oci-layout://a/b:v1", "a/b", Some("v1"), false),
        ("a:1/b", "a:1/b", None, false),
        ("a@b/c:1", "a@b/c", Some("1"), false),
        (&format!("a:v1@{sha}"), "a", Some("v1"), true),
        (&format!("a@{sha}"), "a", None, true),
    ];
    for (text, directory, tag, digest) in table {
        let spec = LayoutSpec::parse(text).unwrap();
        assert_eq!(spec.directory.to_str(), Some(directory), "{text}");
        assert_eq!((spec.tag.as_deref(), spec.digest.is_some()), (tag, digest), "{text}");
    }
    assert!(LayoutSpec::parse("a@sha256:12").is_err());
}
