//! kiln from outside: the finished binary, as root and as ordinary users, on real input, judged by other people's tools.
//! `testdata/test.sh` prepares the machine and runs this. One module a subject.

mod carrying;
mod checks;
mod determinism;
mod files_only;
mod interrupt;
mod judges;
mod ladder;
mod language;
mod mistakes;
mod outputs;
mod past;
mod readme;
mod real;
mod registries;
mod remote;
mod secrets;
mod shell;
mod store;
