//! Where the values of variables come from.

use std::collections::{BTreeMap, HashMap};

/// Where values come from.
pub trait Lookup {
    /// The value of `name`, if it is set (an empty value is).
    fn get(&self, name: &str) -> Option<String>;

    /// All names, to suggest a near one for a misspelt.
    fn names(&self) -> Vec<String>;
}

/// Nothing is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVariables;

impl Lookup for NoVariables {
    fn get(&self, _name: &str) -> Option<String> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Lookup for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

impl Lookup for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.keys().cloned().collect();
        names.sort();
        names
    }
}

/// Pairs in order, the last of a name counts.
impl Lookup for Vec<(String, String)> {
    fn get(&self, name: &str) -> Option<String> {
        self.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|(key, _)| key.clone()).collect()
    }
}
