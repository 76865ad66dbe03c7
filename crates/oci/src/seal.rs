//! How a blob says that its bytes have been hashed, so that exporting an image again need not read all of it.
//!
//! The time of modification of a blob that was hashed gets a fraction of a second that follows from its digest, its size and the
//! machine's current boot. Whoever writes into the file gets another time, and it is hashed again; so it is after a
//! reboot, since a power loss can take bytes and leave times. A file system without fine times just never keeps
//! a seal. What a seal does not show is a disk that decays on its own: `kiln verify` reads everything.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, futimens};

use crate::digest::{Digest, Hasher};

/// Seals `file`, which holds exactly the bytes of `digest`. Best effort: without a seal it is hashed again.
pub(crate) fn put(file: &File, digest: &Digest) {
    let Ok(meta) = file.metadata() else { return };
    let Some(nanos) = fraction(&meta, digest) else { return };
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time(0, UTIME_OMIT), last_modification: time(meta.mtime(), nanos) };
    // Somebody else's file, or a file system that refuses.
    let _ = futimens(file, &times);
}

/// Whether the file of `meta` was sealed as `digest` since this boot and not been written to since.
pub(crate) fn holds(meta: &Metadata, digest: &Digest) -> bool {
    fraction(meta, digest) == Some(meta.mtime_nsec())
}

fn fraction(meta: &Metadata, digest: &Digest) -> Option<i64> {
    static BOOT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let boot = BOOT.get_or_init(|| fs_err::read("/proc/sys/kernel/random/boot_id").ok()).as_ref()?;
    let mut hasher = Hasher::new();
    hasher.part(b"kiln seal 1");
    hasher.part(boot);
    hasher.part(digest.as_bytes());
    for number in [meta.size(), meta.mtime().cast_unsigned()] {
        hasher.update(&number.to_le_bytes());
    }
    let [a, b, c, d, ..] = *hasher.finish().as_bytes();
    // Never zero, which is what a file system without fractions would keep.
    Some(i64::from(u32::from_le_bytes([a, b, c, d]) % 999_999_999) + 1)
}
