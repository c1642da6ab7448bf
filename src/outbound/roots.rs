//! Which root certificates are trusted.

use reqwest::{Certificate, ClientBuilder};

use super::Error;

pub(super) struct Roots {
    extra: Vec<Certificate>,
    /// Only where the system has no roots at all.
    bundled: Option<Vec<Certificate>>,
}

impl Roots {
    pub(super) fn load(extra: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, Error> {
        let mut roots = Vec::new();
        for bytes in extra {
            let read = read(&bytes).map_err(|source| Error::Certificate { source })?;
            // A file without any certificate would be trusted to no effect.
            if read.is_empty() {
                return Err(Error::NoCertificate);
            }
            roots.extend(read);
        }
        Ok(Self {
            extra: roots,
            bundled: system_has_none().then(bundled).transpose()?,
        })
    }

    pub(super) fn trust(&self, builder: ClientBuilder) -> ClientBuilder {
        let extra = self.extra.iter().cloned();
        match &self.bundled {
            Some(bundled) => builder.tls_certs_only(bundled.iter().cloned().chain(extra)),
            None => builder.tls_certs_merge(extra),
        }
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Certificate>, reqwest::Error> {
    const PEM: &[u8] = b"-----BEGIN";
    if memchr::memmem::find(bytes, PEM).is_some() {
        Certificate::from_pem_bundle(bytes)
    } else {
        Ok(vec![Certificate::from_der(bytes)?])
    }
}

fn system_has_none() -> bool {
    // Unreadable files beside readable ones are the system's business: what counts is whether
    // any root is left.
    rustls_native_certs::load_native_certs().certs.is_empty()
}

fn bundled() -> Result<Vec<Certificate>, Error> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Certificate { source })
}
