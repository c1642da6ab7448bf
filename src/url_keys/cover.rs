//! URLs with their keys covered.

use url::Url;

use super::key::is_key;

/// The cover of a key: `…` as a URL encodes it.
pub(super) const COVERED: &str = "%E2%80%A6";

/// Returns the URL with its keys covered.
pub(crate) fn covered(url: &Url) -> Url {
    let mut covered = url.clone();
    let segments = url.path().split('/').map(cover_segment);
    covered.set_path(&segments.collect::<Vec<_>>().join("/"));
    if let Some(query) = url.query() {
        let parameters = query.split('&').map(cover_parameter);
        covered.set_query(Some(&parameters.collect::<Vec<_>>().join("&")));
    }
    covered
}

pub(super) fn cover_segment(segment: &str) -> String {
    let is_key = is_key(segment);
    (if is_key { COVERED } else { segment }).to_owned()
}

pub(super) fn cover_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        None if parameter.is_empty() => String::new(),
        None => COVERED.to_owned(),
        Some((name, "")) if !is_key(name) => parameter.to_owned(),
        Some((name, _)) => format!("{}={COVERED}", cover_segment(name)),
    }
}
