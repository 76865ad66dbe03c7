//! What is handed to other tools.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_oci::compose::{ComposeOptions, compose};
use kiln_oci::error::StoreError;
use kiln_oci::export::{ArchiveSink, Export, ExportError, Placement};
use kiln_oci::inspect::inspect;
use kiln_oci::layout::Layout;
use kiln_oci::media_type::Flavour;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::verify::verify;

use crate::fixture::{Scratch, must, reference, run};

fn linux() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn clean(path: &Path, images: usize) {
    let report = verify(path).unwrap();
    assert_eq!(report.problems, [], "{}", path.display());
    assert_eq!(report.images.len(), images, "{:?}", report.images);
}

#[test]
fn a_directory_is_a_valid_layout_that_others_read() {
    let scratch = Scratch::new();
    let image = scratch.plain_image(Flavour::Oci);
    let names = [reference("app:1"), reference("ghcr.io/me/app:2")];
    let out = scratch.path("deep/er/out");
    let export = Export { store: &scratch.store, root: &image.root, names: &names, cancel: None };
    export.oci_directory(&out, Placement::Share).unwrap();
    clean(&out, 2);
    let place = |tag: &str| format!("oci:{}:{tag}", out.display());
    let seen = must("skopeo", &["inspect", &place("1")]);
    assert!(seen.is_empty() || seen.contains(&image.root.digest.to_string()), "{seen}");
    let seen = must("umoci", &["stat", "--image", &format!("{}:2", out.display())]);
    assert!(seen.is_empty() || seen.contains("COPY 1"), "{seen}");
    let copy = format!("oci-archive:{}", scratch.path("copy.tar").display());
    must("skopeo", &["copy", "--insecure-policy", "-q", &place("2"), &copy]);
    let left = fs_err::read_dir(out.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "no temporary directory stays");
    assert_eq!(fs_err::read_dir(&out).unwrap().count(), 3, "blobs, index.json, oci-layout");
}

#[test]
fn sharing_and_copying() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let export = Export { store: &scratch.store, root: &image.root, names: &[], cancel: None };
    for (name, placement) in [("shared", Placement::Share), ("copied", Placement::Copy)] {
        export.oci_directory(&scratch.path(name), placement).unwrap();
        clean(&scratch.path(name), 1);
    }
    let blob =
        |root: &Path| fs_err::metadata(root.join("blobs/sha256").join(image.root.digest.hex())).unwrap();
    let original = blob(scratch.store.root());
    assert_ne!(blob(&scratch.path("copied")).ino(), original.ino());
    // Hard-linked, unless this file system has reflinks.
    let shared = blob(&scratch.path("shared"));
    assert!(shared.ino() == original.ino() || shared.nlink() == 1);
}

#[test]
fn an_existing_directory_is_filled_merged_or_refused() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.image(), scratch.composed(&["linux/arm64"], Flavour::Oci));
    let write = |root, name: &str, out: &Path| {
        let names: Vec<Reference> = if name.is_empty() { vec![] } else { vec![reference(name)] };
        Export { store: &scratch.store, root, names: &names, cancel: None }
            .oci_directory(out, Placement::Share)
    };
    let out = scratch.path("out");
    fs_err::create_dir(&out).unwrap();
    write(&one.root, "app:1", &out).unwrap();
    clean(&out, 1);
    write(&two.root, "app:2", &out).unwrap();
    clean(&out, 2);
    write(&two.root, "app:1", &out).unwrap();
    clean(&out, 2);
    let digests: Vec<_> =
        Layout::open(&out).unwrap().list().unwrap().into_iter().map(|e| e.descriptor.digest).collect();
    assert_eq!(digests, [two.root.digest; 2]);

    let occupied = scratch.path("occupied");
    fs_err::create_dir(&occupied).unwrap();
    fs_err::write(occupied.join("thesis.txt"), "x").unwrap();
    assert!(matches!(write(&one.root, "", &occupied), Err(ExportError::Occupied { .. })));
    assert_eq!(fs_err::read_dir(&occupied).unwrap().count(), 1);
    assert!(write(&one.root, "", &occupied.join("thesis.txt")).is_err());

    let link = scratch.path("link");
    let target = scratch.path("target");
    fs_err::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write(&one.root, "", &link).unwrap();
    clean(&target, 1);
    assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_missing_or_short_blob_leaves_no_directory() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let layer = scratch.three_layers()[0].0.digest;
    let export = Export { store: &scratch.store, root: &image.root, names: &[], cancel: None };
    fs_err::write(scratch.store.path_of(&layer), b"torn").unwrap();
    let error = export.oci_directory(&scratch.path("out"), Placement::Share).unwrap_err();
    assert!(matches!(error, ExportError::Store(StoreError::Damaged { .. })), "{error}");
    let error = export.oci_archive(ArchiveSink::Writer(&mut Vec::new())).unwrap_err();
    assert!(matches!(error, ExportError::Store(StoreError::Damaged { .. })), "{error}");
    fs_err::remove_file(scratch.store.path_of(&layer)).unwrap();
    assert!(export.oci_directory(&scratch.path("out"), Placement::Share).is_err());
    let mut names: Vec<_> =
        fs_err::read_dir(scratch.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["oci", "tmp"]);
}

/// A blob that was hashed is read again only after somebody wrote into its file, which its time tells.
#[test]
fn a_blob_is_hashed_once_and_again_when_it_was_touched() {
    use std::time::{Duration, SystemTime};
    let scratch = Scratch::new();
    let image = scratch.image();
    let layer = scratch.three_layers()[0].0.digest;
    let path = scratch.store.path_of(&layer);
    let export = Export { store: &scratch.store, root: &image.root, names: &[], cancel: None };
    let archive = || {
        let file = tempfile::tempfile().unwrap();
        export.oci_archive(ArchiveSink::File(&file))
    };
    archive().unwrap();
    let time = fs_err::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[0] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    assert!(matches!(archive(), Err(ExportError::Store(StoreError::Damaged { .. }))));
    // With the time put back the damage goes out unseen: it is indeed not read.
    let back =
        |time: SystemTime| fs_err::File::options().write(true).open(&path).unwrap().file().set_modified(time);
    back(time).unwrap();
    archive().unwrap();
    bytes[0] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    // Any other time is no seal, but whole bytes get one by being read.
    back(time + Duration::from_nanos(1)).unwrap();
    archive().unwrap();
    assert_eq!(fs_err::metadata(&path).unwrap().modified().unwrap(), time);
}

#[test]
fn archives_are_the_same_however_they_are_written() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let names = [reference("app:1")];
    let export = Export { store: &scratch.store, root: &image.root, names: &names, cancel: None };
    let mut memory = Vec::new();
    export.docker_archive(ArchiveSink::Writer(&mut memory), &linux()).unwrap();

    let path = scratch.path("out.tar");
    let file = fs_err::File::create(&path).unwrap();
    export.docker_archive(ArchiveSink::File(file.file()), &linux()).unwrap();
    assert!(fs_err::read(&path).unwrap() == memory, "a file has the same bytes");

    let (mut reader, writer) = std::io::pipe().unwrap();
    let piped = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let writer = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
    export.docker_archive(ArchiveSink::File(&writer), &linux()).unwrap();
    drop(writer);
    assert!(piped.join().unwrap() == memory, "a pipe gets the same bytes");

    let other = Scratch::new();
    let image = other.image();
    let mut again = Vec::new();
    let export = Export { store: &other.store, root: &image.root, names: &names, cancel: None };
    export.docker_archive(ArchiveSink::Writer(&mut again), &linux()).unwrap();
    assert!(again == memory, "another store gives the same bytes");

    let members: Vec<String> = tar::Archive::new(&memory[..])
        .entries()
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            assert_eq!((e.header().mtime().unwrap(), e.header().uid().unwrap()), (0, 0));
            e.path().unwrap().display().to_string()
        })
        .collect();
    assert!(members.is_sorted(), "{members:?}");
}

#[test]
fn a_file_is_written_where_its_cursor_is() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let path = scratch.path("out.tar");
    let mut file = fs_err::File::create(&path).unwrap();
    file.write_all(b"before").unwrap();
    let export = Export { store: &scratch.store, root: &image.root, names: &[], cancel: None };
    export.oci_archive(ArchiveSink::File(file.file())).unwrap();
    let bytes = fs_err::read(&path).unwrap();
    assert!(bytes.starts_with(b"beforeblobs/"));
    assert_eq!((bytes.len() - 6) % 512, 0);
}

#[test]
fn an_export_can_be_interrupted() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let cancel = std::sync::atomic::AtomicBool::new(true);
    let export = Export { store: &scratch.store, root: &image.root, names: &[], cancel: Some(&cancel) };
    let file = fs_err::File::create(scratch.path("out.tar")).unwrap();
    let mut memory = Vec::new();
    for sink in [ArchiveSink::File(file.file()), ArchiveSink::Writer(&mut memory)] {
        assert!(matches!(export.oci_archive(sink), Err(ExportError::Interrupted)));
    }
}

#[test]
fn archives_are_read_by_others() {
    let scratch = Scratch::new();
    let names = [reference("app:1")];
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let image = scratch.plain_image(flavour);
        let export = Export { store: &scratch.store, root: &image.root, names: &names, cancel: None };
        let (oci, docker) = (scratch.path("oci.tar"), scratch.path("docker.tar"));
        let create = |path: &Path| fs_err::File::create(path).unwrap();
        export.oci_archive(ArchiveSink::File(create(&oci).file())).unwrap();
        export.docker_archive(ArchiveSink::File(create(&docker).file()), &linux()).unwrap();
        clean(&oci, 1);
        clean(&docker, 2);
        let config = image.configs[0].digest.to_string();
        let as_docker = [format!("docker-archive:{}:app:1", docker.display())];
        let as_oci = [&oci, &docker].map(|path| format!("oci-archive:{}:1", path.display()));
        // containers/image looks in an `index.json` only for OCI's media types.
        let extra = if flavour == Flavour::Oci { &as_oci[..] } else { &[] };
        for place in as_docker.iter().chain(extra) {
            let raw = must("skopeo", &["inspect", "--raw", place]);
            assert!(raw.is_empty() || raw.contains(&config), "{place}: {raw}");
            let seen = must("skopeo", &["inspect", "--config", place]);
            assert!(seen.is_empty() || seen.contains("/hello"), "{place}: {seen}");
        }
    }
}

#[test]
fn podman_loads_the_docker_archive() {
    let scratch = Scratch::new();
    let image = scratch.plain_image(Flavour::Docker);
    let names = [reference("localhost/kiln-oci-test:1")];
    let path = scratch.path("docker.tar");
    let export = Export { store: &scratch.store, root: &image.root, names: &names, cancel: None };
    let file = fs_err::File::create(&path).unwrap();
    export.docker_archive(ArchiveSink::File(file.file()), &linux()).unwrap();
    let (root, runroot) = (scratch.path("podman"), scratch.path("podman-run"));
    let (root, runroot) = (root.to_str().unwrap(), runroot.to_str().unwrap());
    let store = ["--root", root, "--runroot", runroot, "--storage-driver", "vfs"];
    let podman = |rest: &[&str]| run("podman", &[&store[..], rest].concat());
    match podman(&["load", "-i", path.to_str().unwrap()]) {
        None => return,
        // Podman itself needs more than this host gives; its complaint then is not about the archive.
        Some(Err(text)) if podman(&["images"]).is_none_or(|r| r.is_err()) => {
            println!("not run: {text}");
            return;
        }
        Some(loaded) => assert!(loaded.as_ref().is_ok_and(|t| t.contains("kiln-oci-test:1")), "{loaded:?}"),
    }
    let id =
        podman(&["image", "inspect", "--format", "{{.Id}}", "localhost/kiln-oci-test:1"]).unwrap().unwrap();
    assert_eq!(id.trim(), image.configs[0].digest.hex());
    must("podman", &[&store[..], &["rmi", "-f", "localhost/kiln-oci-test:1"]].concat());
}

#[test]
fn an_index_of_several_platforms() {
    let scratch = Scratch::new();
    let image = scratch.composed(&["linux/amd64", "linux/arm64"], Flavour::Oci);
    let names = [reference("app:1")];
    let export = Export { store: &scratch.store, root: &image.root, names: &names, cancel: None };
    let path = scratch.path("docker.tar");
    let file = fs_err::File::create(&path).unwrap();
    export.docker_archive(ArchiveSink::File(file.file()), &"linux/arm64".parse().unwrap()).unwrap();
    let report = verify(&path).unwrap();
    assert_eq!(report.problems, []);
    let platforms: Vec<String> =
        report.images.iter().map(|i| i.platform.as_ref().unwrap().to_string()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm64"], "index.json, then manifest.json");
}

#[test]
fn annotations_stand_at_their_level() {
    let scratch = Scratch::new();
    let layers = scratch.three_layers();
    let mut parts = scratch.parts("linux/amd64", &layers);
    let at = |level: &str| BTreeMap::from([("level".to_owned(), level.to_owned())]);
    parts.manifest_annotations = at("manifest");
    parts.descriptor_annotations = at("manifest-descriptor");
    let options = ComposeOptions {
        flavour: Flavour::Docker,
        index: true,
        index_annotations: at("index"),
        index_descriptor_annotations: at("index-descriptor"),
    };
    let image = compose(&scratch.store, &[parts], &options).unwrap();
    assert_eq!(image.flavour, Flavour::Oci, "Docker's documents have no annotations");
    let out = scratch.path("out");
    let names = [reference("app:1")];
    Export { store: &scratch.store, root: &image.root, names: &names, cancel: None }
        .oci_directory(&out, Placement::Share)
        .unwrap();
    let read =
        |path: &Path| -> serde_json::Value { serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap() };
    let entry = &read(&out.join("index.json"))["manifests"][0];
    assert_eq!(entry["annotations"]["level"], "index-descriptor");
    let blob = |d: &serde_json::Value| out.join("blobs/sha256").join(&d["digest"].as_str().unwrap()[7..]);
    let index = read(&blob(entry));
    assert_eq!(index["annotations"]["level"], "index");
    assert_eq!(index["manifests"][0]["annotations"]["level"], "manifest-descriptor");
    assert_eq!(read(&blob(&index["manifests"][0]))["annotations"]["level"], "manifest");
    clean(&out, 1);
}

#[test]
fn the_documents_are_the_standards() {
    let scratch = Scratch::new();
    let image = scratch.composed(&["linux/amd64", "linux/arm64/v8"], Flavour::Oci);
    let bytes = |digest| scratch.store.read_blob(&digest).unwrap();
    let index = oci_spec::image::ImageIndex::from_reader(&bytes(image.root.digest)[..]).unwrap();
    assert_eq!(index.manifests().len(), 2);
    let manifest =
        oci_spec::image::ImageManifest::from_reader(&bytes(image.manifests[1].digest)[..]).unwrap();
    assert_eq!(manifest.layers().len(), 3);
    assert_eq!(manifest.layers()[2].media_type(), &oci_spec::image::MediaType::ImageLayerZstd);
    let config =
        oci_spec::image::ImageConfiguration::from_reader(&bytes(image.configs[1].digest)[..]).unwrap();
    assert_eq!(config.architecture(), &oci_spec::image::Arch::ARM64);
}

#[test]
fn inspection_lines_history_up_with_layers() {
    let scratch = Scratch::new();
    let image = scratch.composed(&["linux/amd64", "linux/arm64"], Flavour::Docker);
    let seen = inspect(&scratch.store, &image.root).unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].id, image.configs[0].digest);
    let layers: Vec<Option<usize>> = seen[1].history.iter().map(|h| h.layer).collect();
    assert_eq!(layers, [Some(0), Some(1), Some(2), None]);
    assert_eq!(seen[1].size, seen[1].history.iter().map(|h| h.size).sum::<u64>());
    let json = serde_json::to_value(&seen[0]).unwrap();
    assert_eq!(json["history"][3]["created_by"], "CMD [\"/hello\"]");
}
