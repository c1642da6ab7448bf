//! The address of a server, its transport, and the credential that it gets.

use std::fmt;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use url::Url;

/// The transport by which a server is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Transport {
    /// A single endpoint for everything (2025-03-26 and later). If the server turns out to know
    /// only HTTP+SSE, that is used instead.
    #[default]
    StreamableHttp,
    /// HTTP+SSE (2024-11-05): a stream to listen on, and an endpoint to post to, which the stream
    /// names.
    Sse,
}

/// A server's URL, its transport, and the headers that every request to it carries.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
/// use mcp_layer::mcp::{Endpoint, Transport};
///
/// let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer 123"))]);
/// let url = "https://mcp.example.com/mcp?key=456".parse()?;
/// let endpoint = Endpoint::new(url, Transport::StreamableHttp, headers);
/// assert!(!format!("{endpoint:?}").contains("123"));
/// assert!(!format!("{endpoint:?}").contains("456"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Endpoint {
    /// The URL. The egress rules decide at each request whether it may be reached.
    pub url: Url,
    /// The transport to try first.
    pub transport: Transport,
    /// The credential. Never sent to another origin, and never part of an error or of `Debug`.
    pub headers: HeaderMap,
    /// Whether the server is told that the client authorizes itself, without a person (the extension
    /// `io.modelcontextprotocol/oauth-client-credentials`); default false.
    pub authorizes_itself: bool,
}

impl Endpoint {
    /// Creates an endpoint, and marks every header value as sensitive.
    #[must_use]
    pub fn new(url: Url, transport: Transport, mut headers: HeaderMap) -> Self {
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        Self {
            url,
            transport,
            headers,
            authorizes_itself: false,
        }
    }
}

impl fmt::Debug for Endpoint {
    /// Shows the origin, not the URL: paths and queries sometimes hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("origin", &self.url.origin().ascii_serialization())
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
