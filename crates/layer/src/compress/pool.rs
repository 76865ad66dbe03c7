//! Blocks through a few threads, in order.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stop::Stop;

/// How often a stop is looked for while nothing else comes.
const LOOK: Duration = Duration::from_millis(20);

/// A block on its way: what goes in, and room for what comes out. Both are used again for later blocks.
#[derive(Default)]
pub(super) struct Block {
    pub(super) plain: Vec<u8>,
    pub(super) packed: Vec<u8>,
}

/// Turns a block's plain bytes into packed ones. What takes long asks whether to go on.
pub(super) type Work = fn(&mut Block, i32, Stop<'_>) -> io::Result<()>;
type Done = io::Result<Block>;
type Job = (Block, SyncSender<Done>);

/// Workers, and the blocks that are with them, oldest first. With one thread the caller does the work itself.
pub(super) struct Pool<'a> {
    work: (Work, i32),
    /// Blocks that may be under way.
    most: usize,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    running: VecDeque<Receiver<Done>>,
    stop: Stop<'a>,
    /// Nobody wants the blocks any more that are with workers or wait for one.
    abandoned: Arc<AtomicBool>,
}

impl<'a> Pool<'a> {
    /// Workers that do `work` at its level. Besides the block that each of them has, `ahead` more may be under way: what is easy and
    /// what is hard lies together in a layer, and meanwhile whoever hands blocks in should not have to wait.
    pub(super) fn new((threads, ahead): (usize, usize), work: (Work, i32)) -> io::Result<Self> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut pool = Self {
            work,
            most: threads + ahead,
            jobs: None,
            workers: Vec::new(),
            running: VecDeque::new(),
            stop: Stop::NEVER,
            abandoned: abandoned.clone(),
        };
        if threads <= 1 {
            return Ok(pool);
        }
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let (receiver, abandoned) = (receiver.clone(), abandoned.clone());
            let worker = std::thread::Builder::new().name("compress".to_owned());
            pool.workers.push(worker.spawn(move || serve(&receiver, work, &abandoned))?);
        }
        pool.jobs = Some(sender);
        Ok(pool)
    }

    /// From now on it ends when `stop` says so.
    pub(super) fn until(&mut self, stop: Stop<'a>) {
        self.stop = stop;
    }

    /// Hands a block in. Returns the oldest if as many are under way as are allowed.
    pub(super) fn push(&mut self, mut block: Block) -> io::Result<Option<Block>> {
        let Some(jobs) = &self.jobs else {
            let (work, level) = self.work;
            return work(&mut block, level, self.stop).map(|()| Some(block));
        };
        let (sender, receiver) = sync_channel(1);
        jobs.send((block, sender)).map_err(|_| lost())?;
        self.running.push_back(receiver);
        if self.running.len() > self.most { self.pop() } else { Ok(None) }
    }

    /// Waits for the oldest block; `None` if there is none.
    pub(super) fn pop(&mut self) -> io::Result<Option<Block>> {
        let Some(oldest) = self.running.pop_front() else { return Ok(None) };
        loop {
            match oldest.recv_timeout(LOOK) {
                Ok(done) => return done.map(Some),
                Err(RecvTimeoutError::Timeout) => self.stop.check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
            }
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.running.clear();
        for worker in self.workers.drain(..) {
            // A worker that panicked has been noticed as a lost block.
            let _ = worker.join();
        }
    }
}

fn serve(jobs: &Mutex<Receiver<Job>>, (work, level): (Work, i32), abandoned: &AtomicBool) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((mut block, result)) = next else { return };
        if abandoned.load(Ordering::Relaxed) {
            return;
        }
        let done = work(&mut block, level, Stop::when(abandoned)).map(|()| block);
        // Nobody waits any more if the compressor was dropped.
        let _ = result.send(done);
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "a compression thread died")
}
