//! Ctrl-C reaches what waits for the network: a registry that accepts a connection and never answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often it is looked whether somebody wants to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Does `work`; if `cancel` is set meanwhile, `stop` is called, which breaks connections: whatever waits for one ends at once. No thread is left afterwards, for the
/// process may have to enter a namespace then, which only a process of one thread can.
pub(crate) fn watched<T>(stop: &(dyn Fn() + Sync), cancel: &AtomicBool, work: impl FnOnce() -> T) -> T {
    let (over, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if cancel.load(Ordering::Relaxed) {
                    stop();
                    return;
                }
            }
        });
        let done = work();
        drop(over);
        done
    })
}
