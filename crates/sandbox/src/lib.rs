//! kiln-sandbox: run one process in namespaces over a root filesystem, as root or as nobody special.
//!
//! # What it does
//!
//! [`spawn`] takes a [`Spec`], plain data that says what `/` is, which program runs as whom, and what is
//! mounted where, and returns a [`Running`] process that sees nothing of the host: own process ids,
//! mounts, host name, IPC, control groups and, if asked, network; Docker's default capabilities and
//! system call filter; a private `/dev`; masked `/proc` and `/sys`. What the process changes ends
//! up in the upper directory of an overlay and nothing else does: mount points that the image lacks
//! leave no trace. Images, layers and Dockerfiles are unknown here.
//!
//! [`probe`] finds out, by trying, which [`Rung`] of the privilege ladder the host permits, and what
//! would permit a better one. [`enter_user_namespace`] climbs it: it starts the program over
//! inside a user namespace in which it is root, so that everything else is written once, for root.
//!
//! # Why it is shaped so
//!
//! A process with threads must not fork and go on, for another thread may hold a lock at that moment;
//! neither can it enter a user namespace. So nothing here forks its caller. A helper is the same
//! executable started again, and [`run_helper_if_asked`] must be the first line of `main`, before
//! any thread exists. The request travels through a socket that is the helper's standard input: never
//! in arguments or environment, since it holds secrets, and by no inherited descriptor number, since
//! other threads' children would inherit it too. The socket is also the life line: when the caller
//! closes it or dies, the step is killed.
//!
//! The helper forks process 1 of the new namespaces, and that one the program. Process 1 reaps orphans;
//! when it exits the kernel kills whatever the program left running, so after [`Running::wait`] nobody
//! writes to the upper directory any more.
//!
//! Namespaces, `/proc`, `/sys`, `/dev` and the system call filter are most of what a short process costs, and depend on little. [`Helpers`]
//! have them made for the next process while one is at work, and use a helper again whose process is over.
//!
//! The root filesystem is hostile. Mount points are resolved beneath its root by handle and mounts
//! are attached by handle, so a symbolic link to `/../../etc` leads into the image's own `/etc`. A
//! program may make device nodes, but every mount that it can write to ignores them.
//!
//! All `unsafe` code of the program stands in one file here, `sys.rs`.
//!
//! Linux 5.12 or newer is needed (`mount_setattr`); overlays of more than some 200 layers need 6.7.
//!
//! # Example
//!
//! ```no_run
//! use kiln_sandbox::{Exit, Network, Rootfs, Security, Spec, Stdio};
//!
//! fn main() -> Result<(), kiln_sandbox::Error> {
//!     kiln_sandbox::run_helper_if_asked();
//!     let spec = Spec {
//!         rootfs: Rootfs::Overlay {
//!             lower: vec!["/store/tree/base".into()],
//!             upper: "/store/tmp/upper".into(),
//!             work: "/store/tmp/work".into(),
//!         },
//!         argv: ["/bin/sh", "-c", "echo hello > /greeting"].map(String::from).into(),
//!         env: vec![("PATH".into(), "/usr/bin:/bin".into())],
//!         cwd: "/".into(),
//!         uid: 0,
//!         gid: 0,
//!         groups: vec![],
//!         hostname: "build".into(),
//!         mounts: vec![],
//!         network: Network::None,
//!         security: Security::Sandbox,
//!         resolv_conf: None,
//!         hosts: b"127.0.0.1 localhost\n".to_vec(),
//!         ulimits: vec![],
//!         shm_size: None,
//!         stubs: "/store/tmp/stubs".into(),
//!     };
//!     let running = kiln_sandbox::spawn(&spec, Stdio::Inherited)?;
//!     assert_eq!(running.wait()?, Exit::Code(0));
//!     Ok(())
//! }
//! ```

mod backstage;
mod beneath;
mod entry;
mod error;
mod helper;
mod ids;
mod kernelfs;
mod mount;
mod overlay;
mod payload;
mod probe;
mod profile;
mod rung;
mod running;
mod seccomp;
mod spec;
mod step;
mod stubs;
mod sys;
mod termination;
mod tree;
mod userns;
mod wire;

pub use entry::run_helper_if_asked;
pub use error::{Action, Error, IdKind};
pub use probe::{Finding, Probe, probe};
pub use rung::Rung;
pub use running::{Helpers, Killer, Running, spawn, spawn_interactive};
pub use spec::{Exit, Mount, MountKind, Network, Rootfs, Scratch, Security, Spec, Stdio, Ulimit};
pub use sys::open_terminal;
pub use termination::{StopSignal, install_signal_flag, termination_requested};
pub use userns::{enter_user_namespace, inside_user_namespace};
