//! What is known of one file.

use kiln_layer::bytes::{Cursor, put_number, put_signed};
use kiln_layer::rows::Row;
use kiln_oci::digest::Digest;
use rustix::fs::{Stat, Statx, major, minor};

/// The clock of file systems ticks in steps of up to this many nanoseconds (a kernel tick at 100 Hz, doubled).
const GRAIN: i128 = 20_000_000;

/// That of file systems which keep no fractions of a second (ext3, FAT's two seconds).
const COARSE: i128 = 2_000_000_000;

/// What identifies a file's content without reading it. Times are in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime: i128,
    pub(super) ctime: i128,
}

impl Stamp {
    pub(crate) fn of(stat: &Statx) -> Self {
        let nanos =
            |t: &rustix::fs::StatxTimestamp| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
        Self {
            dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            ino: stat.stx_ino,
            size: stat.stx_size,
            mtime: nanos(&stat.stx_mtime),
            ctime: nanos(&stat.stx_ctime),
        }
    }

    /// The same out of the older call.
    pub(crate) fn of_stat(stat: &Stat) -> Self {
        let nanos = |secs: i64, nanos: u64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self {
            dev: u64::from(major(stat.st_dev)) << 32 | u64::from(minor(stat.st_dev)),
            ino: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the file could have changed after a look at the time `now` and be the same by its stamp.
    pub(super) fn is_racy(&self, now: i128) -> bool {
        let grain = if self.ctime % 1_000_000_000 == 0 { COARSE } else { GRAIN };
        self.ctime.max(self.mtime) > now - grain
    }
}

/// What was found in a file that had this stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(super) stamp: Stamp,
    /// The digest of its content, if that was read.
    pub(crate) digest: Option<Digest>,
    /// That it has no attributes.
    pub(crate) no_xattrs: bool,
}

impl Row for Known {
    fn put(&self, out: &mut Vec<u8>) {
        for number in [self.stamp.dev, self.stamp.ino, self.stamp.size] {
            put_number(out, number);
        }
        for time in [self.stamp.mtime, self.stamp.ctime] {
            put_number(out, time as u64);
            put_signed(out, (time >> 64) as i64);
        }
        out.push(u8::from(self.no_xattrs) | u8::from(self.digest.is_some()) << 1);
        out.extend_from_slice(self.digest.as_ref().map_or(&[], |digest| digest.as_bytes()));
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let (dev, ino, size) = (from.number()?, from.number()?, from.number()?);
        let mut time = || {
            let low = i128::from(from.number()?);
            Some(i128::from(from.signed()?) << 64 | low)
        };
        let stamp = Stamp { dev, ino, size, mtime: time()?, ctime: time()? };
        let [flags] = *from.take(1)? else { return None };
        let digest = match flags & 2 {
            0 => None,
            _ => Some(Digest::from_bytes(from.take(32)?.try_into().ok()?)),
        };
        Some(Self { stamp, digest, no_xattrs: flags & 1 != 0 })
    }
}
