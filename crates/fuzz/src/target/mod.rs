//! The targets. Each takes any bytes, panics when something does not hold, and returns what kind of input it was.

mod address;
mod expander;
mod mending;
mod parser;
mod patterns;
mod planning;
mod tar;

/// A target: its name, which is that of its folder in `testdata/fuzz`, and the function.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Where its seeds are besides its own folder, from the repository's root.
    pub seeds: &'static [&'static str],
    /// Panics when something does not hold; inputs with different results are of different kinds.
    pub run: fn(&[u8]) -> u64,
}

/// All targets.
pub const ALL: [Target; 6] = [
    Target {
        name: "parser",
        seeds: &["testdata/shapes", "testdata/dockerfile", "testdata/plan"],
        run: parser::parse_all,
    },
    Target { name: "expander", seeds: &[], run: expander::expand },
    Target { name: "ignore", seeds: &[], run: patterns::ignore_file },
    Target { name: "source", seeds: &[], run: parser::source },
    Target { name: "address", seeds: &["testdata/fuzz/source"], run: address::address },
    Target { name: "tar", seeds: &[], run: tar::read },
];

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    ALL.into_iter().find(|target| target.name == name)
}
