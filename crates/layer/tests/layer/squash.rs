//! Layers made one.

use std::sync::Arc;

use kiln_layer::handle::LayerHandle;
use kiln_layer::path::LayerPath;
use kiln_layer::squash::squash;
use kiln_layer::view::View;

use crate::support::{Rng, bare};
use crate::view::random_layer;

/// What shows, whichever layer it comes from.
fn shown(layers: Vec<Arc<LayerHandle>>) -> Vec<String> {
    let view = View::new(layers);
    view.walk(&LayerPath::root()).map(|found| format!("{:?}", found.unwrap().entry)).collect()
}

/// Whatever lies below and above, one layer in the place of several shows what they show.
#[test]
fn one_layer_shows_what_several_do() {
    for seed in 1..=2000 {
        let mut rng = Rng(seed);
        let mut some = |most: u64| -> Vec<Arc<LayerHandle>> {
            (0..rng.below(most + 1)).map(|_| random_layer(&mut rng)).collect()
        };
        let (below, layers, above) = (some(2), some(4), some(1));
        let squashed = squash(&layers).unwrap();
        let opaque: Vec<String> = squashed.opaque.iter().map(LayerPath::display).collect();
        let opaque: Vec<&str> = opaque.iter().map(String::as_str).collect();
        let one = vec![bare(&squashed.entries, &opaque)];
        let want = shown([below.clone(), layers, above.clone()].concat());
        assert_eq!(shown([below, one, above].concat()), want, "seed {seed}");
    }
}
