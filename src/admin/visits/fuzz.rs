//! The target for the cookie of an authorization.

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::cookie::Cookie;
use crate::{
    admin::{oauth::return_page::ReturnPage, outside::Outside},
    secret::ExposeSecret,
};

/// Any cookie that is read leads to a page of ours, and is read again as the same.
pub(in crate::admin) fn cookies(outside: &Outside, headers: &HeaderMap) {
    let state = "0123456789abcdef".into();
    let Some(cookie) = Cookie::of(outside, &state, headers) else {
        return;
    };
    assert!(cookie.back.path().starts_with("/servers/"));
    assert_eq!(
        cookie.back.to_string().parse::<ReturnPage>().as_ref(),
        Ok(&cookie.back)
    );
    let callback = "http://127.0.0.1:8788/oauth/callback/7f3a".parse();
    let callback = callback.expect("a URL");
    let set = cookie
        .set(outside, &callback, &state)
        .expect("it came in a header");
    let set = crate::fuzz_input::text(set.as_bytes())
        .split(';')
        .next()
        .unwrap_or_default();
    let mut again = HeaderMap::new();
    again.append(COOKIE, HeaderValue::from_str(set).expect("a header"));
    let again = Cookie::of(outside, &state, &again).expect("it is read again");
    assert_eq!(
        again.browser.expose_secret(),
        cookie.browser.expose_secret()
    );
}
