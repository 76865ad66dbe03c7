//! Media types of image documents and layers, in the OCI and the Docker spelling.

/// OCI image index (image-index.md).
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest (manifest.md).
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image configuration (config.md).
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed; `+gzip` and `+zstd` are appended to it (layer.md).
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer, uncompressed; `.gzip` and `.zstd` are appended to it.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

const OCI_FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// Which family of media types a document uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// The Open Container Initiative's.
    #[default]
    Oci,
    /// Docker's image manifest version 2, schema 2.
    Docker,
}

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Flavour {
    /// The media type of a manifest.
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    /// The media type of an index.
    pub fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_INDEX,
        }
    }

    /// The media type of a configuration.
    pub fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }

    /// The media type of a layer.
    pub fn layer(self, compression: LayerCompression) -> &'static str {
        match (self, compression) {
            (Self::Oci, LayerCompression::None) => OCI_LAYER,
            (Self::Oci, LayerCompression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, LayerCompression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Docker, LayerCompression::None) => DOCKER_LAYER,
            (Self::Docker, LayerCompression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, LayerCompression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }

    /// The spelling in this family of a layer's media type; what is no ordinary layer (foreign layers, artifacts) stays
    /// as it is.
    pub fn respell_layer(self, media_type: &str) -> &str {
        match compression_of(media_type) {
            Some(compression) if !is_nondistributable(media_type) => self.layer(compression),
            _ => media_type,
        }
    }
}

/// Whether it is an index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

/// Whether it is an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether it is an image configuration.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether it is a layer that is fetched from elsewhere than the image's registry (Windows base layers).
pub fn is_nondistributable(media_type: &str) -> bool {
    media_type.starts_with(OCI_FOREIGN_LAYER) || media_type.starts_with(DOCKER_FOREIGN_LAYER)
}

/// The compression that a layer's media type promises; `None` if it is no layer, or compressed in a way that is not
/// known here.
pub fn compression_of(media_type: &str) -> Option<LayerCompression> {
    let suffix = [OCI_LAYER, DOCKER_LAYER, OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER]
        .iter()
        .find_map(|stem| media_type.strip_prefix(stem))?;
    match suffix {
        "" => Some(LayerCompression::None),
        "+gzip" | ".gzip" => Some(LayerCompression::Gzip),
        "+zstd" | ".zstd" => Some(LayerCompression::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_type_tells_its_compression_and_respells() {
        for compression in [LayerCompression::None, LayerCompression::Gzip, LayerCompression::Zstd] {
            for flavour in [Flavour::Oci, Flavour::Docker] {
                let media_type = flavour.layer(compression);
                assert_eq!(compression_of(media_type), Some(compression), "{media_type}");
                assert_eq!(Flavour::Oci.respell_layer(media_type), Flavour::Oci.layer(compression));
            }
        }
    }

    #[test]
    fn foreign_layers_are_known_and_keep_their_type() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert!(is_nondistributable(foreign));
        assert_eq!(compression_of(foreign), Some(LayerCompression::Gzip));
        assert_eq!(Flavour::Oci.respell_layer(foreign), foreign);
    }

    #[test]
    fn what_is_no_layer_has_no_compression() {
        for media_type in
            [OCI_CONFIG, OCI_INDEX, "application/vnd.in-toto+json", "", &format!("{OCI_LAYER}+br")]
        {
            assert_eq!(compression_of(media_type), None, "{media_type}");
        }
    }
}
