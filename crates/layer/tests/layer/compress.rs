//! Compression: the same bytes whatever the threads, readable by everybody.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_layer::compress::{Compression, Compressor, Format, decompressor, detect};
use kiln_layer::stop::{Stop, Stopped};
use kiln_oci::digest::Digest;

use crate::support::{Rng, read_all, run, sh};

/// Text-like, empty and random stretches by turns.
fn sample(length: usize) -> Vec<u8> {
    let mut rng = Rng(99);
    let mut bytes = Vec::with_capacity(length + 100_000);
    while bytes.len() < length {
        match rng.below(4) {
            0 => bytes.extend_from_slice(&rng.bytes(150_000)),
            1 => bytes.resize(bytes.len() + 60_000, 0),
            _ => {
                for _ in 0..4000 {
                    let word = rng.below(500);
                    bytes.extend_from_slice(format!("word{word} ").as_bytes());
                }
            }
        }
    }
    bytes.truncate(length);
    bytes
}

fn compress(data: &[u8], compression: Compression, threads: usize, write: usize) -> Vec<u8> {
    let mut out = Compressor::new(Vec::new(), compression, threads).unwrap();
    for piece in data.chunks(write.max(1)) {
        out.write_all(piece).unwrap();
        // Must not leave a trace.
        out.flush().unwrap();
    }
    out.finish().unwrap()
}

fn decompress(data: &[u8], format: Option<Format>) -> std::io::Result<Vec<u8>> {
    read_all(decompressor(data, format)?)
}

#[test]
fn bytes_depend_on_neither_threads_nor_write_sizes() {
    let mib = 1 << 20;
    for length in [0, 1, mib - 1, mib, mib + 1, 3 * mib + 12_345, 9 * mib] {
        let data = sample(length);
        for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
            let reference = compress(&data, compression, 1, usize::MAX);
            for (threads, write) in [(2, 4096), (8, 77_777), (0, 1_000_003)] {
                let other = compress(&data, compression, threads, write);
                assert!(other == reference, "{compression:?}, {length} bytes, {threads} threads, by {write}");
            }
            assert!(decompress(&reference, Some(compression.format())).unwrap() == data);
            let told = if compression == Compression::None { Format::None } else { compression.format() };
            assert_eq!(detect(&reference), told, "{compression:?}, {length} bytes");
        }
    }
}

/// The bytes of a released kiln must not change without somebody deciding so: they are in people's digests.
#[test]
fn golden_digests() {
    let data = sample(5_000_000);
    let cases = [
        (Compression::Gzip { level: 1 }, "57079633c4ea998f8807185d1afad2335c0d8df1638c6a52afd8802c2939548a"),
        (Compression::Gzip { level: 6 }, "9958d8085a6b581c3fbceb404964bd09389cf048cca14fb5a660cfd1638d21e3"),
        (Compression::Gzip { level: 9 }, "4b7af2580e60dd0a547f30e629278561ce14bf011aecb3d95fe9c3265b0649c9"),
        (Compression::Zstd { level: 3 }, "08ea84f0388a57331fded4b772cc2908e5aceadc18e67caa6c777b8ce4f26abc"),
        // Other searches than those of level 3, which zstd does with vectors where it can; the last one piece by piece.
        (Compression::Zstd { level: 9 }, "e850af3de1736c12083b4fd025f36b90911d3147654a9b6b64ada82c9071f84e"),
        (Compression::Zstd { level: 19 }, "9f2b458a82dea8b37348ae6f282d77be814d5748639bbd211e8db46b6194eae0"),
    ];
    let got = cases.map(|(how, _)| Digest::of(&compress(&data, how, 2, 65_536)).hex());
    assert_eq!(got.each_ref().map(String::as_str), cases.map(|(_, want)| want));
}

#[test]
fn other_tools_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = sample(2_500_000);
    fs_err::write(dir.path().join("data"), &data).unwrap();
    for (compression, name) in [(Compression::GZIP, "a.gz"), (Compression::ZSTD, "a.zst")] {
        fs_err::write(dir.path().join(name), compress(&data, compression, 2, 10_000)).unwrap();
    }
    sh("gzip -t a.gz; gzip -dc a.gz | cmp - data; zstd -qt a.zst; zstd -qdc a.zst | cmp - data", dir.path());
}

#[test]
fn what_does_not_shrink_is_stored() {
    let data = Rng(3).bytes(3 << 20);
    let packed = compress(&data, Compression::GZIP, 2, usize::MAX);
    assert!(packed.len() < data.len() + data.len() / 5_000, "{} bytes became {}", data.len(), packed.len());
    assert!(decompress(&packed, None).unwrap() == data);
    // Evenly spread, and yet the same 20 KiB over and over: must not be taken for incompressible.
    let repeated = data[..20_000].repeat(100);
    let packed = compress(&repeated, Compression::GZIP, 2, usize::MAX);
    assert!(packed.len() < 100_000, "2000000 repeated bytes became {}", packed.len());
}

#[test]
fn foreign_formats() {
    let dir = tempfile::tempdir().unwrap();
    let data = sample(400_000);
    fs_err::write(dir.path().join("data"), &data).unwrap();
    let cases = [
        ("gzip -c data", Format::Gzip),
        ("head -c 1000 data | gzip; tail -c +1001 data | gzip", Format::Gzip),
        ("bzip2 -c data", Format::Bzip2),
        ("head -c 1000 data | bzip2; tail -c +1001 data | bzip2", Format::Bzip2),
        ("xz -c data", Format::Xz),
        ("xz -9 -c data", Format::Xz),
        ("zstd -qc data", Format::Zstd),
        ("head -c 1000 data | zstd -q; tail -c +1001 data | zstd -q", Format::Zstd),
        ("cat data", Format::None),
    ];
    for (command, format) in cases {
        let bytes = run("sh", &["-ec", command], dir.path());
        assert_eq!(detect(&bytes), format, "{command}");
        assert!(decompress(&bytes, None).unwrap() == data, "{command}");
        if format == Format::None {
            continue;
        }
        for cut in [7, bytes.len() / 2, bytes.len() - 1] {
            assert!(decompress(&bytes[..cut], Some(format)).is_err(), "{command}, cut at {cut}");
        }
        let mut broken = bytes.clone();
        let middle = broken.len() / 2;
        broken[middle..middle + 20].fill(0x55);
        assert!(decompress(&broken, Some(format)).is_err(), "{command}, damaged");
    }
}

#[test]
fn levels_out_of_range_are_refused() {
    for bad in [
        Compression::Gzip { level: 10 },
        Compression::Zstd { level: 0 },
        Compression::Zstd { level: 23 },
        Compression::Zstd { level: -1 },
    ] {
        assert!(Compressor::new(Vec::new(), bad, 1).is_err(), "{bad:?}");
    }
}

/// An error of the destination comes out, and nothing hangs.
#[test]
fn a_full_disk_is_told() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let data = Rng(4).bytes(12 << 20);
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let mut out = Compressor::new(Full(5 << 20), compression, 3).unwrap();
        let result = out.write_all(&data).and_then(|()| out.finish().map(|_| ()));
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}

#[test]
fn a_slow_block_can_be_left_undone() {
    let data = sample(6 << 20);
    for threads in [1, 2] {
        let asked = AtomicUsize::new(0);
        let stopping = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
        let slow = Compression::Zstd { level: 22 };
        let mut out = Compressor::new(Vec::new(), slow, threads).unwrap().until(Stop::when(&stopping));
        let error = out.write_all(&data).and_then(|()| out.finish()).unwrap_err();
        assert!(error.get_ref().is_some_and(|cause| cause.is::<Stopped>()), "{threads} threads: {error:?}");
    }
}

/// An xz stream that asks for gigabytes of dictionary is refused before they are taken.
#[test]
fn a_greedy_xz_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = run("sh", &["-ec", "echo hello | xz -c --lzma2=dict=1GiB"], dir.path());
    let mut reader = decompressor(bytes.as_slice(), None).unwrap();
    assert!(reader.read(&mut [0; 10]).is_err());
}
