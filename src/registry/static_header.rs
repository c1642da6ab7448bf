//! A header with a secret value that is always sent.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use super::error::Error;

/// The longest value of a static header, in bytes; real keys and tokens are far shorter.
const VALUE_LEN: usize = 8 * 1024;

/// A header with a secret value that is sent with every request to a server, such as an API key.
///
/// `Debug` shows only its name. The value is wiped from memory when it is dropped.
///
/// ```
/// use mcp_layer::registry::StaticHeader;
///
/// let header = StaticHeader::new("x-api-key", "s3cret")?;
/// assert!(!format!("{header:?}").contains("s3cret"));
/// assert!(StaticHeader::new("host", "a.example").is_err());
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StaticHeader {
    name: HeaderName,
    value: SecretString,
    set_at: Option<SystemTime>,
}

impl StaticHeader {
    /// Creates a header with its whole value, such as `Bearer …` for `Authorization`.
    ///
    /// # Errors
    /// [`Error::Invalid`], which never contains the value:
    ///
    /// - for an invalid name, or a reserved one (framing, hop-by-hop, MCP's own or the trace's:
    ///   `Host`, `Content-Length`, `Connection`, `Mcp-Session-Id`, …);
    /// - for a value that is empty, longer than 8 KiB, or has characters that a header cannot
    ///   carry, such as a line break.
    pub fn new(name: &str, value: impl Into<SecretString>) -> Result<Self, Error> {
        let name: HeaderName = name.parse().map_err(|_| {
            Error::invalid(
                "auth.headers",
                "a header's name has characters that are not allowed",
            )
        })?;
        if is_reserved(&name) {
            return Err(Error::invalid(
                "auth.headers",
                format!(
                    "{name} is set by the connection or the protocol and cannot be a static header"
                ),
            ));
        }
        let value = value.into();
        let text = value.expose_secret();
        if text.is_empty() || text.len() > VALUE_LEN || HeaderValue::from_str(text).is_err() {
            return Err(Error::invalid(
                "auth.headers",
                format!(
                    "the value of {name} is empty, over {VALUE_LEN} bytes, or has characters that a header cannot carry"
                ),
            ));
        }
        Ok(Self {
            name,
            value,
            set_at: None,
        })
    }

    /// The header's name.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Creates a header whose stored value does not open, for [`Auth::Unreadable`](super::Auth). It
    /// can be shown, and is never sent.
    pub fn without_value(name: HeaderName) -> Self {
        Self {
            name,
            value: SecretString::default(),
            set_at: None,
        }
    }

    /// Replaces the time when the value was entered.
    #[must_use]
    pub fn with_set_at(mut self, at: Option<SystemTime>) -> Self {
        self.set_at = at;
        self
    }

    /// The time when the value was entered, if known.
    pub fn set_at(&self) -> Option<SystemTime> {
        self.set_at
    }

    /// The whole value, as it is sent.
    pub fn value(&self) -> &SecretString {
        &self.value
    }

    pub(super) fn to_header(&self) -> (HeaderName, HeaderValue) {
        // `new` has made sure that the value is one; an empty header would fail closed.
        let mut value = HeaderValue::from_str(self.value.expose_secret())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        (self.name.clone(), value)
    }
}

/// Returns `true` for the name of such a header, in any case.
#[cfg(feature = "admin")]
pub(crate) fn is_reserved_header(name: &str) -> bool {
    name.parse().is_ok_and(|name| is_reserved(&name))
}

/// Returns `true` if the connection (RFC 9110 section 7.6.1, RFC 9112 section 6), MCP or the trace
/// sets this header.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [HeaderName; 18] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("last-event-id"),
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("proxy-connection"),
        header::TE,
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    RESERVED.contains(name) || name.as_str().starts_with("mcp-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::Auth;

    #[test]
    fn framing_hop_by_hop_and_protocol_headers_are_refused() {
        for name in [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "TE",
            "Upgrade",
            "Mcp-Session-Id",
            "MCP-Protocol-Version",
            "Mcp-Param-X",
            "Last-Event-ID",
            "Accept",
            "Traceparent",
            "tracestate",
            "bad name",
            "",
            "x\r\ny",
        ] {
            assert!(StaticHeader::new(name, "v").is_err(), "{name:?}");
        }
        assert!(StaticHeader::new("Authorization", "Bearer x").is_ok());
        assert!(StaticHeader::new("x-api-key", "x").is_ok());
    }

    #[test]
    fn a_value_that_could_smuggle_is_refused_and_never_echoed() {
        for value in [
            "s3cret\r\nHost: evil",
            "s3cret\n",
            "s3cret\0",
            "",
            &"s3cret".repeat(2000),
        ] {
            let error = StaticHeader::new("x-api-key", value).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_header_given_twice_is_refused() {
        assert!(Auth::static_headers([("X-Key", "a"), ("x-key", "b")]).is_err());
    }

    #[test]
    fn debug_shows_no_value() {
        let auth = Auth::static_headers([("x-api-key", "s3cret")]).unwrap();
        assert!(!format!("{auth:?} {:?}", auth.headers()).contains("s3cret"));
        assert_eq!(auth.headers()["x-api-key"], "s3cret");
    }
}
