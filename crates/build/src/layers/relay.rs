//! A pipe between two threads: one writes, the other reads, a few large buffers go back and forth between them.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of one buffer: large enough that handing it over costs nothing beside filling it.
const BUFFER: usize = 256 << 10;

/// Buffers of a relay that are full and wait to be read.
const AHEAD: usize = 4;

/// A new relay. Memory is bounded by a handful of buffers, made as they are needed.
pub(crate) fn relay() -> (Inlet, Outlet) {
    let (full, filled) = sync_channel(AHEAD);
    // As many as are filled, being filled and being read: giving one back never blocks.
    let (give_back, empty) = sync_channel(AHEAD + 2);
    let inlet = Inlet { full, empty, current: Vec::new(), filled: 0 };
    (inlet, Outlet { filled, give_back, current: Vec::new(), at: 0, over: false })
}

/// Where bytes go in. Unless [`Inlet::finish`] is called, the other side ends with an error.
pub(crate) struct Inlet {
    full: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
    current: Vec<u8>,
    filled: usize,
}

/// Where they come out.
pub(crate) struct Outlet {
    filled: Receiver<Message>,
    give_back: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    over: bool,
}

enum Message {
    Bytes(Vec<u8>),
    /// All was written.
    End,
    /// Writing failed with this.
    Failed(io::Error),
}

impl Inlet {
    /// Writes all that `from` gives, without a copy on the way; `seen` is shown each piece before anybody else.
    ///
    /// # Errors
    /// Of `from` or `seen`; [`io::ErrorKind::BrokenPipe`] once the reader has gone.
    pub(crate) fn pour(
        &mut self,
        from: &mut dyn Read,
        mut seen: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            self.current.resize(BUFFER, 0);
            let count = match from.read(&mut self.current[self.filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let piece = self.filled..self.filled + count;
            self.filled = piece.end;
            seen(&self.current[piece])?;
            if self.filled == BUFFER {
                self.send()?;
            }
        }
    }

    /// Nothing more comes, because this is all or because of an error, which is what the reader gets then.
    pub(crate) fn finish(mut self, how: io::Result<()>) {
        let last = match how {
            Ok(()) => self.send().map(|()| Message::End),
            Err(error) => Ok(Message::Failed(error)),
        };
        // A reader that has gone does not want to know.
        if let Ok(last) = last {
            let _ = self.full.send(last);
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let next = self.empty.try_recv().unwrap_or_default();
        let mut full = std::mem::replace(&mut self.current, next);
        full.truncate(self.filled);
        self.filled = 0;
        self.full.send(Message::Bytes(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Lets `work` read what `reader` gives while `reader` is read ahead on another thread.
pub(crate) fn ahead<T>(mut reader: impl Read + Send, work: impl FnOnce(Outlet) -> T) -> T {
    let (mut inlet, outlet) = relay();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let poured = inlet.pour(&mut reader, |_| Ok(()));
            inlet.finish(poured);
        });
        work(outlet)
    })
}

impl Outlet {
    /// Takes the next buffer; `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        if self.over {
            return Ok(false);
        }
        let read = std::mem::take(&mut self.current);
        if read.capacity() > 0 {
            let _ = self.give_back.try_send(read);
        }
        self.at = 0;
        match self.filled.recv() {
            Ok(Message::Bytes(bytes)) => {
                self.current = bytes;
                return Ok(true);
            }
            Ok(Message::End) => {}
            Ok(Message::Failed(error)) => {
                self.over = true;
                return Err(error);
            }
            Err(_) => {
                self.over = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.over = true;
        Ok(false)
    }
}

impl Read for Outlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() && !self.next()? {
            return Ok(0);
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, as networks do.
    struct Pieces<'a>(&'a [u8]);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(70_001);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (mut inlet, mut outlet) = relay();
        let bytes: Vec<u8> = (0..BUFFER * 9 + 17).map(|i| ((i * 31) >> 3) as u8).collect();
        let expected = bytes.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut seen = 0;
                let pieces = &mut Pieces(&bytes);
                let poured = inlet.pour(pieces, |piece| {
                    seen += piece.len();
                    Ok(())
                });
                inlet.finish(poured);
                assert_eq!(seen, bytes.len());
            });
            let mut read = Vec::new();
            outlet.read_to_end(&mut read).expect("all of it");
            assert!(read == expected);
        });
    }

    #[test]
    fn each_side_learns_how_the_other_ended() {
        let (inlet, mut outlet) = relay();
        inlet.finish(Err(io::ErrorKind::InvalidData.into()));
        let read = |outlet: &mut Outlet| outlet.read(&mut [0]).map_err(|e| e.kind());
        assert_eq!(read(&mut outlet), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(&mut outlet), Ok(0));
        let (inlet, mut outlet) = relay();
        drop(inlet);
        assert_eq!(read(&mut outlet), Err(io::ErrorKind::UnexpectedEof));
        let (mut inlet, outlet) = relay();
        drop(outlet);
        let written = inlet.pour(&mut io::repeat(0).take(2 * BUFFER as u64), |_| Ok(()));
        assert_eq!(written.map_err(|e| e.kind()), Err(io::ErrorKind::BrokenPipe));
    }
}
