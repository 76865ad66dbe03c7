//! The certificate authorities that a connection trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::error::Failure;

/// The PEM files that hold for `authority` (`host` or `host:port`): `common` and those of the `certs.d` folders.
pub(crate) fn files_for(common: &[PathBuf], certs_dirs: &[PathBuf], authority: &str) -> Vec<PathBuf> {
    let mut files = common.to_vec();
    // The authority comes out of a URL's host part, so it holds no slash; but it may be "..".
    if authority.contains("..") {
        return files;
    }
    for dir in certs_dirs {
        let Ok(entries) = fs_err::read_dir(dir.join(authority)) else { continue };
        let paths = entries.flatten().map(|entry| entry.path());
        let mut found: Vec<PathBuf> = paths.filter(|p| p.extension().is_some_and(|e| e == "crt")).collect();
        found.sort();
        files.append(&mut found);
    }
    files
}

/// The system's roots, and those in `files` besides.
pub(crate) fn load(files: &[PathBuf]) -> Result<RootCerts, Failure> {
    if files.is_empty() {
        return Ok(RootCerts::PlatformVerifier);
    }
    let mut roots = Vec::new();
    for file in files {
        roots.append(&mut read(file)?);
    }
    // What cannot be loaded of the system's roots is left out, as the platform verifier does.
    let system = rustls_native_certs::load_native_certs().certs;
    roots.extend(system.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()));
    Ok(RootCerts::Specific(Arc::new(roots)))
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let what = || format!("certificate file {}", path.display());
    let pem = fs_err::read(path).map_err(|cause| Failure::Local { what: what(), cause })?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(Failure::Malformed { what: what(), detail: e.to_string() }),
        }
    }
    if found.is_empty() {
        return Err(Failure::Malformed { what: what(), detail: "it holds no certificate".to_owned() });
    }
    Ok(found)
}
