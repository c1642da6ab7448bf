//! What to do about a request that got no answer, in words for an operator.

use std::io;

use rustls::{CertificateError, Error as TlsError};
use url::Url;

use super::{Error, response::SendError};

impl Error {
    /// Why `url` is refused, and what an operator can do about it.
    #[cfg(feature = "admin")]
    pub(crate) fn advice_on(&self, url: &Url) -> String {
        let advice = place(url).and_then(|place| refused(self, url, &place));
        advice.unwrap_or_else(|| self.to_string())
    }
}

impl SendError {
    /// What went wrong on the way to `url`, and what an operator can do about it; `None` if that is
    /// not known. Names the host, so it is not for callers.
    pub(crate) fn advice(&self, url: &Url) -> Option<String> {
        let place = place(url)?;
        if let Some(error) = self.find::<Error>() {
            return refused(&error, url, &place);
        }
        if let Some(error) = self.find::<TlsError>() {
            return Some(tls(&error, url, &place));
        }
        if self.is_unresolved() {
            let host = url.host_str().unwrap_or_default();
            return Some(format!("no address is known for the name {host}"));
        }
        match (self.is_connect(), self.io_kind()?) {
            (true, io::ErrorKind::ConnectionRefused) => Some(format!("nothing listens at {place}")),
            (true, io::ErrorKind::TimedOut) => Some(format!(
                "{place} did not take the connection in time; a firewall may drop it"
            )),
            (true, kind) => Some(format!("connecting to {place} failed: {kind}")),
            (false, _) => None,
        }
    }
}

/// Host and port.
fn place(url: &Url) -> Option<String> {
    Some(format!(
        "{}:{}",
        url.host_str()?,
        url.port_or_known_default()?
    ))
}

fn refused(error: &Error, url: &Url, place: &str) -> Option<String> {
    let why = match error {
        Error::PlainHttp => "plain http",
        Error::Denied => match url.domain() {
            Some(_) => "the name leads to an address that is not public, which",
            None => "an address that is not public",
        },
        _ => return None,
    };
    Some(format!(
        "{why} is refused; if it is intended, allow it with --allow-egress {place}"
    ))
}

fn tls(error: &TlsError, url: &Url, place: &str) -> String {
    let host = url.host_str().unwrap_or_default();
    let TlsError::InvalidCertificate(error) = error else {
        return match error {
            TlsError::InvalidMessage(_) => format!("{place} does not speak TLS; is it plain http?"),
            TlsError::AlertReceived(alert) => {
                format!("{place} ended the TLS handshake: {alert:?}")
            }
            _ => format!("the TLS handshake with {place} failed"),
        };
    };
    match error {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {place} is of an authority that is not trusted here; \
             if it is your own, name its root certificate in ca_file"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the certificate of {place} has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {place} is not valid yet; is the clock right?")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate of {place} is for other names than {host}")
        }
        CertificateError::Revoked => format!("the certificate of {place} is revoked"),
        _ => format!(
            "the certificate of {place} is not accepted; one that signed itself has to be of a \
             root in ca_file, and no authority's own"
        ),
    }
}
