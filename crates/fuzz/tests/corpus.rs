//! Every target over its corpus, which holds what once failed; and the driver itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_fuzz::driver::{Run, corpus, drive};
use kiln_fuzz::target::{ALL, Target};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn kept_inputs() {
    for target in ALL {
        let inputs = corpus(&target, &root()).expect("the corpus");
        assert!(inputs.len() >= 5, "{} has {} seeds", target.name, inputs.len());
        inputs.iter().for_each(|input| _ = (target.run)(input));
    }
}

/// A target with a mistake: the driver finds it, and the input that it saves shows it again.
#[test]
fn a_mistake_is_found_and_kept() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let seeds = scratch.path().join("testdata/fuzz/wrong");
    fs_err::create_dir_all(&seeds).expect("writable");
    fs_err::write(seeds.join("seed"), "FROM a\n").expect("writable");
    let run = |bytes: &[u8]| {
        assert!(!bytes.windows(2).any(|pair| pair == b"**"), "found");
        bytes.len().min(40) as u64
    };
    let target = Target { name: "wrong", seeds: &[], run };
    let run = Run { seed: 7, time: Duration::from_secs(60), root: scratch.path().to_owned() };
    let outcome = drive(&target, &run).expect("a run");
    let kept = fs_err::read(outcome.crash.expect("a crash")).expect("it was saved");
    assert!(kept.windows(2).any(|pair| pair == b"**"));
}
