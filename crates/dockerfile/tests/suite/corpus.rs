//! The cases under `testdata/dockerfile`.

use std::path::{Path, PathBuf};

/// A folder of the corpus.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) text: String,
}

/// All cases, sorted by name.
pub(crate) fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/dockerfile");
    let mut cases = Vec::new();
    for entry in fs_err::read_dir(root).expect("the corpus") {
        let folder = entry.expect("an entry").path();
        if folder.is_dir() {
            let text = fs_err::read_to_string(folder.join("Dockerfile")).expect("a Dockerfile");
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            cases.push(Case { name, folder, text });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 20, "the corpus is missing");
    cases
}
