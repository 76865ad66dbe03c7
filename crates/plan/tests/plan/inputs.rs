//! `inputs.json` of a case.

use std::path::Path;

use fs_err as fs;
use kiln_oci::config::{DEFAULT_PATH, ImageConfig};
use kiln_oci::platform::Platform;
use kiln_plan::model::{BaseKey, ImageOrigin};
use kiln_plan::{ContextKind, Inputs};
use serde_json::{Value, json};

/// What the command line and the registry would say.
pub(crate) struct Case {
    pub(crate) inputs: Inputs,
    bases: Value,
}

impl Case {
    /// Reads `inputs.json`; a case without one builds for and on linux/amd64 with nothing said.
    pub(crate) fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("inputs.json")).unwrap_or_else(|_| "{}".to_owned());
        let value: Value = serde_json::from_str(&text).expect("inputs.json is JSON");
        let known = ["target", "args", "contexts", "platform", "build_platform", "labels", "bases"];
        let keys = value.as_object().expect("an object").keys();
        keys.for_each(|key| {
            assert!(known.contains(&key.as_str()), "unknown key {key} in {}", folder.display())
        });
        let platform = |key: &str| value[key].as_str().unwrap_or("linux/amd64").parse().expect("a platform");
        let mut inputs = Inputs::new(platform("platform"));
        inputs.platform_given = value["platform"].is_string();
        inputs.build_platform = platform("build_platform");
        inputs.target = value["target"].as_str().map(str::to_owned);
        inputs.build_args = pairs(&value["args"]).into_iter().collect();
        inputs.labels = pairs(&value["labels"]);
        let contexts = pairs(&value["contexts"]).into_iter();
        inputs.contexts = contexts.map(|(name, text)| (name, context(&text))).collect();
        Self { inputs, bases: value["bases"].clone() }
    }

    /// The configuration of a base image: what the case gives under its name, on top of a plain one.
    pub(crate) fn base(&self, key: &BaseKey) -> ImageConfig {
        let (ImageOrigin::Registry(name) | ImageOrigin::Layout(name)) = &key.origin;
        let Platform { os, architecture, variant } = &key.platform;
        let mut config = json!({"Env": [format!("PATH={DEFAULT_PATH}")], "Cmd": ["sh"]});
        if let Some(given) = self.bases.get(name) {
            config = given.clone();
        }
        serde_json::from_value(json!({
            "os": os, "architecture": architecture, "variant": variant, "config": config,
            "created": "2020-01-01T00:00:00Z", "history": [{"created_by": format!("base {name}")}],
        }))
        .expect("an image configuration")
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let object = value.as_object().into_iter().flatten();
    object.map(|(key, value)| (key.clone(), value.as_str().expect("a string").to_owned())).collect()
}

fn context(text: &str) -> ContextKind {
    if let Some(image) = text.strip_prefix("docker-image://") {
        return ContextKind::Image(image.to_owned());
    }
    match text.strip_prefix("oci-layout://") {
        Some(layout) => ContextKind::Layout(layout.to_owned()),
        None => ContextKind::Directory,
    }
}
