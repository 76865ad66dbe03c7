//! Names in `index.json`.

use std::collections::BTreeSet;
use std::process::Command;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::layout::{EntryName, IMAGE_NAME, Layout, REF_NAME};
use kiln_oci::media_type::OCI_MANIFEST;

use crate::fixture::{Scratch, reference};

fn some(n: u32) -> Descriptor {
    Descriptor::of(OCI_MANIFEST, &n.to_le_bytes())
}

fn index(layout: &Layout) -> serde_json::Value {
    serde_json::from_slice(&fs_err::read(layout.root().join("index.json")).unwrap()).unwrap()
}

#[test]
fn a_new_layout_is_empty_and_valid() {
    let scratch = Scratch::new();
    let layout = Layout::open(scratch.store.root()).unwrap();
    assert_eq!(layout.list().unwrap(), []);
    let index = fs_err::read_to_string(layout.root().join("index.json")).unwrap();
    assert!(oci_spec::image::ImageIndex::from_reader(index.as_bytes()).is_ok(), "{index}");
    assert!(oci_spec::image::OciLayout::from_file(layout.root().join("oci-layout")).is_ok());
    assert!(Layout::open(&scratch.path("tmp")).unwrap_err().to_string().contains("not an OCI image layout"));
}

#[test]
fn a_name_moves_and_can_be_removed() {
    let scratch = Scratch::new();
    let layout = scratch.store.layout();
    let name = EntryName::stored(&reference("app:1"));
    layout.tag(&name, &some(1)).unwrap();
    layout.tag(&EntryName::stored(&reference("app:2")), &some(1)).unwrap();
    layout.tag(&name, &some(2)).unwrap();
    assert_eq!(layout.list().unwrap().len(), 2);
    for asked in ["app:1", "docker.io/library/app:1", "library/app:1"] {
        assert_eq!(layout.resolve(asked).unwrap().map(|d| d.digest), Some(some(2).digest), "{asked}");
    }
    assert_eq!(layout.resolve("app:3").unwrap(), None);
    assert_eq!(layout.resolve("app").unwrap(), None);
    assert!(layout.untag("docker.io/library/app:1").unwrap());
    assert!(!layout.untag("app:1").unwrap());
    assert_eq!(layout.list().unwrap().len(), 1);
    let entry = &index(layout)["manifests"][0]["annotations"];
    assert_eq!(entry[REF_NAME], "app:2");
    assert_eq!(entry[IMAGE_NAME], "docker.io/library/app:2");
}

#[test]
fn nameless_entries_are_listed_once_and_get_names() {
    let scratch = Scratch::new();
    let layout = scratch.store.layout();
    layout.add_nameless(&some(1)).unwrap();
    layout.add_nameless(&some(1)).unwrap();
    assert_eq!(layout.list().unwrap().len(), 1);
    layout.tag(&EntryName::plain("v1"), &some(1)).unwrap();
    let entries = layout.list().unwrap();
    assert_eq!((entries.len(), entries[0].name.clone()), (1, Some(EntryName::plain("v1"))));
    assert!(layout.retain(|_| false).unwrap());
    assert_eq!(layout.list().unwrap(), []);
}

#[test]
fn the_same_tag_of_two_repositories_stands_side_by_side() {
    let scratch = Scratch::new();
    let layout = scratch.store.layout();
    layout.tag(&EntryName::exported(&reference("one:latest")), &some(1)).unwrap();
    layout.tag(&EntryName::exported(&reference("two:latest")), &some(2)).unwrap();
    assert_eq!(layout.list().unwrap().len(), 2);
    assert_eq!(layout.resolve("two").unwrap().map(|d| d.digest), Some(some(2).digest));
}

#[test]
fn what_others_wrote_survives() {
    let scratch = Scratch::new();
    let layout = scratch.store.layout();
    let foreign = r#"{"schemaVersion":2,"annotations":{"a":"b"},"manifests":[
        {"mediaType":"application/x","digest":"sha512:00","size":3,"urls":["http://x"]},
        {"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"artifactType":"y/z","data":""}]}"#;
    fs_err::write(layout.root().join("index.json"), foreign).unwrap();
    layout.tag(&EntryName::plain("mine"), &some(1)).unwrap();
    let after = index(layout);
    assert_eq!(after["annotations"]["a"], "b");
    assert_eq!(after["manifests"][0]["urls"][0], "http://x");
    assert_eq!(after["manifests"][1]["artifactType"], "y/z");
    assert_eq!(after["manifests"].as_array().unwrap().len(), 3);
    assert_eq!(layout.list().unwrap().len(), 2);
}

#[test]
fn a_torn_index_is_an_error_that_names_it_and_is_not_overwritten() {
    let scratch = Scratch::new();
    let layout = scratch.store.layout();
    let path = layout.root().join("index.json");
    for torn in [&b""[..], b"{\"schemaVersion\":2,\"manif", b"\0\0\0\0", b"[]", b"{\"manifests\":7}"] {
        fs_err::write(&path, torn).unwrap();
        for error in [layout.list().unwrap_err(), layout.tag(&EntryName::plain("x"), &some(1)).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains("remove the file"), "{text}");
        }
        assert_eq!(fs_err::read(&path).unwrap(), torn);
    }
    fs_err::remove_file(&path).unwrap();
    layout.tag(&EntryName::plain("x"), &some(1)).unwrap();
    assert_eq!(layout.list().unwrap().len(), 1);
}

const WORKER: &str = "KILN_OCI_TEST_TAGGER";

/// Four processes of two threads each, 25 tags a thread; the processes are this test, run again.
#[test]
fn no_tag_is_lost_however_many_write() {
    if let Some(root) = std::env::var_os(WORKER) {
        return tag_from_two_threads(std::path::Path::new(&root));
    }
    let scratch = Scratch::new();
    let me = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(&me)
                .args(["--exact", "layout::no_tag_is_lost_however_many_write"])
                .env(WORKER, scratch.store.root())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let names: BTreeSet<String> =
        scratch.store.layout().list().unwrap().into_iter().map(|e| e.name.unwrap().ref_name).collect();
    assert_eq!(names.len(), 4 * 2 * 25);
    assert!(!scratch.store.root().join("index.json.lock").exists());
    let left = fs_err::read_dir(scratch.path("tmp")).unwrap().count();
    assert_eq!(left, 0);
}

fn tag_from_two_threads(root: &std::path::Path) {
    let process = std::process::id();
    std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            scope.spawn(move || {
                let layout = Layout::open(root).unwrap();
                for n in 0..25_u32 {
                    let name = EntryName::stored(&reference(&format!("app:{process}-{thread}-{n}")));
                    layout.tag(&name, &some(thread * 100 + n)).unwrap();
                }
            });
        }
    });
}
