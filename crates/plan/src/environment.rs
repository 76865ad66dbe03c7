//! The environment of a RUN: what was set, one thing upon the other.
//!
//! A file may set thousands of variables with a RUN behind each of them. So an environment is a list whose older part is shared
//! by all that came after, and a RUN holds the place in it where it stands.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Variables in the order in which they were first set, with the values that they were last set to.
///
/// Taking a copy costs nothing, and neither does setting a variable; reading costs what all that was ever set does.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Listed", into = "Listed")]
pub struct Environment(Option<Arc<Setting>>);

struct Setting {
    variable: Variable,
    before: Environment,
}

/// One variable of an [`Environment`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: Arc<str>,
    /// Its value.
    pub value: Arc<str>,
    /// Whether the image itself has a variable of this name. If not, it is a build argument.
    pub of_image: bool,
}

impl Environment {
    /// Sets a variable.
    pub(crate) fn set(&mut self, variable: Variable) {
        let before = Self(self.0.take());
        self.0 = Some(Arc::new(Setting { variable, before }));
    }

    /// Each variable once.
    pub fn variables(&self) -> Vec<Variable> {
        let settings: Vec<&Variable> = self.newest_first().collect();
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(settings.len());
        let mut list: Vec<Variable> = Vec::with_capacity(settings.len());
        for setting in settings.into_iter().rev() {
            let place = *places.entry(&setting.name).or_insert(list.len());
            match list.get_mut(place) {
                Some(known) => {
                    known.value = setting.value.clone();
                    known.of_image |= setting.of_image;
                }
                None => list.push(setting.clone()),
            }
        }
        list
    }

    /// Names and values, to be added to.
    pub fn pairs(&self) -> Vec<(String, String)> {
        texts(self.variables())
    }

    /// Whether `name` is the name of a build argument, and not of a variable of the image.
    pub fn is_argument(&self, name: &str) -> bool {
        let mut settings = self.newest_first().filter(|setting| *setting.name == *name).peekable();
        settings.peek().is_some() && settings.all(|setting| !setting.of_image)
    }

    fn newest_first(&self) -> impl Iterator<Item = &Variable> {
        std::iter::successors(self.0.as_deref(), |setting| setting.before.0.as_deref())
            .map(|setting| &setting.variable)
    }
}

fn texts(variables: Vec<Variable>) -> Vec<(String, String)> {
    variables.into_iter().map(|one| (one.name.to_string(), one.value.to_string())).collect()
}

impl fmt::Debug for Environment {
    /// What is set, not how it came about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables()).finish()
    }
}

impl Drop for Environment {
    /// One after the other: the list may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut setting) = next.and_then(Arc::into_inner) {
            next = setting.before.0.take();
        }
    }
}

/// How it is written.
#[derive(Serialize, Deserialize)]
struct Listed {
    env: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl From<Listed> for Environment {
    fn from(Listed { env, arguments }: Listed) -> Self {
        let arguments: HashSet<String> = arguments.into_iter().collect();
        let mut environment = Self::default();
        for (name, value) in env {
            let of_image = !arguments.contains(&name);
            environment.set(Variable { name: name.into(), value: value.into(), of_image });
        }
        environment
    }
}

impl From<Environment> for Listed {
    fn from(environment: Environment) -> Self {
        let variables = environment.variables();
        let arguments = variables.iter().filter(|variable| !variable.of_image);
        let arguments = arguments.map(|one| one.name.to_string()).collect();
        Self { arguments, env: texts(variables) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(environment: &mut Environment, name: &str, value: &str, of_image: bool) {
        environment.set(Variable { name: name.into(), value: value.into(), of_image });
    }

    fn shown(environment: &Environment) -> String {
        let shown = environment.pairs().into_iter().map(|(name, value)| {
            format!("{name}{}{value}", if environment.is_argument(&name) { '~' } else { '=' })
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut environment = Environment::default();
        set(&mut environment, "PATH", "/bin", true);
        set(&mut environment, "A", "1", false);
        let early = environment.clone();
        set(&mut environment, "PATH", "argument", false);
        set(&mut environment, "B", "2", false);
        set(&mut environment, "A", "3", true);
        assert_eq!(shown(&early), "PATH=/bin A~1");
        assert_eq!(shown(&environment), "PATH=argument A=3 B~2");
        assert!(!environment.is_argument("C"));
    }

    #[test]
    fn writing_keeps_names_values_and_kinds() {
        let mut environment = Environment::default();
        for (name, value, of_image) in [("A", "1", true), ("B", "2", false), ("A", "3", false)] {
            set(&mut environment, name, value, of_image);
        }
        let text = serde_json::to_string(&environment).unwrap();
        assert_eq!(text, r#"{"env":[["A","3"],["B","2"]],"arguments":["B"]}"#);
        let read: Environment = serde_json::from_str(&text).unwrap();
        assert_eq!(shown(&read), "A=3 B~2");
    }

    #[test]
    fn a_long_one_ends_without_deep_calls() {
        let mut environment = Environment::default();
        for i in 0..300_000 {
            set(&mut environment, "A", if i % 2 == 0 { "even" } else { "odd" }, false);
        }
        let copy = environment.clone();
        drop(environment);
        assert_eq!(shown(&copy), "A~odd");
        assert_eq!(format!("{copy:?}"), r#"[Variable { name: "A", value: "odd", of_image: false }]"#);
    }
}
