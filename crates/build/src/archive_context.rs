//! A build context that comes as a tar archive, such as `tar c . | kiln build -`.

use std::fs::File;
use std::path::Path;

use kiln_layer::compress::decompressor;
use kiln_layer::index::Kind;
use kiln_layer::tar::scan::scan;
use kiln_layer::unpack::{Form, Owners, Unpacker};

use crate::error::{BuildError, BuildErrorKind};

/// Unpacks `archive`, a tar that may be compressed, into the empty directory `dest`, which is then a context like any other.
/// Owners are not kept, since no step sees those of a context.
///
/// # Errors
/// If it is no archive, or one that leads out of `dest`; what was unpacked so far stays.
pub fn unpack_context(archive: File, dest: &Path) -> Result<(), BuildError> {
    unpack_dated(archive, dest)?;
    Ok(())
}

/// The same; tells the time of the newest regular file.
pub(crate) fn unpack_dated(archive: File, dest: &Path) -> Result<Option<i64>, BuildErrorKind> {
    let reader = decompressor(archive, None).map_err(BuildErrorKind::from)?;
    let mut unpacker = Unpacker::new(dest, Form::Plain, Owners::Mine)?;
    let scanned = scan(reader, dest, &mut unpacker)?;
    unpacker.finish()?;
    let mut newest = None;
    for entry in &scanned.index {
        let entry = entry?;
        if matches!(entry.kind, Kind::File { .. }) {
            newest = newest.max(Some(entry.mtime.secs));
        }
    }
    Ok(newest)
}
