//! The system call filter: classic BPF over `struct seccomp_data`, see seccomp(2).
//!
//! An emitter of our own, because the filter answers three ways (allow, `EPERM`, `ENOSYS`) and must
//! know the 32 bit calls of a 64 bit host as well: a filter that ignores the architecture is
//! walked around by one `int 0x80`, and one that forbids it breaks 32 bit images.

use std::collections::BTreeMap;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter};

use crate::profile::{self, Call};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of the first argument, on a little-endian machine.
const FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = SECCOMP_RET_ALLOW;
const EPERM: u32 = SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// One system call interface: its `AUDIT_ARCH_*` value (linux/audit.h) and its column in the table.
struct Abi {
    architecture: u32,
    number: fn(&Call) -> u32,
}

#[cfg(target_arch = "x86_64")]
const ABIS: &[Abi] = &[
    Abi { architecture: 0xc000_003e, number: |call| call.x86_64 },
    Abi { architecture: 0x4000_0003, number: |call| call.i386 },
];
#[cfg(target_arch = "aarch64")]
const ABIS: &[Abi] = &[Abi { architecture: 0xc000_00b7, number: |call| call.aarch64 }];

/// The whole filter. Calls of an interface that is not in the table get `ENOSYS`.
pub(crate) fn docker_default() -> Vec<sock_filter> {
    let mut program = Vec::with_capacity(512);
    for abi in ABIS {
        let body = body(abi);
        program.push(load(ARCHITECTURE));
        // The body is longer than a conditional jump reaches.
        program.push(jump(BPF_JEQ, abi.architecture, 1, 0));
        program.push(jump(BPF_JA, body.len() as u32, 0, 0));
        program.extend(body);
    }
    program.push(answer(ENOSYS));
    program
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Refused,
    Unknown,
    Clone,
    Socket,
    Personality,
}

impl Verdict {
    /// Instructions that answer.
    fn program(self) -> Vec<sock_filter> {
        match self {
            Self::Allowed => vec![answer(ALLOW)],
            Self::Refused => vec![answer(EPERM)],
            Self::Unknown => vec![answer(ENOSYS)],
            Self::Clone => clone_rule(),
            Self::Socket => one_of(&profile::SOCKET_REFUSED, EPERM, ALLOW),
            Self::Personality => one_of(&profile::PERSONALITIES, ALLOW, EPERM),
        }
    }
}

/// The filter for one interface; it always answers.
fn body(abi: &Abi) -> Vec<sock_filter> {
    let mut program = vec![load(NUMBER)];
    program.extend(search(&ranges(abi.number)));
    program
}

/// Where each verdict begins to hold, by number, from 0 on. What is newer than the newest holds for the calls of x32, too.
fn ranges(number: fn(&Call) -> u32) -> Vec<(u32, Verdict)> {
    let ruled = [
        (profile::CLONE3, Verdict::Unknown),
        (number(&profile::CLONE), Verdict::Clone),
        (number(&profile::SOCKET), Verdict::Socket),
        (number(&profile::PERSONALITY), Verdict::Personality),
    ];
    let refused = profile::REFUSED.iter().map(|call| (number(call), Verdict::Refused));
    let mut starts = BTreeMap::from([(0, Verdict::Allowed), (profile::NEWEST + 1, Verdict::Unknown)]);
    for (number, verdict) in ruled.into_iter().chain(refused).filter(|(number, _)| *number != profile::NONE) {
        starts.insert(number, verdict);
        starts.entry(number + 1).or_insert(Verdict::Allowed);
    }
    let mut ranges: Vec<(u32, Verdict)> = starts.into_iter().collect();
    ranges.dedup_by_key(|(_, verdict)| *verdict);
    ranges
}

/// A search by halves. The kernel tries every number when it takes the filter in, so a long row of comparisons would be
/// paid for by each step, before its program begins.
fn search(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    let (low, high) = match ranges {
        [] => return vec![answer(ENOSYS)],
        [(_, verdict)] => return verdict.program(),
        _ => ranges.split_at(ranges.len() / 2),
    };
    let from = high[0].0;
    let (low, high) = (search(low), search(high));
    let mut program = match u8::try_from(low.len()) {
        Ok(length) => vec![jump(BPF_JGE, from, length, 0)],
        // Further than a conditional jump reaches.
        Err(_) => vec![jump(BPF_JGE, from, 0, 1), jump(BPF_JA, low.len() as u32, 0, 0)],
    };
    program.extend(low);
    program.extend(high);
    program
}

fn clone_rule() -> Vec<sock_filter> {
    let mask =
        sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: profile::CLONE_NAMESPACES };
    let mut rule = vec![load(FIRST_ARGUMENT), mask];
    if_then(&mut rule, BPF_JEQ, 0, &[answer(ALLOW)]);
    rule.push(answer(EPERM));
    rule
}

/// `then` if the first argument is one of `values`, else `otherwise`.
fn one_of(values: &[u32], then: u32, otherwise: u32) -> Vec<sock_filter> {
    let mut rule = vec![load(FIRST_ARGUMENT)];
    for value in values {
        if_then(&mut rule, BPF_JEQ, *value, &[answer(then)]);
    }
    rule.push(answer(otherwise));
    rule
}

/// Runs `then`, which must answer, if the loaded word compares so with `value`.
fn if_then(program: &mut Vec<sock_filter>, comparison: u32, value: u32, then: &[sock_filter]) {
    debug_assert!(then.len() < 256);
    program.push(jump(comparison, value, 0, then.len() as u8));
    program.extend_from_slice(then);
}

const BPF_JA: u32 = 0;

fn jump(comparison: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | comparison | BPF_K) as u16, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn answer(value: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bit that marks a call of the x32 interface, which shares x86_64's architecture value.
    const X32: u32 = 0x4000_0000;

    /// Runs the program as the kernel would, for the instructions that it uses.
    fn run(architecture: u32, number: u32, first: u32) -> u32 {
        let program = docker_default();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            let code = u32::from(step.code);
            at += 1;
            let mut branch = |taken: bool| at += usize::from(if taken { step.jt } else { step.jf });
            match code & 7 {
                BPF_LD => {
                    loaded = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => first,
                        other => panic!("load of {other}"),
                    }
                }
                BPF_ALU => loaded &= step.k,
                BPF_RET => return step.k,
                BPF_JMP => match code & 0xf0 {
                    BPF_JA => at += step.k as usize,
                    BPF_JEQ => branch(loaded == step.k),
                    BPF_JGE => branch(loaded >= step.k),
                    other => panic!("jump {other}"),
                },
                other => panic!("class {other}"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn answers() {
        const X86_64: u32 = 0xc000_003e;
        const I386: u32 = 0x4000_0003;
        let table = [
            (X86_64, 0, 0, ALLOW, "read"),
            (X86_64, 165, 0, EPERM, "mount"),
            (X86_64, 272, 0, EPERM, "unshare"),
            (X86_64, 250, 0, EPERM, "keyctl"),
            (X86_64, 321, 0, EPERM, "bpf"),
            (X86_64, 161, 0, ALLOW, "chroot"),
            (X86_64, 101, 0, ALLOW, "ptrace"),
            (X86_64, 56, 0x0100_0011, ALLOW, "clone"),
            (X86_64, 56, 0x1000_0011, EPERM, "clone(CLONE_NEWUSER)"),
            (X86_64, 435, 0, ENOSYS, "clone3"),
            (X86_64, 41, 2, ALLOW, "socket(AF_INET)"),
            (X86_64, 41, 38, EPERM, "socket(AF_ALG)"),
            (X86_64, 41, 40, EPERM, "socket(AF_VSOCK)"),
            (X86_64, 135, 8, ALLOW, "personality(PER_LINUX32)"),
            (X86_64, 135, 0x0004_0000, EPERM, "personality(ADDR_NO_RANDOMIZE)"),
            (X86_64, 466, 0, ALLOW, "the newest known"),
            (X86_64, 467, 0, ENOSYS, "a newer one"),
            (X86_64, X32, 0, ENOSYS, "read by x32"),
            (I386, 3, 0, ALLOW, "read"),
            (I386, 21, 0, EPERM, "mount"),
            (I386, 22, 0, EPERM, "umount"),
            (I386, 120, 0x1000_0011, EPERM, "clone(CLONE_NEWUSER)"),
            (I386, 165, 0, ALLOW, "getresuid, which is mount's number on x86_64"),
            (0xdead_beef, 0, 0, ENOSYS, "an unknown interface"),
        ];
        for (architecture, number, first, expected, name) in table {
            assert_eq!(run(architecture, number, first), expected, "{name} on {architecture:x}");
        }
    }

    #[test]
    fn each_number_gets_what_the_profile_says() {
        for abi in ABIS {
            let refused: Vec<u32> = profile::REFUSED.iter().map(abi.number).collect();
            let ruled = [&profile::CLONE, &profile::SOCKET, &profile::PERSONALITY].map(abi.number);
            for number in (0..1000).filter(|number| !ruled.contains(number)) {
                let expected = match number {
                    profile::CLONE3 => ENOSYS,
                    _ if number > profile::NEWEST => ENOSYS,
                    _ if refused.contains(&number) => EPERM,
                    _ => ALLOW,
                };
                assert_eq!(run(abi.architecture, number, 0), expected, "{number} on {:x}", abi.architecture);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_are_those_of_this_architecture() {
        let expected = [
            ("mount", libc::SYS_mount),
            ("unshare", libc::SYS_unshare),
            ("setns", libc::SYS_setns),
            ("bpf", libc::SYS_bpf),
            ("keyctl", libc::SYS_keyctl),
            ("kexec_load", libc::SYS_kexec_load),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("io_uring_setup", libc::SYS_io_uring_setup),
        ];
        for (name, number) in expected {
            let call = profile::REFUSED.iter().find(|call| call.name == name).expect(name);
            assert_eq!(i64::from(call.x86_64), number, "{name}");
        }
    }
}
