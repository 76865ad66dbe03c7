//! Root filesystems: `type=local` and `type=tar`.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use kiln_build::engine::Built;
use kiln_build::event::TaskKind;

use crate::args::output::Dest;
use crate::errors::{CliError, is_broken_pipe};
use crate::output::image::{Maker, place};
use crate::output::target::Target;

/// Writes the files as a directory. With several platforms (or `platform-split=true`) each gets a directory of its own, such
/// as `linux_arm64`. With `delete` what stood there before goes.
pub(crate) fn directory(
    maker: &Maker<'_>,
    dest: &Path,
    delete: bool,
    split: Option<bool>,
) -> Result<(), CliError> {
    let split = split.unwrap_or(maker.built.len() > 1);
    if !split && maker.built.len() > 1 {
        return Err(CliError::usage(
            "--output",
            "several platforms cannot share one directory (platform-split=false)",
        ));
    }
    maker.screen.during(TaskKind::Export, format!("export files to {}", dest.display()), |_| {
        if delete && dest.exists() {
            fs_err::remove_dir_all(dest)?;
        }
        for built in maker.built {
            let dest = if split { dest.join(folder(built)) } else { PathBuf::from(dest) };
            fs_err::create_dir_all(&dest)?;
            maker.engine.write_rootfs(built, &dest)?;
        }
        Ok(())
    })
}

/// Writes the files as one tar.
pub(crate) fn tar(maker: &Maker<'_>, dest: &Dest, split: Option<bool>) -> Result<(), CliError> {
    if maker.built.len() > 1 || split == Some(true) {
        return Err(CliError::NotYet { what: "type=tar for several platforms".to_owned() });
    }
    maker.screen.during(TaskKind::Export, format!("export files to {}", place(dest)), |_| {
        let mut target = Target::open(dest)?;
        for built in maker.built {
            let mut out = BufWriter::with_capacity(1 << 20, target.file());
            let written = maker.engine.write_rootfs_tar(built, &mut out);
            written.map_err(|e| if is_broken_pipe(&e.kind) { CliError::BrokenPipe } else { e.into() })?;
            std::io::Write::flush(&mut out)?;
        }
        target.finish()
    })
}

fn folder(built: &Built) -> String {
    built.platform.to_string().replace('/', "_")
}
