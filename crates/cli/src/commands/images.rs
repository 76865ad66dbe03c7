//! `kiln images`

use kiln_oci::inspect::{Inspection, inspect};
use kiln_oci::layout::Entry;
use kiln_oci::reference::Reference;
use serde_json::{Value, json};

use crate::args::{Format, ListArgs};
use crate::commands::{Setting, answer, answer_json, table};
use crate::errors::CliError;
use crate::render::text::bytes;

pub(super) fn run(list: ListArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let store = setting.content()?;
    let mut rows = Vec::new();
    for entry in store.layout().list()? {
        // A damaged image is still listed: that is how one finds out.
        let images = inspect(&store, &entry.descriptor).unwrap_or_default();
        rows.push((entry, images));
    }
    match list.format {
        Format::Json => answer_json(&rows.iter().map(|(e, i)| as_json(e, i)).collect::<Vec<_>>()),
        Format::Text => {
            let heads = ["NAME", "TAG", "ID", "CREATED", "SIZE", "PLATFORM"].map(str::to_owned).to_vec();
            let rows = rows.iter().map(|(e, i)| as_row(e, i));
            answer(&table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>()))
        }
    }
}

fn reference(entry: &Entry) -> Option<Reference> {
    let name = entry.name.as_ref()?;
    name.image_name.as_deref().unwrap_or(&name.ref_name).parse().ok()
}

fn as_row(entry: &Entry, images: &[Inspection]) -> Vec<String> {
    let (name, tag) = match (reference(entry), &entry.name) {
        (Some(r), _) => (r.familiar_name(), r.tag.unwrap_or_default()),
        (None, Some(name)) => (name.ref_name.clone(), String::new()),
        (None, None) => ("<none>".to_owned(), "<none>".to_owned()),
    };
    let id = match images {
        [one] => one.id,
        _ => entry.descriptor.digest,
    };
    let created = images.first().and_then(|i| i.config.created.as_deref());
    let created = created.and_then(|c| c.get(..19)).unwrap_or_default().replace('T', " ");
    let platforms: Vec<String> = images.iter().map(|i| i.platform.to_string()).collect();
    let size =
        if images.is_empty() { "damaged".to_owned() } else { bytes(images.iter().map(|i| i.size).sum()) };
    let id = id.hex().chars().take(12).collect();
    vec![name, tag, id, created, size, platforms.join(",")]
}

fn as_json(entry: &Entry, images: &[Inspection]) -> Value {
    let one = |i: &Inspection| {
        json!({
            "id": i.id,
            "manifest": i.manifest,
            "platform": i.platform.to_string(),
            "created": i.config.created,
            "size": i.size,
            "layers": i.layers.len(),
        })
    };
    json!({
        "name": entry.name.as_ref().map(|n| &n.ref_name),
        "reference": reference(entry).map(|r| r.to_string()),
        "digest": entry.descriptor.digest,
        "media_type": entry.descriptor.media_type,
        "images": images.iter().map(one).collect::<Vec<_>>(),
    })
}
