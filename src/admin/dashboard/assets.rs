//! The files that pages load besides HTML: compiled in, and kept by browsers under names that
//! change with the content.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use sha2::{Digest, Sha256};

use super::super::fault::{Code, Fault};

use crate::hex::hex;

/// A file, with a name such as `style.0123456789abcdef.css`.
pub(super) struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    content: &'static str,
    hash: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::new("style", "css", "text/css; charset=utf-8", STYLE),
        Asset::new("script", "js", "text/javascript; charset=utf-8", SCRIPT),
        Asset::new("icon", "svg", "image/svg+xml", ICON),
    ]
});

const STYLE: &str = concat!(
    include_str!("assets/base.css"),
    include_str!("assets/layout.css"),
    include_str!("assets/controls.css"),
    include_str!("assets/servers.css"),
    include_str!("assets/tools.css"),
    include_str!("assets/traces.css"),
    include_str!("assets/models.css"),
    include_str!("assets/operators.css"),
    include_str!("assets/api_keys.css"),
    include_str!("assets/overview.css"),
);
const SCRIPT: &str = concat!(
    include_str!("assets/script.js"),
    include_str!("assets/live.js"),
);
const ICON: &str = include_str!("assets/icon.svg");

impl Asset {
    fn new(
        stem: &'static str,
        extension: &'static str,
        kind: &'static str,
        content: &'static str,
    ) -> Self {
        let hash = Sha256::digest(content);
        Self {
            stem,
            extension,
            kind,
            content,
            hash: hex(&hash[..8]),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}.{}.{}", self.stem, self.hash, self.extension)
    }

    /// The hash in a name of this file, be it of this version or of another one.
    fn hash_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let name = name.strip_prefix(self.stem)?.strip_prefix('.')?;
        name.strip_suffix(self.extension)?.strip_suffix('.')
    }
}

pub(super) fn style() -> &'static Asset {
    &ASSETS[0]
}

pub(super) fn script() -> &'static Asset {
    &ASSETS[1]
}

pub(super) fn icon() -> &'static Asset {
    &ASSETS[2]
}

/// `GET /assets/{file}`
///
/// Another version's name, from a page of another replica, gets what there is, for this once.
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Fault> {
    let mut found = ASSETS
        .iter()
        .filter_map(|asset| Some((asset, asset.hash_in(&name)?)));
    let Some((asset, hash)) = found.next() else {
        return Err(Fault::new(Code::NotFound, "there is no such file"));
    };
    let tag = format!("\"{}\"", asset.hash);
    let kept = match hash == asset.hash {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let is_known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, asset.kind)], asset.content).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}
