//! Each thing that can be wrong with an image is found, and named.

use std::io::Write;

use kiln_oci::compose::{ComposeOptions, compose, config_bytes};
use kiln_oci::config::ImageConfig;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::export::{ArchiveSink, Export};
use kiln_oci::layout::EntryName;
use kiln_oci::manifest::{Index, Manifest};
use kiln_oci::media_type::{Flavour, LayerCompression, OCI_INDEX};
use kiln_oci::verify::{VerifyError, verify};

use crate::fixture::{Scratch, compress, tar_of};

/// Tags an image of these layers and returns what verification says of the store.
fn problems_of(scratch: &Scratch, layers: &[(Descriptor, DiffId)]) -> Vec<String> {
    let parts = scratch.parts("linux/amd64", layers);
    let image = compose(&scratch.store, &[parts], &ComposeOptions::default()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("x"), &image.root).unwrap();
    problems(scratch)
}

fn problems(scratch: &Scratch) -> Vec<String> {
    verify(scratch.store.root()).unwrap().problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn one(problems: &[String], expected: &str) {
    assert!(matches!(problems, [only] if only.contains(expected)), "expected {expected:?}: {problems:#?}");
}

fn of_tar(entries: &[(&str, u8, &str)]) -> Vec<String> {
    let scratch = Scratch::new();
    let layer = scratch.layer(&tar_of(entries), LayerCompression::Gzip);
    problems_of(&scratch, &[layer])
}

#[test]
fn a_whole_image_has_no_problem_and_is_counted() {
    let scratch = Scratch::new();
    assert_eq!(problems_of(&scratch, &scratch.three_layers()), [""; 0]);
    let report = verify(scratch.store.root()).unwrap();
    assert!(report.is_clean());
    assert_eq!((report.images.len(), report.images[0].layers, report.images[0].name.as_str()), (1, 3, "x"));
    assert_eq!(report.files, 7, "three layers, manifest, configuration, index.json, oci-layout");
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    let count = {
        let scratch = Scratch::new();
        problems_of(&scratch, &scratch.three_layers());
        scratch.store.list().unwrap().len()
    };
    for number in 0..count {
        let scratch = Scratch::new();
        problems_of(&scratch, &scratch.three_layers());
        let path = scratch.store.path_of(&scratch.store.list().unwrap()[number].0);
        let mut bytes = fs_err::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs_err::write(&path, bytes).unwrap();
        let problems = problems(&scratch);
        assert!(problems.iter().any(|p| p.contains("digest is sha256:")), "{}: {problems:?}", path.display());
    }
}

#[test]
fn all_problems_are_reported_not_the_first() {
    let scratch = Scratch::new();
    let layers = scratch.three_layers();
    problems_of(&scratch, &layers);
    for (layer, _) in &layers[..2] {
        let path = scratch.store.path_of(&layer.digest);
        fs_err::OpenOptions::new().append(true).open(path).unwrap().write_all(b"tail").unwrap();
    }
    fs_err::remove_file(scratch.store.path_of(&layers[2].0.digest)).unwrap();
    let problems = problems(&scratch);
    let count = |what: &str| problems.iter().filter(|p| p.contains(what)).count();
    assert_eq!((count("size is"), count("digest is"), count("is missing")), (2, 2, 1), "{problems:#?}");
}

#[test]
fn a_wrong_diff_id() {
    let scratch = Scratch::new();
    let (layer, _) = scratch.layer(&tar_of(&[("a", b'0', "x")]), LayerCompression::Zstd);
    one(&problems_of(&scratch, &[(layer, DiffId(Digest::of(b"?")))]), "diff id is sha256:");
}

#[test]
fn a_compression_that_is_not_the_media_types() {
    let scratch = Scratch::new();
    let (mut layer, id) = scratch.layer(&tar_of(&[("a", b'0', "x")]), LayerCompression::Zstd);
    layer.media_type = Flavour::Oci.layer(LayerCompression::Gzip).to_owned();
    one(&problems_of(&scratch, &[(layer, id)]), "compression is Zstd, the media type says Gzip");
}

#[test]
fn a_stream_that_breaks_off() {
    for compression in [LayerCompression::Gzip, LayerCompression::Zstd] {
        let scratch = Scratch::new();
        let tar = tar_of(&[("a", b'0', &"x".repeat(100_000))]);
        let whole = compress(&tar, compression);
        let layer =
            scratch.store.put_document(Flavour::Oci.layer(compression), &whole[..whole.len() - 5]).unwrap();
        one(&problems_of(&scratch, &[(layer, DiffId(Digest::of(&tar)))]), "cannot be decompressed");
    }
}

#[test]
fn a_tar_that_is_none_or_breaks_off() {
    let whole = tar_of(&[("a", b'0', "hello"), ("b", b'0', "hello")]);
    let cases: &[(&[u8], &str)] = &[
        (&[b'?'; 1024], "bad header checksum at byte 0"),
        (&whole[..600], "truncated at byte 600"),
        (&whole[..1024 + 100], "truncated at byte 1124"),
        (&whole[..2048], "no end marker"),
        (&whole[..2048 + 512], "no end marker"),
        (b"", "no end marker"),
    ];
    for (tar, expected) in cases {
        let scratch = Scratch::new();
        one(&problems_of(&scratch, &[scratch.layer(tar, LayerCompression::None)]), expected);
    }
}

#[test]
fn paths_that_lead_out() {
    one(&of_tar(&[("/etc/passwd", b'0', "")]), "path \"/etc/passwd\" leads out");
    one(&of_tar(&[("../x", b'0', "")]), "leads out");
    one(&of_tar(&[("a/../../x", b'5', "")]), "leads out");
    one(&of_tar(&[("a", b'1', "../../etc/shadow")]), "leads out");
    assert_eq!(of_tar(&[("./", b'5', ""), ("./a..b", b'0', ""), ("l", b'2', "../../x")]), [""; 0]);
}

#[test]
fn paths_that_occur_twice() {
    one(&of_tar(&[("a", b'0', "1"), ("./a", b'0', "2")]), "path \"a\" occurs twice");
    one(&of_tar(&[("a/", b'5', ""), ("a", b'2', "/")]), "occurs twice");
    one(&of_tar(&[("a", b'2', "/"), ("a/", b'5', "")]), "occurs twice");
    assert_eq!(of_tar(&[("a/", b'5', ""), ("a/b", b'0', ""), ("a/", b'5', "")]), [""; 0]);
}

#[test]
fn hard_links_and_their_targets() {
    assert_eq!(of_tar(&[("a", b'0', "1"), ("b", b'1', "a"), ("c", b'1', "./b")]), [""; 0]);
    one(&of_tar(&[("b", b'1', "a"), ("a", b'0', "1")]), "hard link \"b\" has no target \"a\"");
    one(&of_tar(&[("d/", b'5', ""), ("b", b'1', "d")]), "has no target");
    let scratch = Scratch::new();
    let below = scratch.layer(&tar_of(&[("a", b'0', "1")]), LayerCompression::Gzip);
    let middle = scratch.layer(&tar_of(&[("z", b'0', "1")]), LayerCompression::None);
    let above = scratch.layer(&tar_of(&[("b", b'1', "a"), ("c", b'1', "q")]), LayerCompression::Zstd);
    one(&problems_of(&scratch, &[below, middle, above]), "hard link \"c\" has no target \"q\"");
}

#[test]
fn a_flood_of_problems_is_cut_off() {
    let paths: Vec<String> = (0..500).map(|n| format!("../{n}")).collect();
    let entries: Vec<_> = paths.iter().map(|p| (p.as_str(), b'0', "")).collect();
    let problems = of_tar(&entries);
    assert_eq!(problems.len(), 101);
    assert!(problems[100].contains("more problems"));
}

#[test]
fn long_names_and_big_sizes_are_understood() {
    let long = "d/".repeat(200) + "f";
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    tar.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    tar.append_link(&mut header, "l", &long).unwrap();
    let records: Vec<(&str, &[u8])> = vec![("path", b"pax-name"), ("SCHILY.xattr.user.a", b"b\nc=d")];
    tar.append_pax_extensions(records).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("overridden").unwrap();
    header.set_size(3);
    header.set_cksum();
    tar.append(&header, &b"abc"[..]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("m").unwrap();
    header.set_entry_type(tar::EntryType::Link);
    header.set_link_name("pax-name").unwrap();
    header.set_size(0);
    header.set_cksum();
    tar.append(&header, &b""[..]).unwrap();
    let scratch = Scratch::new();
    let layer = scratch.layer(&tar.into_inner().unwrap(), LayerCompression::Gzip);
    assert_eq!(problems_of(&scratch, &[layer]), [""; 0]);
}

#[test]
fn a_history_that_does_not_line_up() {
    let scratch = Scratch::new();
    let mut parts = scratch.parts("linux/amd64", &scratch.three_layers());
    let mut config: ImageConfig = serde_json::from_slice(&parts.config).unwrap();
    config.history.remove(0);
    parts.config = config_bytes(&config);
    let image = compose(&scratch.store, &[parts], &ComposeOptions::default()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("x"), &image.root).unwrap();
    one(&problems(&scratch), "2 history entries with a layer, but 3 layers");
}

#[test]
fn more_layers_than_diff_ids() {
    let scratch = Scratch::new();
    let layers = scratch.three_layers();
    let mut parts = scratch.parts("linux/amd64", &layers);
    let mut config: ImageConfig = serde_json::from_slice(&parts.config).unwrap();
    config.rootfs.diff_ids.pop();
    config.history.clear();
    parts.config = config_bytes(&config);
    let image = compose(&scratch.store, &[parts], &ComposeOptions::default()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("x"), &image.root).unwrap();
    one(&problems(&scratch), "3 layers, but 2 diff ids");
}

#[test]
fn an_index_that_lies_about_its_images() {
    let scratch = Scratch::new();
    let image = scratch.composed(&["linux/amd64", "linux/arm64"], Flavour::Oci);
    let mut index = Index::new(Flavour::Oci, image.manifests.clone());
    index.manifests[0].platform = Some("linux/s390x".parse().unwrap());
    index.manifests[1].size += 1;
    index.manifests[1].media_type = Flavour::Docker.manifest().to_owned();
    let root = scratch.store.put_document(OCI_INDEX, &index.to_bytes()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("x"), &root).unwrap();
    let problems = problems(&scratch);
    let all = problems.join("\n");
    assert_eq!(problems.len(), 3, "{all}");
    assert!(all.contains("platform is linux/amd64, the index says linux/s390x"), "{all}");
    assert!(all.contains("media type is") && all.contains("size is"), "{all}");
}

#[test]
fn attestations_are_hashed_and_not_taken_for_images() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let statement = scratch.store.put_document("application/vnd.in-toto+json", b"{}").unwrap();
    let mut config = ImageConfig::scratch(&"unknown/unknown".parse().unwrap());
    config.rootfs.diff_ids.push(DiffId(statement.digest));
    let config = scratch.store.put_document(Flavour::Oci.config(), &config_bytes(&config)).unwrap();
    let attestation = Manifest::new(Flavour::Oci, config, vec![statement.clone()]);
    let mut attestation =
        scratch.store.put_document(Flavour::Oci.manifest(), &attestation.to_bytes()).unwrap();
    attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    attestation.platform = Some("unknown/unknown".parse().unwrap());
    let index = Index::new(Flavour::Oci, vec![image.root.clone(), attestation]);
    let root = scratch.store.put_document(OCI_INDEX, &index.to_bytes()).unwrap();
    scratch.store.layout().tag(&EntryName::plain("x"), &root).unwrap();
    assert_eq!(problems(&scratch), [""; 0]);
    assert_eq!(verify(scratch.store.root()).unwrap().images.len(), 1);
    fs_err::write(scratch.store.path_of(&statement.digest), b"[]").unwrap();
    one(&problems(&scratch), "digest is");
}

#[test]
fn blobs_that_no_image_names() {
    let scratch = Scratch::new();
    let digest = scratch.store.put(b"forgotten").unwrap();
    assert_eq!(problems(&scratch), [""; 0]);
    fs_err::write(scratch.store.path_of(&digest), b"FORGOTTEN").unwrap();
    one(&problems(&scratch), "digest is");
    fs_err::remove_file(scratch.store.path_of(&digest)).unwrap();
    fs_err::write(scratch.store.root().join("blobs/sha256/.DS_Store"), b"").unwrap();
    one(&problems(&scratch), "not a blob");
}

#[test]
fn torn_documents() {
    let scratch = Scratch::new();
    problems_of(&scratch, &scratch.three_layers());
    fs_err::write(scratch.store.root().join("index.json"), b"{\"schemaVersion\":2").unwrap();
    one(&problems(&scratch), "index.json: not valid");
    fs_err::write(scratch.store.root().join("oci-layout"), b"{}").unwrap();
    assert!(problems(&scratch)[0].contains("imageLayoutVersion"));
}

#[test]
fn archives_are_verified_too() {
    let scratch = Scratch::new();
    let image = scratch.image();
    let names = ["app:1".parse().unwrap()];
    let mut bytes = Vec::new();
    let export = Export { store: &scratch.store, root: &image.root, names: &names, cancel: None };
    export.docker_archive(ArchiveSink::Writer(&mut bytes), &"linux/amd64".parse().unwrap()).unwrap();
    let path = scratch.path("image.tar");
    fs_err::write(&path, &bytes).unwrap();
    assert!(verify(&path).unwrap().is_clean());
    let needle = b"hello";
    let spot = bytes.windows(needle.len()).position(|w| w == needle).unwrap();
    bytes[spot] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    let report = verify(&path).unwrap();
    assert!(!report.is_clean());
    fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(verify(&path), Err(VerifyError::NotAnImage { .. })));
}

/// What `docker save` wrote before it wrote layouts.
#[test]
fn old_docker_archives() {
    let scratch = Scratch::new();
    let tar = tar_of(&[("a", b'0', "hello")]);
    let (descriptor, id) = scratch.layer(&tar, LayerCompression::None);
    let config = scratch.parts("linux/amd64", &[(descriptor, id)]).config;
    let name = format!("{}.json", Digest::of(&config).hex());
    let manifest = format!(r#"[{{"Config":"{name}","RepoTags":["app:1"],"Layers":["0/layer.tar"]}}]"#);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in
        [("0/layer.tar", &tar), (name.as_str(), &config), ("manifest.json", &manifest.into_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    let path = scratch.path("old.tar");
    let mut bytes = archive.into_inner().unwrap();
    fs_err::write(&path, &bytes).unwrap();
    let report = verify(&path).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.images[0].name.as_str(), report.images[0].layers), ("app:1", 1));
    let spot = bytes.windows(5).position(|w| w == b"hello").unwrap();
    bytes[spot] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    let problems: Vec<String> = verify(&path).unwrap().problems.iter().map(ToString::to_string).collect();
    one(&problems, "diff id is");
}

#[test]
fn what_is_no_image_is_an_error() {
    let scratch = Scratch::new();
    let file = scratch.path("file");
    fs_err::write(&file, b"not a tar").unwrap();
    fs_err::create_dir(scratch.path("empty")).unwrap();
    for name in ["file", "empty"] {
        assert!(matches!(verify(&scratch.path(name)), Err(VerifyError::NotAnImage { .. })), "{name}");
    }
    assert!(matches!(verify(&scratch.path("absent")), Err(VerifyError::Io(_))));
}
