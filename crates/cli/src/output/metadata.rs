//! `--metadata-file` and `--iidfile`: what was built, for the script around it. The keys are those of buildx.

use kiln_oci::compose::ComposedImage;
use kiln_oci::digest::Digest;
use kiln_oci::reference::Reference;
use serde_json::{Map, Value, json};

/// The image's id as Docker counts it: the digest of its configuration, or of the index of several platforms.
pub(crate) fn id(image: &ComposedImage) -> Digest {
    match &image.configs[..] {
        [only] => only.digest,
        _ => image.root.digest,
    }
}

/// The object of a metadata file. Without an image (`type=local`) it is empty, as with buildx.
pub(crate) fn metadata(image: Option<&ComposedImage>, names: &[Reference]) -> Value {
    let mut all = Map::new();
    let Some(image) = image else { return Value::Object(all) };
    if let [only] = &image.configs[..] {
        all.insert("containerimage.config.digest".to_owned(), json!(only.digest));
    }
    all.insert("containerimage.descriptor".to_owned(), json!(image.root));
    all.insert("containerimage.digest".to_owned(), json!(image.root.digest));
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        all.insert("image.name".to_owned(), json!(names.join(",")));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use kiln_oci::descriptor::Descriptor;
    use kiln_oci::media_type::Flavour;

    use super::*;

    #[test]
    fn keys_of_buildx() {
        let config = Descriptor::of("application/vnd.oci.image.config.v1+json", b"c");
        let root = Descriptor::of("application/vnd.oci.image.manifest.v1+json", b"m");
        let image = ComposedImage {
            root: root.clone(),
            manifests: vec![root.clone()],
            configs: vec![config.clone()],
            flavour: Flavour::Oci,
        };
        let names = ["a:1".parse().unwrap(), "r.example/b".parse().unwrap()];
        let got = metadata(Some(&image), &names);
        assert_eq!(got["containerimage.digest"], json!(root.digest));
        assert_eq!(got["containerimage.config.digest"], json!(config.digest));
        assert_eq!(got["containerimage.descriptor"]["size"], 1);
        assert_eq!(got["image.name"], "docker.io/library/a:1,r.example/b:latest");
        assert_eq!(id(&image), config.digest);
        let two = ComposedImage { configs: vec![config.clone(), config], ..image };
        assert_eq!(id(&two), root.digest);
        assert_eq!(metadata(Some(&two), &[]).get("containerimage.config.digest"), None);
        assert_eq!(metadata(None, &[]), json!({}));
    }
}
