//! The target for what browsers send along.

use std::sync::LazyLock;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Uri, header::COOKIE};

use super::{
    builder::Admin, dashboard, import, outside::Outside, parts::Parts, session::Sessions, visits,
};
use crate::{
    fuzz_input::{text, url},
    registry::MemoryRegistry,
};

/// An operator's side, with the cookie of a signed-in browser.
static ADMIN: LazyLock<(Sessions, Outside, String)> = LazyLock::new(|| {
    let token = "a-token-of-many-random-characters".into();
    let admin = Admin::new(
        MemoryRegistry::default(),
        dashboard::fuzz::CONNECTIONS.clone(),
        token,
    )
    .expect("a token");
    let parts = Parts::from(admin.with_public_url(url("https://gateway.example/admin")));
    let outside = Outside::of(&parts.hosts, &Uri::from_static("/"), &HeaderMap::new());
    let operator = parts.operators.all().remove(0);
    let begun = parts.sessions.begin(&operator).now_or_never();
    let set = begun.expect("a store in memory").expect("a session");
    let (cookie, _) = text(set.as_bytes()).split_once(';').expect("a cookie");
    let cookie = cookie.to_owned();
    (parts.sessions, outside.expect("an address"), cookie)
});

/// The target for forms and queries.
pub(crate) fn forms(data: &[u8]) {
    dashboard::fuzz::forms(data);
}

/// The target for files of servers.
pub(crate) fn mcp_json(data: &[u8]) {
    import::fuzz::mcp_json(data);
}

/// Asserts that no cookie but the genuine one is a session; a byte 1 in the headers stands for that
/// one.
pub(crate) fn cookies(data: &[u8]) {
    let (sessions, outside, genuine) = &*ADMIN;
    let mut headers = HeaderMap::new();
    let lines = text(data).replace('\u{1}', genuine);
    for line in lines.lines().take(16) {
        if let Ok(line) = HeaderValue::from_str(line) {
            headers.append(COOKIE, line);
        }
    }
    let who = sessions.who(&headers).now_or_never();
    if who
        .expect("a store in memory")
        .expect("an answer")
        .is_some()
    {
        let mut cookies = lines.lines().flat_map(|line| line.split(';'));
        assert!(
            cookies.any(|cookie| cookie.trim() == genuine),
            "a forged session"
        );
    }
    visits::fuzz::cookies(outside, &headers);
}
