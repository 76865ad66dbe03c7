//! Trees of layers in the store: whole ones, and those that are changes to another's.
//!
//! What a COPY makes after an edit is nearly what it made before. Its tree then is a folder with three things in it: `base`, the id of a
//! layer whose tree is whole, `changes`, a directory to lie upon that tree, and `gone`, the paths that have a whiteout there. Changes
//! are always to a whole tree, never to changes, so an edit costs at most one directory more in the overlay, however many came before it.
//!
//! A whiteout hides what lies below the whole layer, too. The same layer may come to lie upon other layers than when it was made, so
//! that is looked at wherever it is to be mounted, see [`hides`].

use std::io;
use std::path::PathBuf;

use kiln_layer::amend::amendment;
use kiln_layer::index::Index;
use kiln_layer::pack::{Entries, write_tree};
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_layer::unpack::{Form, Unpacker};
use kiln_layer::view::View;
use kiln_oci::crash::around;
use kiln_oci::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::BuildErrorKind;
use crate::layers::Layer;
use crate::layers::kept::{load_index, save_entries};
use crate::remove::remove_tree;
use crate::store::{Store, read_json, write_json};

/// Overlayfs takes 500 directories; layers with changes bring two each.
const MOST_LAYERS: usize = 100;

/// The directories that together are the tree of layer `id`, uppermost first; `None` if there is none.
pub(crate) fn of(store: &Store, id: &Digest) -> io::Result<Option<Vec<PathBuf>>> {
    let whole = store.tree_path(id);
    if whole.exists() {
        return Ok(Some(vec![whole]));
    }
    let Some(base) = base_of(store, id)? else { return Ok(None) };
    let (changes, base) = (store.amended_path(id).join(CHANGES), store.tree_path(&base));
    Ok((changes.exists() && base.exists()).then(|| vec![changes, base]))
}

/// The layer to whose tree that of `id` is changes, if it is that.
pub(crate) fn base_of(store: &Store, id: &Digest) -> io::Result<Option<Digest>> {
    match fs_err::read_to_string(store.amended_path(id).join(BASE)) {
        Ok(text) => Ok(text.parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file that names the layer which is changed.
pub(crate) const BASE: &str = "base";

/// The file with the paths that have a whiteout, each with a zero byte before it. It ends with one, so that a file that a power loss has
/// emptied does not say that there are none.
const GONE: &str = "gone";

/// Whether changes that are the tree of layer `id` hide something of `below`, of which the layer itself says nothing.
pub(crate) fn hides(store: &Store, id: &Digest, below: impl FnOnce() -> View) -> io::Result<bool> {
    let gone = match fs_err::read(store.amended_path(id).join(GONE)) {
        // An earlier kiln did not tell.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        gone => gone?,
    };
    if gone.last() != Some(&0) {
        return Ok(true);
    }
    let mut paths = gone.split(|byte| *byte == 0).filter(|path| !path.is_empty()).peekable();
    if paths.peek().is_none() {
        return Ok(false);
    }
    let below = below();
    for path in paths {
        if below.lookup(&LayerPath::clean(path))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an instruction made last.
#[derive(Serialize, Deserialize)]
struct Latest {
    layer: Digest,
}

/// A layer whose tree is whole, and its index.
pub(crate) struct Model {
    id: Digest,
    index: Index,
}

/// The layer that the instruction called `name` made last, or the one of which that is changes, if its tree is here.
pub(crate) fn latest(store: &Store, name: &Digest) -> Result<Option<Model>, BuildErrorKind> {
    let Some(latest) = read_json::<Latest>(&store.latest_path(name))? else { return Ok(None) };
    let id = base_of(store, &latest.layer)?.unwrap_or(latest.layer);
    if !store.tree_path(&id).exists() || !store.index_path(&id).exists() {
        return Ok(None);
    }
    Ok(Some(Model { index: load_index(store, &id)?, id }))
}

/// Remembers that the instruction called `name` made `layer`.
pub(crate) fn note_latest(store: &Store, name: &Digest, layer: &Layer) -> Result<(), BuildErrorKind> {
    Ok(write_json(&store.tmp(), &store.latest_path(name), &Latest { layer: layer.id })?)
}

/// Makes a layer of `entries` whose tree is changes to that of `model`, if that serves.
pub(crate) fn amend(
    store: &Store,
    entries: &dyn Entries,
    (model, below): (&Model, &View),
    stop: Stop<'_>,
) -> Result<Option<Layer>, BuildErrorKind> {
    if below.layers().len() > MOST_LAYERS {
        return Ok(None);
    }
    let Some(changes) = amendment(entries, &model.index, below)? else { return Ok(None) };
    let unfinished = store.temporary("tree-")?;
    fs_err::write(unfinished.path().join(BASE), model.id.to_string())?;
    let mut gone: Vec<u8> = changes.gone().flat_map(|path| [b"\0", path.as_bytes()].concat()).collect();
    gone.push(0);
    fs_err::write(unfinished.path().join(GONE), gone)?;
    let dir = unfinished.path().join(CHANGES);
    fs_err::create_dir(&dir)?;
    let unpacker = Unpacker::new(&dir, Form::Overlay, store.owners())?;
    write_tree(&changes, &[], unpacker.above(below).until(stop))?;
    let layer = save_entries(store, entries)?;
    let _turn = store.lock(&format!("tree-{}", layer.id.hex())).map_err(|e| e.kind)?;
    if of(store, &layer.id)?.is_none() {
        let path = store.amended_path(&layer.id);
        // One whose base is gone.
        remove_tree(&path)?;
        let unfinished = unfinished.keep();
        around(|| fs_err::rename(unfinished, &path))?;
    }
    Ok(Some(layer))
}

/// The directory of changes in the folder of an amended tree.
pub(crate) const CHANGES: &str = "changes";
