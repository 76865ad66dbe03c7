//! The index as bytes.

use kiln_layer::codec::{CodecError, decode};
use kiln_layer::index::{Index, Kind, Mtime};
use kiln_oci::digest::Digest;

use crate::support::{Rng, all_of, bytes, entry, path, spilled};

fn random_index(seed: u64, count: usize) -> Index {
    let mut rng = Rng(seed);
    let mut entries = Vec::new();
    for number in 0..count {
        let name = [b"dir/".as_slice(), &rng.bytes(3), number.to_string().as_bytes()].concat();
        let kind = match rng.below(8) {
            0 => Kind::Directory,
            1 => Kind::Symlink { target: rng.bytes(40) },
            2 => Kind::Hardlink { target: path("dir/x") },
            3 => Kind::CharDevice { major: rng.next() as u32, minor: 3 },
            4 => Kind::BlockDevice { major: 8, minor: rng.next() as u32 },
            5 => Kind::Fifo,
            6 => Kind::Whiteout,
            _ => Kind::File { size: rng.next() >> rng.below(64), digest: Digest::of(&rng.bytes(4)) },
        };
        let mut made = entry(name, kind, rng.below(0o10000) as u32);
        made.uid = (rng.next() >> rng.below(33).max(32)) as u32;
        made.mtime =
            Mtime { secs: rng.next().cast_signed() >> rng.below(60), nanos: rng.below(1_000_000_000) as u32 };
        for _ in 0..rng.below(3) {
            made.xattrs.insert(rng.bytes(6), rng.bytes(20));
        }
        made.offset = (rng.below(2) == 0).then(|| rng.below(1 << 40));
        entries.push(made);
    }
    Index::from_unsorted(entries, vec![path(""), path("dir"), path("dir/zz")])
}

#[test]
fn roundtrip() {
    for (seed, count) in [(1, 0), (2, 1), (3, 700), (4, 3000)] {
        let index = random_index(seed, count);
        let read = decode(bytes(&index)).unwrap();
        assert_eq!((bytes(&read), all_of(&read)), (bytes(&index), all_of(&index)), "seed {seed}");
        assert_eq!(bytes(&spilled(&index)), bytes(&index), "seed {seed}");
    }
}

#[test]
fn damage_is_noticed() {
    let bytes = bytes(&random_index(5, 20));
    for length in 0..bytes.len() {
        assert!(decode(bytes[..length].to_vec()).is_err(), "cut at {length}");
    }
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        assert!(decode(broken).is_err(), "byte {at} changed");
    }
    let newer = decode(b"KILNIDX\x02 and something newer than we know about".to_vec());
    assert!(matches!(newer, Err(CodecError::Magic)));
}

/// Bytes that were made up to carry a right checksum.
#[test]
fn nonsense_with_a_good_checksum_never_panics() {
    let bytes = bytes(&random_index(6, 30));
    let body = &bytes[..bytes.len() - 32];
    let mut rng = Rng(7);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut broken = body.to_vec();
        for _ in 0..=rng.below(3) {
            let at = 8 + rng.below(broken.len() as u64 - 8) as usize;
            broken[at] = rng.next() as u8;
        }
        if rng.below(4) == 0 {
            broken.truncate(8 + rng.below(broken.len() as u64 - 8) as usize);
        }
        let checksum = Digest::of(&broken);
        broken.extend_from_slice(checksum.as_bytes());
        match decode(broken) {
            Ok(index) => assert!(all_of(&index).is_sorted_by(|a, b| a.path < b.path)),
            Err(error) => {
                assert!(matches!(error, CodecError::Invalid { .. }), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 5_000, "only {refused} of 20000 mutants refused");
}
