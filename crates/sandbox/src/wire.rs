//! What travels between `spawn` and its helper, and how.
//!
//! One socket pair carries everything. For each step the caller sends a frame with what can be set up before all is known, the files for input
//! and output, and a frame with the request; the helper answers with frames, of which the last says that nothing of the step is left.
//! The socket's closing has a meaning of its own: towards the helper it says "kill the step", towards the caller "nothing is left".

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A frame longer than this is not one of ours.
const FRAME_LIMIT: u32 = 1 << 30;

/// Writes `value` as a frame: length as 4 bytes, little endian, then JSON.
pub(crate) fn send<T: Serialize>(mut to: impl Write, value: &T) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length < FRAME_LIMIT);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&frame)
}

/// Reads one frame; `None` when the other side closed before a frame began.
pub(crate) fn receive<T: DeserializeOwned>(from: impl Read) -> io::Result<Option<T>> {
    Frame::receive(from)?.map(|frame| frame.value()).transpose()
}

/// A frame that may go on to somebody else as it came.
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    pub(crate) fn value<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(serde_json::from_slice(self.0.get(4..).unwrap_or_default())?)
    }

    pub(crate) fn send(&self, mut to: impl Write) -> io::Result<()> {
        to.write_all(&self.0)
    }

    /// Reads one; `None` when the other side closed before it began.
    pub(crate) fn receive(mut from: impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let size = u32::from_le_bytes(length);
        if size >= FRAME_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; 4 + size as usize];
        frame[..4].copy_from_slice(&length);
        from.read_exact(&mut frame[4..])?;
        Ok(Some(Self(frame)))
    }
}

/// Sends an open file, between frames.
pub(crate) fn send_file(to: &UnixStream, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = [file];
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    rustix::net::sendmsg(to, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send_file`] sent.
pub(crate) fn receive_file(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    files.find_map(|mut files| files.next()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Bytes as a JSON string of the code points 0 to 255: compact, and exact for any content.
pub(crate) mod bytes {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn encode(bytes: &[u8]) -> String {
        bytes.iter().copied().map(char::from).collect()
    }

    pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        encode(bytes).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        decode(&text).ok_or_else(|| D::Error::custom("a character above 255 in bytes"))
    }
}

/// Optional bytes, see [`bytes`].
pub(crate) mod optional_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(super::bytes::encode).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.and_then(|text| super::bytes::decode(&text)))
    }
}

/// A path, which need not be UTF-8, as in [`bytes`].
pub(crate) mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(path.as_os_str().as_bytes(), to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        super::bytes::deserialize(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

/// A list of paths, see [`path`].
pub(crate) mod paths {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Item(#[serde(with = "super::path")] PathBuf);

    pub(crate) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(|path| Item(path.clone())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(Vec::<Item>::deserialize(from)?.into_iter().map(|item| item.0).collect())
    }
}

/// An I/O error as its number, so that the caller sees the helper's error as its own.
pub(crate) mod errno {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
        error.raw_os_error().unwrap_or(libc::EIO).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<io::Error, D::Error> {
        i32::deserialize(from).map(io::Error::from_raw_os_error)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Odd {
        #[serde(with = "path")]
        path: PathBuf,
        #[serde(with = "bytes")]
        content: Vec<u8>,
        #[serde(with = "optional_bytes")]
        none: Option<Vec<u8>>,
    }

    #[test]
    fn frames_carry_every_byte() {
        let odd = Odd {
            path: PathBuf::from(OsStr::from_bytes(b"/a\xff\n\"b")),
            content: (0..=255).collect(),
            none: None,
        };
        let mut stream = Vec::new();
        send(&mut stream, &odd).unwrap();
        send(&mut stream, &odd).unwrap();
        let mut rest = stream.as_slice();
        assert_eq!(receive(&mut rest).unwrap(), Some(Odd { ..receive(&mut &stream[..]).unwrap().unwrap() }));
        assert_eq!(receive(&mut rest).unwrap(), Some(odd));
        assert_eq!(receive::<Odd>(&mut rest).unwrap(), None);
        assert!(receive::<Odd>(&stream[..10]).is_err(), "a frame cut short");
    }
}
