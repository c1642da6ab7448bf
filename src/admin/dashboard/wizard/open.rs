//! Values of a draft that somebody still has to enter, since the file that it was imported from has
//! a placeholder in their place.

use secrecy::ExposeSecret;

use crate::{
    admin::import::placeholders,
    registry::{Auth, Server},
};

/// The fields that have placeholders, each with these.
pub(super) fn open(draft: &Server) -> Vec<(String, String)> {
    let headers = match &draft.auth {
        Auth::StaticHeaders(headers) => &headers[..],
        _ => &[],
    };
    let headers = headers.iter().map(|header| {
        let field = format!("The header {}", header.name());
        (field, placeholders(header.value().expose_secret()))
    });
    // A URL has braces encoded in its path.
    let url = draft.url.as_str().replace("%7B", "{").replace("%7D", "}");
    let url = ("The server URL".to_owned(), placeholders(&url));
    let open = [url].into_iter().chain(headers);
    let open = open.filter(|(_, placeholders)| !placeholders.is_empty());
    open.map(|(field, placeholders)| (field, placeholders.join(", ")))
        .collect()
}
