//! Where callers reach the gateway, for commands to copy.

use std::{fmt, sync::Arc};

use url::Url;

/// The gateway's URL without a slash at its end, as it stands before paths.
#[derive(Clone)]
pub(super) struct CallersUrl(Arc<str>);

impl CallersUrl {
    /// The URL; a placeholder where it is not known.
    pub(super) fn new(url: Option<&Url>) -> Self {
        let url = url.map(|url| url.as_str().trim_end_matches('/'));
        Self(url.unwrap_or("http://YOUR-GATEWAY").into())
    }
}

impl fmt::Display for CallersUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
