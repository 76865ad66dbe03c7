//! Which extended attributes belong to an image and which to the machine.

/// Whether overlayfs itself keeps its books in `name` (kernel documentation, overlayfs.rst).
pub fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.")
}

/// Whether `name` is taken from and put on a disk: a user's own attributes and file capabilities. The rest is the
/// machine's: labels (`security.selinux`), access lists inherited from the store's directory, `trusted.*` that only root
/// sees. Taking those would make the bytes of a layer depend on the host.
pub fn belongs_to_image(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_overlay(name))
}

/// The value as an image holds it. A capability that was set inside a user namespace carries the namespace's root id on disk
/// (`VFS_CAP_REVISION_3`), which is the host's business: it becomes revision 2.
pub(crate) fn portable(name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    if name == b"security.capability" && value.len() == 24 && value[3] == 3 {
        value[3] = 2;
        value.truncate(20);
    }
    value
}
