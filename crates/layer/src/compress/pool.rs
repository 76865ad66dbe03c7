//! Blocks through a few threads, in order.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Turns a block into compressed bytes.
pub(super) type Work = Box<dyn FnOnce() -> io::Result<Vec<u8>> + Send>;
type Job = (Work, SyncSender<io::Result<Vec<u8>>>);

/// Workers, and the blocks that are with them, oldest first. With one thread the caller does the work itself.
pub(super) struct Pool {
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    running: VecDeque<Receiver<io::Result<Vec<u8>>>>,
}

impl Pool {
    pub(super) fn new(threads: usize) -> io::Result<Self> {
        let mut pool = Self { jobs: None, workers: Vec::new(), running: VecDeque::new() };
        if threads <= 1 {
            return Ok(pool);
        }
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            let worker = std::thread::Builder::new().name("compress".to_owned());
            pool.workers.push(worker.spawn(move || serve(&receiver))?);
        }
        pool.jobs = Some(sender);
        Ok(pool)
    }

    /// Hands a block in. Returns the oldest block's result if as many are under way as are allowed: two for each thread.
    pub(super) fn push(&mut self, work: Work) -> io::Result<Option<Vec<u8>>> {
        let Some(jobs) = &self.jobs else { return work().map(Some) };
        let (sender, receiver) = sync_channel(1);
        jobs.send((work, sender)).map_err(|_| lost())?;
        self.running.push_back(receiver);
        if self.running.len() > 2 * self.workers.len() { self.pop() } else { Ok(None) }
    }

    /// Waits for the oldest block; `None` if there is none.
    pub(super) fn pop(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(oldest) = self.running.pop_front() else { return Ok(None) };
        oldest.recv().map_err(|_| lost())?.map(Some)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        self.running.clear();
        for worker in self.workers.drain(..) {
            // A worker that panicked has been noticed as a lost block.
            let _ = worker.join();
        }
    }
}

fn serve(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((work, result)) = next else { return };
        // Nobody waits any more if the compressor was dropped.
        let _ = result.send(work());
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "a compression thread died")
}
