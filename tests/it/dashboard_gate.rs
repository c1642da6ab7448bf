//! Who sees the dashboard: signing in, sessions, and pages of others that send forms.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use mcp_layer::{admin, registry::MemoryRegistry, secret::KeyRing};

use super::support::{
    admin::{Operator, Spoil, TOKEN, set},
    pages::{ORIGIN, Pages, cookie},
};

/// Every method and path of the dashboard that wants a session.
fn all() -> Vec<(String, String)> {
    let all: Vec<_> = admin::routes()
        .map(|(method, path)| (method.to_string(), path.replace("{name}", "a")))
        .map(|(method, path)| (method, path.replace("{id}", &"0".repeat(32))))
        .map(|(method, path)| (method, path.replace("{project}", "web")))
        .filter(|(_, path)| {
            let open = ["/api/", "/metrics", "/sign-in", "/assets/", "/oauth/"];
            !open.iter().any(|open| path.starts_with(open))
        })
        .chain([
            ("GET".into(), "/unknown".into()),
            ("POST".into(), "/".into()),
        ])
        .collect();
    assert!(all.len() > 3);
    all
}

#[tokio::test]
async fn no_page_is_shown_without_a_session() {
    let pages = Pages::of(Operator::memory());
    for (method, path) in all() {
        let form = (method == "POST").then(String::new);
        for cookie in [
            None,
            Some("mcp_layer_session=x"),
            Some("mcp_layer_session="),
        ] {
            let mut request = pages.request(&method, &path, form.clone());
            if let Some(cookie) = cookie {
                set(&mut request, "cookie", cookie);
            }
            // It opens REST, and no page.
            set(
                &mut request,
                "authorization",
                "Bearer admin-token-of-the-tests",
            );
            let answer = pages.operator.send(request).await;
            match method.as_str() {
                "GET" => assert!(answer.place().starts_with("/sign-in?next=%2F"), "{path}"),
                _ => assert!(answer.fault(&path, 403).contains("signed out"), "{path}"),
            }
        }
    }
}

#[tokio::test]
async fn a_session_opens_no_rest() {
    let pages = Pages::signed_in(Operator::memory()).await;
    for (method, path) in admin::routes().filter(|(_, path)| path.starts_with("/api/")) {
        let path = path.replace("{name}", "a").replace("{project}", "web");
        let answer = pages
            .operator
            .send(pages.request(method.as_str(), &path, None));
        assert_eq!(answer.await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_form_of_another_page_changes_nothing() {
    let pages = Pages::signed_in(Operator::memory()).await;
    let spoilt: [(&str, Spoil, u16); 8] = [
        ("wrong host", |r| set(r, "host", "evil.example"), 403),
        (
            "foreign origin",
            |r| set(r, "origin", "https://evil.example"),
            403,
        ),
        (
            "another site",
            |r| set(r, "sec-fetch-site", "cross-site"),
            403,
        ),
        ("a sibling", |r| set(r, "sec-fetch-site", "same-site"), 403),
        (
            "no site",
            |r| drop(r.headers_mut().remove("sec-fetch-site")),
            403,
        ),
        ("text", |r| set(r, "content-type", "text/plain"), 415),
        ("json", |r| set(r, "content-type", "application/json"), 415),
        (
            "files",
            |r| set(r, "content-type", "multipart/form-data; boundary=x"),
            415,
        ),
    ];
    let posts = all().into_iter().filter(|(method, _)| method == "POST");
    for (_, path) in posts.chain([("POST".into(), "/sign-in".into())]) {
        for (what, spoil, status) in spoilt {
            // Where files are taken, this is a form that is not whole.
            let status = match (what, &*path) {
                ("files", "/import") => 400,
                _ => status,
            };
            let mut request = pages.request("POST", &path, Some(format!("token={TOKEN}")));
            spoil(&mut request);
            let answer = pages.operator.send(request).await;
            answer.fault(&path, status);
            assert!(answer.headers.get("set-cookie").is_none(), "{what} {path}");
        }
    }
    let mut older = pages.request("POST", "/sign-out", Some(String::new()));
    older.headers_mut().remove("sec-fetch-site");
    set(&mut older, "origin", ORIGIN);
    assert_eq!(pages.operator.send(older).await.place(), "/sign-in?out");
}

#[tokio::test]
async fn signing_in_leads_to_where_one_wanted_to_be() {
    let pages = Pages::of(Operator::memory());
    let asked = pages.get("/servers?project=a%26b").await;
    assert_eq!(
        asked.place(),
        "/sign-in?next=%2Fservers%3Fproject%3Da%2526b"
    );
    let form = pages.get(asked.place()).await;
    assert!(form.html(200).contains("value=\"/servers?project=a%26b\""));
    let fields = [("token", TOKEN), ("next", "/servers?project=a%26b")];
    let answer = pages.post("/sign-in", &fields).await;
    assert_eq!(answer.place(), "/servers?project=a%26b");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
    let fields = [("token", TOKEN), ("next", "//evil.example")];
    assert_eq!(pages.post("/sign-in", &fields).await.place(), "/overview");
}

#[tokio::test]
async fn a_wrong_token_is_said_beside_its_field_and_the_right_one_always_enters() {
    let now = Arc::new(Mutex::new(SystemTime::now()));
    let clock = now.clone();
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_clock(move || *clock.lock().unwrap())
    });
    let pages = Pages::of(operator);
    for _ in 0..10 {
        let answer = pages
            .post("/sign-in", &[("token", "not-the-admin-token")])
            .await;
        let html = answer.html(403);
        assert!(html.contains("aria-describedby=\"token-wrong\""));
        assert!(html.contains("This is not the admin token"));
        assert!(!html.contains("not-the-admin-token"));
        assert!(answer.headers.get("set-cookie").is_none());
    }
    let wrong = [("token", "not-the-admin-token")];
    let answer = pages.post("/sign-in", &wrong).await;
    assert!(answer.html(429).contains("too many wrong ones"));
    assert_eq!(answer.headers["retry-after"], "60");
    let enter = [("token", TOKEN)];
    assert_eq!(pages.post("/sign-in", &enter).await.status, 303);
    *now.lock().unwrap() += Duration::from_secs(61);
    assert_eq!(pages.post("/sign-in", &wrong).await.status, 403);
}

#[tokio::test]
async fn a_session_ends_after_twelve_hours() {
    let now = Arc::new(Mutex::new(SystemTime::now()));
    let clock = now.clone();
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_clock(move || *clock.lock().unwrap())
    });
    let pages = Pages::signed_in(operator).await;
    *now.lock().unwrap() += Duration::from_secs(12 * 3600 - 1);
    pages.get("/servers").await.html(200);
    *now.lock().unwrap() += Duration::from_secs(2);
    assert!(pages.get("/servers").await.place().starts_with("/sign-in"));
}

#[tokio::test]
async fn a_session_is_good_wherever_the_keys_and_the_token_are_the_same() {
    let keys = KeyRing::generate();
    let replica = |keys: &KeyRing| {
        let keys = keys.clone();
        Operator::with(MemoryRegistry::default(), |admin| {
            admin.with_session_keys(keys)
        })
    };
    let pages = Pages::signed_in(replica(&keys)).await;
    let elsewhere = |operator| Pages {
        operator,
        cookie: pages.cookie.clone(),
    };
    elsewhere(replica(&keys)).get("/servers").await.html(200);
    let mut rotated = keys.clone();
    rotated.add().unwrap();
    elsewhere(replica(&rotated)).get("/servers").await.html(200);

    let other_keys = replica(&KeyRing::generate());
    let store = MemoryRegistry::default;
    let mut others = vec![other_keys, Operator::memory()];
    for set in [
        |admin: admin::Admin| admin.with_organization("other"),
        |admin: admin::Admin| admin.with_public_url("http://127.0.0.1:8788".parse().unwrap()),
    ] {
        let keys = keys.clone();
        others.push(Operator::with(store(), |admin| {
            set(admin.with_session_keys(keys))
        }));
    }
    let token = "another-admin-token-of-the-tests";
    let connections = mcp_layer::Connections::new(super::support::outbound());
    let other = admin::Admin::new(store(), connections, token.into()).unwrap();
    others.push(Operator(admin::router(other.with_session_keys(keys))));
    for other in others {
        let answer = elsewhere(other).get("/servers").await;
        assert!(answer.place().starts_with("/sign-in"));
    }
}

#[tokio::test]
async fn a_session_that_was_changed_is_none() {
    let pages = Pages::signed_in(Operator::memory()).await;
    let whole = pages.cookie.clone().unwrap();
    let (name, value) = whole.split_once('=').unwrap();
    for place in 0..value.len() {
        let mut changed = value.as_bytes().to_vec();
        changed[place] = if changed[place] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let pages = Pages {
            cookie: Some(format!("{name}={changed}")),
            ..pages.clone()
        };
        assert!(pages.get("/servers").await.place().starts_with("/sign-in"));
    }
    // What another page of this host has set in our name does not shut anybody out.
    let pages = Pages {
        cookie: Some(format!("a=b; {name}=x; {whole}")),
        ..pages
    };
    pages.get("/servers").await.html(200);
}

#[tokio::test]
async fn over_https_the_cookie_is_for_this_host_alone() {
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_public_url("https://gateway.example/ops/".parse().unwrap())
    });
    let pages = Pages::of(operator);
    let mut request = pages.request("POST", "/sign-in", Some(format!("token={TOKEN}")));
    set(&mut request, "host", "gateway.example");
    let answer = pages.operator.send(request).await;
    assert_eq!(answer.place(), "/ops/overview");
    let set_cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(set_cookie.starts_with("__Host-mcp_layer_session="));
    assert!(set_cookie.ends_with("; SameSite=Strict; Secure"));
    let mut request = pages.request("GET", "/servers", None);
    set(&mut request, "host", "gateway.example");
    request
        .headers_mut()
        .insert("cookie", cookie(&answer.headers).parse().unwrap());
    let answer = pages.operator.send(request).await;
    assert!(answer.html(200).contains("href=\"/ops/create\""));
}

#[tokio::test]
async fn signing_out_takes_the_cookie_away() {
    let pages = Pages::signed_in(Operator::memory()).await;
    let answer = pages.post("/sign-out", &[]).await;
    assert_eq!(answer.place(), "/sign-in?out");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("mcp_layer_session=; Path=/; Max-Age=0;"));
}

#[tokio::test]
async fn files_are_kept_by_browsers_under_a_name_of_their_content() {
    let pages = Pages::of(Operator::memory());
    let html = pages.get("/sign-in").await.text;
    let names = html.split('"').filter(|text| text.starts_with("/assets/"));
    let names: std::collections::BTreeSet<&str> = names.collect();
    assert_eq!(names.len(), 3);
    for name in names {
        let answer = pages.get(name).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(
            answer.headers["cache-control"],
            "public, max-age=31536000, immutable"
        );
        let mut again = pages.request("GET", name, None);
        again
            .headers_mut()
            .insert("if-none-match", answer.headers["etag"].clone());
        assert_eq!(pages.operator.send(again).await.status, 304);
    }
    let older = pages.get("/assets/style.0000000000000000.css").await;
    assert_eq!(older.status, 200);
    assert_eq!(older.headers["cache-control"], "no-cache");
    pages.get("/assets/other.css").await.html(404);
}
