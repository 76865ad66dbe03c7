//! What can be wrong with a tar.

use std::io;

/// Why a tar cannot be read or written. `path` and `name` are for messages: lossy.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream itself failed.
    #[error("the archive cannot be read at byte {position}")]
    Read {
        /// Bytes from the start of the archive.
        position: u64,
        /// Why.
        source: io::Error,
    },
    /// The destination failed.
    #[error("the archive cannot be written at byte {position}")]
    Write {
        /// Bytes from the start of the archive.
        position: u64,
        /// Why.
        source: io::Error,
    },
    /// The stream ends within a member.
    #[error("the archive is cut off at byte {position}")]
    Truncated {
        /// Bytes from the start of the archive.
        position: u64,
    },
    /// A block that should be a header is none.
    #[error("no tar header at byte {position}: {field} is not valid")]
    Header {
        /// Bytes from the start of the archive.
        position: u64,
        /// Which field is wrong.
        field: &'static str,
    },
    /// An extended header (PAX record, GNU long name or sparse map) is malformed or larger than kiln accepts.
    #[error("extended header at byte {position}: {field} is not valid")]
    Extended {
        /// Bytes from the start of the archive.
        position: u64,
        /// Which part is wrong.
        field: &'static str,
    },
    /// A name climbs out of the root with `..`.
    #[error("{name:?} leaves the root of the archive")]
    Escapes {
        /// As written in the archive.
        name: String,
    },
    /// A name that no Linux file system takes: empty, with a NUL, above 4096 bytes or with a component above 255.
    #[error("{name:?} is not a usable file name")]
    Name {
        /// As written in the archive, shortened.
        name: String,
    },
    /// A whiteout that removes nothing nameable, such as `.wh..`.
    #[error("{name:?} is not a valid whiteout")]
    Whiteout {
        /// As written in the archive.
        name: String,
    },
    /// A member of a type that has no place in a root filesystem.
    #[error("{path} has the unknown type {flag:?}")]
    Type {
        /// Which member.
        path: String,
        /// The header's type flag.
        flag: char,
    },
    /// A hard link to something that the archive does not hold before it, or to a directory.
    #[error("{path} is a hard link to {target}, which is no earlier file of the archive")]
    Hardlink {
        /// Which member.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A member below something that is no directory.
    #[error("{path} stands below {ancestor}, which is no directory")]
    NotADirectory {
        /// Which member.
        path: String,
        /// What is in its way.
        ancestor: String,
    },
    /// Symbolic links on the way to a member lead in a circle.
    #[error("{path} stands behind more than 40 symbolic links")]
    Loop {
        /// Which member.
        path: String,
    },
    /// An owner that Linux cannot hold.
    #[error("{path} has the owner {id}, which is not a user or group number")]
    Owner {
        /// Which member.
        path: String,
        /// The number.
        id: i128,
    },
    /// An attribute name that PAX records cannot carry (it holds `=`).
    #[error("{path} has the attribute {name:?}, which a tar cannot hold")]
    Attribute {
        /// Which member.
        path: String,
        /// The attribute.
        name: String,
    },
    /// A file has another number of bytes than its entry says.
    #[error("{path} has other than its {expected} bytes")]
    Size {
        /// Which member.
        path: String,
        /// Bytes that its entry promises.
        expected: u64,
    },
    /// A file's bytes could not be read while writing the archive.
    #[error("{path} cannot be read")]
    Content {
        /// Which member.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is known of the members, which does not all fit into memory, cannot be kept or read back.
    #[error("cannot keep the list of what is in the archive")]
    List {
        /// Why.
        source: io::Error,
    },
    /// The receiver of the members failed.
    #[error("{path} cannot be taken over")]
    Sink {
        /// Which member.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// A name for a message: lossy and not endless.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(512)]).into_owned()
}
