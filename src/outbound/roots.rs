//! Trusted root certificates.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::Error;

/// The system's roots, or Mozilla's where the system has none.
pub(super) fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Unreadable files beside readable ones are the system's concern: what counts is that any root
    // is left.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        roots.add_parsable_certificates(bundled);
    }
    roots
}

/// Adds the certificates of a file in PEM or DER.
pub(super) fn add(roots: &mut RootCertStore, file: Vec<u8>) -> Result<(), Error> {
    let read = read(file)?;
    // A file without any certificate would be trusted to no effect.
    if read.is_empty() {
        return Err(Error::NoCertificate);
    }
    for certificate in read {
        roots.add(certificate).map_err(|_| Error::Certificate)?;
    }
    Ok(())
}

/// TLS that trusts `roots`.
pub(super) fn client(roots: Arc<RootCertStore>) -> Result<ClientConfig, Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn read(bytes: Vec<u8>) -> Result<Vec<CertificateDer<'static>>, Error> {
    const PEM: &[u8] = b"-----BEGIN";
    if memchr::memmem::find(&bytes, PEM).is_none() {
        return Ok(vec![bytes.into()]);
    }
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Certificate)
}
