//! `kiln tag`, `kiln rmi`, and how an image of the store is found by what somebody typed.

use kiln_dockerfile::suggest::nearest;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::layout::{Entry, EntryName};
use kiln_oci::reference::Reference;
use kiln_oci::store::ContentStore;

use crate::args::{RmiArgs, TagArgs};
use crate::commands::{Setting, answer};
use crate::errors::CliError;

/// The shortest beginning of a digest that is taken for one.
const SHORTEST_DIGEST: usize = 6;

/// Finds an image: by name, by digest, by the beginning of its digest (of the manifest or index, or of the configuration).
pub(super) fn find(store: &ContentStore, text: &str) -> Result<Descriptor, CliError> {
    if let Some(found) = store.layout().resolve(text)? {
        return Ok(found);
    }
    let entries = store.layout().list()?;
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.len() >= SHORTEST_DIGEST && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let found =
            entries.iter().find(|e| e.descriptor.digest.hex().starts_with(hex) || has_id(store, e, hex));
        if let Some(entry) = found {
            return Ok(entry.descriptor.clone());
        }
    }
    Err(unknown(&entries, text))
}

fn has_id(store: &ContentStore, entry: &Entry, hex: &str) -> bool {
    // An image that cannot be read has no id that it could be found by.
    kiln_oci::inspect::inspect(store, &entry.descriptor)
        .is_ok_and(|images| images.iter().any(|i| i.id.hex().starts_with(hex)))
}

fn unknown(entries: &[Entry], text: &str) -> CliError {
    let known: Vec<&str> =
        entries.iter().filter_map(|e| e.name.as_ref()).map(|n| n.ref_name.as_str()).collect();
    let parts = known.iter().filter_map(|name| name.rsplit_once(':')).map(|(name, _)| name);
    let options: Vec<&str> = known.iter().copied().chain(parts).collect();
    // Another tag of the same repository is nearer than any misspelling.
    let wanted = text.parse::<Reference>().ok();
    let sibling = known.iter().find(|name| {
        let other = name.parse::<Reference>().ok();
        matches!((&wanted, &other), (Some(a), Some(b)) if a.name() == b.name())
    });
    CliError::UnknownImage {
        name: text.to_owned(),
        nearest: sibling.map(|s| (*s).to_owned()).or_else(|| nearest(text, options, true)),
    }
}

/// `kiln tag`
pub(super) fn tag(args: &TagArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let _lease = setting.lease()?;
    let store = setting.content()?;
    let mut image = find(&store, &args.image)?;
    image.annotations.clear();
    let names = args.names.iter().map(|name| name.parse::<Reference>()).collect::<Result<Vec<_>, _>>()?;
    let entries: Vec<EntryName> = names.iter().map(EntryName::stored).collect();
    Ok(store.layout().put(&entries, &image)?)
}

/// `kiln rmi`: names go, what nothing names goes with the next prune. All must be there, or nothing is done.
pub(super) fn remove(args: &RmiArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let _lease = setting.lease()?;
    let store = setting.content()?;
    let mut wanted = Vec::new();
    for text in &args.images {
        wanted.push((text, find(&store, text)?));
    }
    let mut said = String::new();
    for (text, image) in wanted {
        if !store.layout().untag(text)? {
            // It was found by its digest: all its names go.
            store.layout().retain(|entry| entry.descriptor.digest != image.digest)?;
        }
        said.push_str(&format!("removed {text} ({})\n", image.digest));
    }
    answer(&said)
}
