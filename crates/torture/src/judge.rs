//! Whether a store came through.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::kiln::Kiln;

/// How long the kernel may take to end what hung on a process that was killed.
const GRACE: Duration = Duration::from_secs(10);

/// What must hold after a disturbance: the next build works and gives the right image, it verifies, and a prune leaves nothing.
pub(crate) fn came_through(kiln: &Kiln<'_>, variant: u64) -> Result<(), Failure> {
    nobody_left(kiln)?;
    kiln.build_right(variant)?;
    is_clean(kiln)
}

/// All images verify, and after a prune there is nothing that is not finished.
pub(crate) fn is_clean(kiln: &Kiln<'_>) -> Result<(), Failure> {
    let layout = kiln.store.join("oci").display().to_string();
    kiln.run(&["verify", &layout])?;
    kiln.run(&["prune"])?;
    let mut left = Vec::new();
    for folder in ["tmp", "failed"] {
        for entry in fs_err::read_dir(kiln.store.join(folder))? {
            left.push(entry?.path().display().to_string());
        }
    }
    for entry in fs_err::read_dir(&kiln.store)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with('.') {
            left.push(name.to_string_lossy().into_owned());
        }
    }
    for entry in fs_err::read_dir(kiln.store.join("locks"))? {
        let name = entry?.file_name();
        if name != "collect" && name != "gate" {
            left.push(format!("lock {}", name.display()));
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::Left(left.join(", "))) }
}

/// Waits until no process and no mount is left of what was killed.
pub(crate) fn nobody_left(kiln: &Kiln<'_>) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let mut left = processes(&kiln.marks())?;
        left.extend(mounts(kiln)?);
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > GRACE {
            return Err(Failure::Left(left.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn processes(marks: &[String]) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let path = entry?.path();
        let is_process =
            path.file_name().is_some_and(|n| n.to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
        if !is_process {
            continue;
        }
        // One that ends meanwhile has nothing to say, and a zombie is its parent's business, which is us.
        let line = fs_err::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let program = fs_err::read_link(path.join("exe")).unwrap_or_default();
        let ours = |mark: &String| line.contains(mark.as_str()) || program.as_os_str() == mark.as_str();
        let is_we = path.ends_with(std::process::id().to_string());
        if !line.is_empty() && !is_we && marks.iter().any(ours) {
            found.push(format!("process {} ({})", path.display(), line.trim()));
        }
    }
    Ok(found)
}

fn mounts(kiln: &Kiln<'_>) -> Result<Vec<String>, Failure> {
    let inside = format!("{}/", kiln.store.display());
    let table = fs_err::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter(|line| line.contains(&inside)).map(|line| format!("mount {line}")).collect())
}
