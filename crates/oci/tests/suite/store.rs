//! The content store.

use std::io::{Read, Write};
use std::time::Duration;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::error::StoreError;
use kiln_oci::store::{ContentStore, SyncPolicy};

use crate::fixture::Scratch;

fn temporaries(scratch: &Scratch) -> usize {
    fs_err::read_dir(scratch.path("tmp")).unwrap().count()
}

#[test]
fn what_was_put_is_read_back() {
    let scratch = Scratch::new();
    let digest = scratch.store.put(b"hello").unwrap();
    assert_eq!(digest.to_string(), format!("sha256:{}", Digest::of(b"hello").hex()));
    assert_eq!(scratch.store.read_blob(&digest).unwrap(), b"hello");
    assert_eq!(scratch.store.size_of(&digest), Some(5));
    assert_eq!(scratch.store.list().unwrap(), [(digest, 5)]);
    assert_eq!(scratch.store.put(b"hello").unwrap(), digest);
    assert!(scratch.store.remove(&digest).unwrap());
    assert!(!scratch.store.remove(&digest).unwrap());
    assert!(matches!(scratch.store.read_blob(&digest), Err(StoreError::Missing { .. })));
    assert_eq!(temporaries(&scratch), 0);
}

#[test]
fn a_written_blob_has_its_name_only_when_finished() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer().unwrap();
    writer.write_all(b"one").unwrap();
    writer.write_all(b"two").unwrap();
    assert_eq!(scratch.store.list().unwrap(), []);
    let blob = writer.finish().unwrap();
    assert_eq!((blob.digest, blob.size), (Digest::of(b"onetwo"), 6));
    assert!(scratch.store.contains(&blob.digest));
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let scratch = Scratch::new();
    let mut writer = scratch.store.writer().unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(temporaries(&scratch), 1);
    drop(writer);
    assert_eq!((temporaries(&scratch), scratch.store.list().unwrap().len()), (0, 0));
}

#[test]
fn a_blob_that_breaks_its_promise_is_not_kept() {
    let scratch = Scratch::new();
    let good = Descriptor::of("x", b"right");
    for (bytes, message) in
        [(&b"wrong"[..], "got sha256:"), (b"much longer", "got 11 bytes"), (b"", "got 0 bytes")]
    {
        let mut writer = scratch.store.writer().unwrap();
        writer.write_all(bytes).unwrap();
        let error = writer.finish_verified(&good).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!((temporaries(&scratch), scratch.store.list().unwrap().len()), (0, 0));
    }
    let mut writer = scratch.store.writer().unwrap();
    writer.write_all(b"right").unwrap();
    assert_eq!(writer.finish_verified(&good).unwrap().digest, good.digest);
}

#[test]
fn a_damaged_blob_is_not_read_and_says_how_to_mend() {
    let scratch = Scratch::new();
    let digest = scratch.store.put(b"precious").unwrap();
    let path = scratch.store.path_of(&digest);
    fs_err::write(&path, b"PRECIOUS").unwrap();
    let error = scratch.store.read_blob(&digest).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("kiln verify"), "{error}");

    let mut sink = Vec::new();
    let blob = Descriptor::of("x", b"precious");
    let error = scratch.store.open_verified(&blob).unwrap().read_to_end(&mut sink).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_torn_blob_is_noticed_and_replaced() {
    let scratch = Scratch::new();
    let digest = scratch.store.put(b"precious").unwrap();
    // What a power loss leaves: the name without the bytes.
    fs_err::write(scratch.store.path_of(&digest), b"").unwrap();
    let blob = Descriptor::of("x", b"precious");
    assert!(matches!(scratch.store.open_verified(&blob), Err(StoreError::Damaged { .. })));
    scratch.store.put(b"precious").unwrap();
    assert_eq!(scratch.store.read_blob(&digest).unwrap(), b"precious");
    fs_err::write(scratch.store.path_of(&digest), b"pre").unwrap();
    let mut writer = scratch.store.writer().unwrap();
    writer.write_all(b"precious").unwrap();
    writer.finish().unwrap();
    assert_eq!(scratch.store.read_blob(&digest).unwrap(), b"precious");
}

#[test]
fn the_verified_reader_lets_good_bytes_through() {
    let scratch = Scratch::new();
    let bytes = vec![7; 300_000];
    scratch.store.put(&bytes).unwrap();
    let mut got = Vec::new();
    scratch.store.open_verified(&Descriptor::of("x", &bytes)).unwrap().read_to_end(&mut got).unwrap();
    assert_eq!(got, bytes);
}

#[test]
fn sweeping_spares_those_who_still_write() {
    let scratch = Scratch::new();
    let mut alive = scratch.store.writer().unwrap();
    alive.write_all(b"alive").unwrap();
    fs_err::write(scratch.path("tmp/.blob-dead"), b"dead!").unwrap();
    fs_err::write(scratch.path("tmp/other"), b"somebody else's").unwrap();
    assert_eq!(scratch.store.sweep(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(scratch.store.sweep(Duration::ZERO).unwrap(), 5);
    assert!(scratch.path("tmp/other").exists());
    alive.finish().unwrap();
    assert!(scratch.store.contains(&Digest::of(b"alive")));
}

#[test]
fn many_threads_put_the_same_blobs() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..50_u32 {
                    let mut writer = scratch.store.writer().unwrap();
                    writer.write_all(&n.to_le_bytes()).unwrap();
                    writer.finish().unwrap();
                }
            });
        }
    });
    let blobs = scratch.store.list().unwrap();
    assert_eq!(blobs.len(), 50);
    blobs.iter().for_each(|(digest, _)| drop(scratch.store.read_blob(digest).unwrap()));
    assert_eq!(temporaries(&scratch), 0);
}

#[test]
fn blobs_are_readable_by_others_and_syncing_works() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let (root, tmp) = (scratch.path("synced"), scratch.path("synced-tmp"));
    let store = ContentStore::open_with(&root, &tmp, SyncPolicy::EachBlob).unwrap();
    let digest = store.put(b"x").unwrap();
    let mode = fs_err::metadata(store.path_of(&digest)).unwrap().permissions().mode();
    assert_eq!(mode & 0o444 & !umask(), 0o444 & !umask());
    store.sync().unwrap();
}

/// The umask, as `/proc` tells it.
fn umask() -> u32 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

const FULL: &str = "KILN_OCI_TEST_FULL_DISK";

/// Runs itself again in a mount namespace with a file system of 256 KiB.
#[test]
fn a_full_disk_is_an_error_with_a_path_and_leaves_nothing() {
    if let Some(directory) = std::env::var_os(FULL) {
        return on_a_full_disk(std::path::Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=256k none "$KILN_OCI_TEST_FULL_DISK" || exit 99
        exec "$0" --exact store::a_full_disk_is_an_error_with_a_path_and_leaves_nothing --nocapture"#;
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(FULL, directory.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        other => println!("not run: no mount namespace here ({other:?})"),
    }
}

fn on_a_full_disk(directory: &std::path::Path) {
    let store = ContentStore::open(&directory.join("oci")).unwrap();
    let mut writer = store.writer().unwrap();
    let error = writer.write_all(&vec![1; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(error.to_string().contains(".blob-"), "{error}");
    drop(writer);
    let error = store.put(&vec![2; 1 << 20]).unwrap_err();
    assert!(error.to_string().contains(directory.to_str().unwrap()), "{error}");
    assert_eq!(fs_err::read_dir(directory.join("tmp")).unwrap().count(), 0);
    assert_eq!(store.list().unwrap(), []);
    store.put(b"there is room again").unwrap();
}
