//! Servers with OAuth 2.0, connected in a browser: from the call that begins it to the page that
//! leads back, and everything that must not get through in between.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::header::SET_COOKIE;
use mcp_layer::registry::{MemoryCredentialStore, MemoryRegistry, Overlay};
use serde_json::{Value, json};
use url::Url;

use super::support::admin::{Answer, Operator, request};
use super::support::auth_server::{
    METADATA, callback, json_reply, parameter, redirect, refusal, reply,
};
use super::support::pages::Pages;
use super::support::provider::{LIFE, Provider};

const LOCAL: &str = "http://127.0.0.1:8788";
const TRACKER: &str = "/api/v1/servers/tracker";
const CALLBACK: &str = "/oauth/callback";

/// The operator's side under an address, over a provider and a server of it.
struct Stage {
    provider: Provider,
    store: MemoryRegistry,
    credentials: MemoryCredentialStore,
    home: Url,
    operator: Operator,
}

impl Stage {
    async fn set() -> Self {
        let stage = Self::at(LOCAL).await;
        stage.create("tracker", json!({}), false).await;
        stage
    }

    /// Without a server.
    async fn at(home: &str) -> Self {
        let provider = Provider::start().await;
        let (store, credentials) = <(MemoryRegistry, MemoryCredentialStore)>::default();
        let home: Url = home.parse().unwrap();
        let operator = operator(&provider, &store, &credentials, &home);
        Self {
            provider,
            store,
            credentials,
            home,
            operator,
        }
    }

    async fn create(&self, name: &str, mut auth: Value, draft: bool) {
        auth["type"] = "oauth2".into();
        let url = self.provider.server.mcp();
        let server = json!({"name": name, "url": url, "auth": auth, "draft": draft}).to_string();
        let created = self.ask("POST", "/api/v1/servers", Some(&server)).await;
        created.expect(201);
    }

    /// As the operator, with the token.
    async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let request = self.addressed(request(method, path, body));
        self.operator.send(request).await
    }

    fn addressed(&self, mut request: Request<Body>) -> Request<Body> {
        let host = &self.home[url::Position::BeforeHost..url::Position::AfterPort];
        request.headers_mut().insert("host", host.parse().unwrap());
        request
    }

    async fn connects(&self, name: &str) -> Answer {
        let path = format!("/api/v1/servers/{name}/oauth/connect");
        self.ask("POST", &path, None).await
    }

    async fn connect(&self, name: &str) -> Url {
        let connected = self.connects(name).await.expect(200);
        let url = connected["authorization_url"].as_str().unwrap();
        url.parse().unwrap()
    }

    /// The identity of a server.
    async fn id(&self, name: &str) -> String {
        let server = self
            .ask("GET", &format!("/api/v1/servers/{name}"), None)
            .await;
        server.expect(200)["id"].as_str().unwrap().to_owned()
    }

    /// What is said of `tracker`: its status, and why.
    async fn status(&self) -> (Value, Value) {
        let server = self.ask("GET", TRACKER, None).await.expect(200);
        (server["status"].clone(), server["status_reason"].clone())
    }

    /// Connects `tracker` as far as the consent: what the provider sends the browser back with.
    async fn approved(&self, browser: &mut Browser) -> String {
        let asked = self.sent_on(browser, "tracker").await;
        self.provider.server.approve(&asked).to_string()
    }

    /// Connects a server as far as the address at the provider.
    async fn sent_on(&self, browser: &mut Browser, name: &str) -> Url {
        let start = self.connect(name).await;
        let started = browser.open(self, start.path()).await;
        assert_eq!(started.status, 303, "{}", started.text);
        place(&started)
    }

    /// How often a token was asked for.
    fn exchanges(&self) -> usize {
        self.provider.server.count("/token")
    }
}

fn operator(
    provider: &Provider,
    store: &MemoryRegistry,
    credentials: &MemoryCredentialStore,
    home: &Url,
) -> Operator {
    let authorizations = provider.authorizations(credentials.clone());
    let connections = provider.connections(&authorizations);
    let connections = connections.observations(store.clone()).build();
    Operator::over(connections, store.clone(), |admin| {
        let admin = admin.with_authorizations(authorizations);
        match home.as_str().starts_with(LOCAL) {
            true => admin,
            false => admin.with_public_url(home.clone()),
        }
    })
}

/// A browser: it has cookies and no token, and comes from another site.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    async fn open(&mut self, stage: &Stage, path: &str) -> Answer {
        let answer = self.send(stage, "GET", path).await;
        for set in answer.headers.get_all(SET_COOKIE) {
            let (pair, rest) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            match rest.contains("Max-Age=0;") {
                true => self.0.remove(name),
                false => self.0.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    async fn send(&self, stage: &Stage, method: &str, path: &str) -> Answer {
        let mut request = stage.addressed(request(method, path, None));
        request.headers_mut().remove("authorization");
        let cookies = self.0.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            let cookies = cookies.join("; ").parse().unwrap();
            request.headers_mut().insert("cookie", cookies);
        }
        stage.operator.send(request).await
    }

    /// Comes back to a callback: path and query.
    async fn comes_back(&mut self, stage: &Stage, callback: &str) -> Answer {
        self.open(stage, callback).await
    }
}

/// Where a browser is sent.
fn place(answer: &Answer) -> Url {
    let place = answer.headers["location"].to_str().unwrap();
    place.parse().unwrap()
}

/// What a page says that leads nowhere by itself, with its status.
fn refused(answer: &Answer, status: u16) -> &str {
    assert_eq!(answer.status, status, "{}", answer.text);
    page(answer);
    assert!(!answer.text.contains("http-equiv"), "{}", answer.text);
    assert!(answer.text.contains(" href=\"/servers"), "{}", answer.text);
    &answer.text
}

/// Every page is one that runs nothing, and tells no other page what its address was.
fn page(answer: &Answer) {
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    assert!(policy.contains("frame-ancestors 'none'"));
    assert!(!answer.text.contains("<script>") && !answer.text.contains("style="));
}

#[tokio::test]
async fn a_server_is_connected_by_one_consent_and_its_tools_are_there() {
    let stage = Stage::set().await;
    let needs = (json!("inactive"), json!("needs_authorization"));
    assert_eq!(stage.status().await, needs);
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    assert_eq!(stage.exchanges(), 0);

    let connected = browser.comes_back(&stage, &query).await;
    assert_eq!(connected.status, 200, "{}", connected.text);
    page(&connected);
    let refresh = "content=\"0; url=/servers/tracker\"";
    assert!(connected.text.contains(refresh), "{}", connected.text);
    assert!(
        connected
            .text
            .contains("\" href=\"/servers/tracker\">Back to tracker")
    );
    assert!(browser.0.is_empty(), "its cookie is gone");
    // They were listed before the page was there.
    assert_eq!(stage.status().await, (json!("active"), Value::Null));
    let tracker = stage.ask("GET", TRACKER, None).await.expect(200);
    assert_eq!(tracker["tool_count"], 3);
}

#[tokio::test]
async fn what_a_browser_is_given_is_for_our_callback_alone() {
    let stage = Stage::set().await;
    let start = stage.connect("tracker").await;
    assert_eq!(start.origin().ascii_serialization(), LOCAL);
    let started = Browser::default().open(&stage, start.path()).await;
    assert_eq!(started.headers["referrer-policy"], "no-referrer");
    assert_eq!(started.headers["cache-control"], "no-store");
    let cookie = started.headers[SET_COOKIE].to_str().unwrap();
    let (name, rest) = cookie.split_once('=').unwrap();
    assert!(name.starts_with("mcp-oauth-") && name.len() == 18, "{name}");
    let (value, flags) = rest.split_once("; ").unwrap();
    assert_eq!(value.split('.').next().unwrap().len(), 64);
    let callback = format!("{CALLBACK}/{}", stage.id("tracker").await);
    assert_eq!(
        flags,
        format!("Max-Age=600; HttpOnly; SameSite=Lax; Path={callback}")
    );
    let place = place(&started);
    assert!(!place.as_str().contains(value.split('.').next().unwrap()));
    assert_eq!(
        parameter(&place, "redirect_uri"),
        format!("{LOCAL}{callback}")
    );
}

#[tokio::test]
async fn over_https_only_our_own_host_can_have_set_the_cookie() {
    let stage = Stage::at("https://gateway.example/ops/").await;
    stage.create("tracker", json!({}), false).await;
    let start = stage.connect("tracker").await;
    assert!(
        start
            .as_str()
            .starts_with("https://gateway.example/ops/oauth/start/")
    );
    // What is in front of us takes the path off.
    let path = start.path().strip_prefix("/ops").unwrap();
    let mut browser = Browser::default();
    let started = browser.open(&stage, path).await;
    let cookie = started.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-mcp-oauth-"), "{cookie}");
    assert!(cookie.ends_with("; Max-Age=600; HttpOnly; SameSite=Lax; Path=/; Secure"));
    let place = place(&started);
    let callback = parameter(&place, "redirect_uri");
    let id = stage.id("tracker").await;
    assert_eq!(
        callback,
        format!("https://gateway.example/ops/oauth/callback/{id}")
    );
    let callback = stage.provider.server.approve(&place).to_string();
    let callback = callback.strip_prefix("/ops").unwrap();
    let connected = browser.comes_back(&stage, callback).await;
    assert_eq!(connected.status, 200, "{}", connected.text);
    let refresh = "content=\"0; url=/ops/servers/tracker\"";
    assert!(connected.text.contains(refresh), "{}", connected.text);
    assert!(connected.text.contains("href=\"/ops/assets/style."));
}

#[tokio::test]
async fn a_draft_is_connected_and_one_ends_up_at_its_step() {
    let stage = Stage::set().await;
    stage.create("sketch", json!({}), true).await;
    let mut browser = Browser::default();
    let asked = stage.sent_on(&mut browser, "sketch").await;
    let query = stage.provider.server.approve(&asked).to_string();
    let connected = browser.comes_back(&stage, &query).await;
    assert_eq!(connected.status, 200);
    let refresh = "content=\"0; url=/servers/sketch/setup/auth\"";
    assert!(connected.text.contains(refresh), "{}", connected.text);
}

#[tokio::test]
async fn a_form_leads_to_the_provider_by_a_page_that_goes_on() {
    let stage = Stage::at(LOCAL).await;
    stage.create("sketch", json!({}), true).await;
    let pages = Pages::signed_in(stage.operator.clone()).await;
    let step = "/servers/sketch/setup/auth";
    assert!(pages.get(step).await.html(200).contains("Not connected"));
    let fields = [("auth", "oauth2"), ("scopes", "read"), ("go", "connect")];
    let going = pages.post(step, &fields).await;
    let refresh = "http-equiv=\"refresh\" content=\"0; url=http://127.0.0.1:8788";
    let start = going.html(200).split(refresh).nth(1).unwrap();
    let start = start.split('"').next().unwrap();
    let mut browser = Browser::default();
    let started = browser.open(&stage, start).await;
    let place: Url = started.place().parse().unwrap();
    assert!(place.query().unwrap().contains("scope=read"));
    let query = stage.provider.server.approve(&place).to_string();
    assert_eq!(browser.comes_back(&stage, &query).await.status, 200);
    assert!(pages.get(step).await.html(200).contains("Connected</span>"));
    let gone = pages.post("/servers/sketch/disconnect", &[]).await;
    assert_eq!(gone.place(), step);
    assert!(pages.get(step).await.html(200).contains("Not connected"));
}

#[tokio::test]
async fn a_form_that_cannot_connect_says_why_and_keeps_what_was_typed() {
    let stage = Stage::at(LOCAL).await;
    stage.create("sketch", json!({}), true).await;
    let pages = Pages::signed_in(stage.operator.clone()).await;
    stage
        .provider
        .server
        .answer(METADATA, || reply(500, "text/plain", ""));
    let fields = [("auth", "oauth2"), ("scopes", "read"), ("go", "connect")];
    let page = pages.post("/servers/sketch/setup/auth", &fields).await;
    let html = page.html(400);
    assert!(
        html.contains("role=\"alert\"") && html.contains("value=\"read\""),
        "{html}"
    );
}

#[tokio::test]
async fn a_start_works_once_and_for_ten_minutes() {
    let stage = Stage::set().await;
    let start = stage.connect("tracker").await;
    let mut browser = Browser::default();
    for method in ["HEAD", "POST", "OPTIONS"] {
        let asked = browser.send(&stage, method, start.path()).await;
        assert!(asked.status.is_client_error(), "{method} uses nothing up");
    }
    assert_eq!(browser.open(&stage, start.path()).await.status, 303);
    let again = Browser::default().open(&stage, start.path()).await;
    assert!(refused(&again, 404).contains("expired"));
    assert!(again.headers.get(SET_COOKIE).is_none());

    let late = stage.connect("tracker").await;
    stage.provider.clock.pass(600);
    refused(&Browser::default().open(&stage, late.path()).await, 404);
    for unknown in ["x", "%ff", &"0".repeat(64), "a/b"] {
        let path = format!("/oauth/start/{unknown}");
        let answer = Browser::default().open(&stage, &path).await;
        assert_eq!(answer.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn another_replica_starts_and_finishes_what_one_has_begun() {
    let mut stage = Stage::set().await;
    let start = stage.connect("tracker").await;
    let replica = |stage: &Stage| {
        operator(
            &stage.provider,
            &stage.store,
            &stage.credentials,
            &stage.home,
        )
    };
    stage.operator = replica(&stage);
    let mut browser = Browser::default();
    let started = browser.open(&stage, start.path()).await;
    let place = place(&started);
    stage.operator = replica(&stage);
    let query = stage.provider.server.approve(&place).to_string();
    assert_eq!(browser.comes_back(&stage, &query).await.status, 200);
    assert_eq!(stage.status().await.0, "active");
}

#[tokio::test]
async fn two_tabs_do_not_disturb_each_other() {
    let stage = Stage::set().await;
    stage.create("other", json!({}), false).await;
    let mut browser = Browser::default();
    let first = stage.approved(&mut browser).await;
    let asked = stage.sent_on(&mut browser, "other").await;
    let second = stage.provider.server.approve(&asked).to_string();
    assert_eq!(browser.0.len(), 2);
    let other = browser.comes_back(&stage, &second).await;
    assert!(
        other.text.contains("url=/servers/other\""),
        "{}",
        other.text
    );
    let tracker = browser.comes_back(&stage, &first).await;
    assert!(
        tracker.text.contains("url=/servers/tracker\""),
        "{}",
        tracker.text
    );
    assert!(browser.0.is_empty());
}

/// Row 49 of the attacks: whoever else comes back.
#[tokio::test]
async fn a_callback_that_is_not_of_this_browser_changes_nothing() {
    let stage = Stage::set().await;
    let mut browser = Browser::default();
    let callback = stage.approved(&mut browser).await;
    let (place, query) = callback.split_once('?').unwrap();
    let state = |value: &str| {
        format!(
            "code=code-1&state={value}&iss={}",
            stage.provider.server.url
        )
    };

    // Another browser, one with a cookie of its own making, and one with the cookie twice.
    let (name, value) = browser.0.first_key_value().unwrap();
    let forged = Browser([(name.clone(), format!("{}.server.tracker", "0".repeat(64)))].into());
    let elsewhere = value.replace(".server.tracker", ".https://evil.example");
    let elsewhere = Browser([(name.clone(), elsewhere)].into());
    for mut other in [Browser::default(), elsewhere] {
        let answer = other.comes_back(&stage, &callback).await;
        assert!(refused(&answer, 400).contains("in one browser"));
        assert!(answer.headers.get(SET_COOKIE).is_none());
    }
    let mut twice = stage.addressed(request("GET", &callback, None));
    twice.headers_mut().remove("authorization");
    let cookies = format!("{name}={value}; {name}={value}");
    twice
        .headers_mut()
        .insert("cookie", cookies.parse().unwrap());
    refused(&stage.operator.send(twice).await, 400);

    // Queries without a state, with a foreign one, and such as cannot be read.
    for changed in [
        "",
        "code=code-1",
        &state(""),
        &state("guessed"),
        &format!("{query}&{query}"),
        &query.replace("code=", "c="),
        &format!("{query}&error=access_denied"),
        &"x".repeat(20_000),
    ] {
        let callback = format!("{place}?{changed}");
        refused(&browser.comes_back(&stage, &callback).await, 400);
    }
    for method in ["HEAD", "POST"] {
        let asked = browser.send(&stage, method, &callback).await;
        assert!(asked.status.is_client_error(), "{method} uses nothing up");
    }
    assert_eq!(stage.exchanges(), 0);

    // All of that was in vain, and the right browser still goes on; but only once.
    let mut copy = browser.clone();
    assert_eq!(browser.comes_back(&stage, &callback).await.status, 200);
    let again = copy.comes_back(&stage, &callback).await;
    assert!(refused(&again, 400).contains("used already"));
    assert_eq!(stage.exchanges(), 1);
    assert_eq!(stage.status().await.0, "active");

    // A cookie of another's making ends the authorization that it is for.
    let mut other = Browser::default();
    let query = stage.approved(&mut other).await;
    let (name, _) = other.0.first_key_value().unwrap();
    let forged = forged.0.values().next().unwrap().clone();
    let mut forged = Browser([(name.clone(), forged)].into());
    refused(&forged.comes_back(&stage, &query).await, 400);
    refused(&other.comes_back(&stage, &query).await, 400);
    assert_eq!(stage.exchanges(), 1);
}

#[tokio::test]
async fn a_callback_that_is_too_late_connects_nothing() {
    let stage = Stage::set().await;
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    stage.provider.clock.pass(600);
    let late = browser.comes_back(&stage, &query).await;
    assert!(refused(&late, 400).contains("ten minutes"));
    assert_eq!(stage.exchanges(), 0);
}

/// Row 50 of the attacks: who answers, and what it says.
#[tokio::test]
async fn an_answer_of_somebody_else_and_a_refusal_send_no_code_anywhere() {
    let stage = Stage::set().await;
    let own = &stage.provider.server.url;
    for (answer, expected) in [
        ("code=c&iss=https://evil.example", "does not come from"),
        (
            "error=access_denied&iss=https://evil.example",
            "does not come from",
        ),
        (
            &*format!("error=access_denied&iss={own}"),
            "agree when the provider asks",
        ),
        (&format!("error=invalid_scope&iss={own}"), "scopes"),
        (
            &format!("error=words+of+a+stranger&iss={own}"),
            "Not connected",
        ),
        (&format!("error=unheard_of&iss={own}"), "not known"),
    ] {
        let mut browser = Browser::default();
        let asked = stage.sent_on(&mut browser, "tracker").await;
        let state = parameter(&asked, "state");
        let evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
        let query = format!("{answer}&state={state}&error_description={evil}&error_uri={evil}");
        let callback = callback(&asked, &query).to_string();
        let refusal = browser.comes_back(&stage, &callback).await;
        let text = refused(&refusal, 400);
        assert!(text.contains(expected), "{answer}: {text}");
        for unseen in ["alert", "stranger", "unheard_of", "evil.example", &*state] {
            assert!(!text.contains(unseen), "{answer}: {text}");
        }
        // It is known where the browser came from.
        let is_readable = !answer.contains("stranger");
        assert_eq!(
            text.contains("href=\"/servers/tracker\""),
            is_readable,
            "{text}"
        );
        assert_eq!(browser.0.is_empty(), is_readable);
    }
    assert_eq!(stage.exchanges(), 0);
}

/// Row 51 of the attacks: a token endpoint that answers with something else.
#[tokio::test]
async fn a_token_endpoint_that_gives_no_token_is_a_page_that_says_so() {
    let stage = Stage::set().await;
    for (answer, expected) in [
        (
            refusal as fn(u16, &str) -> axum::response::Response,
            "invalid_grant",
        ),
        (
            |_, _| reply(200, "text/html", "<script>alert(1)</script>"),
            "no usable token",
        ),
        (
            |_, _| json_reply(200, &json!({"access_token": "x y", "token_type": "Bearer"})),
            "no usable token",
        ),
        (
            |_, _| reply(503, "text/html", "<script>alert(1)</script>"),
            "in a moment",
        ),
    ] {
        let answer = move || answer(400, "invalid_grant");
        stage
            .provider
            .before_code(move |_| std::future::ready(Some(answer())));
        let mut browser = Browser::default();
        let query = stage.approved(&mut browser).await;
        let refusal = browser.comes_back(&stage, &query).await;
        let text = refused(&refusal, 400);
        assert!(text.contains(expected), "{text}");
        assert!(
            !text.contains("alert") && !text.contains("code-1"),
            "{text}"
        );
        assert_eq!(stage.status().await.1, "needs_authorization");
    }
    stage.provider.recover();
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    assert_eq!(browser.comes_back(&stage, &query).await.status, 200);
}

#[tokio::test]
async fn a_server_is_disconnected_and_its_token_is_used_no_more() {
    let stage = Stage::set().await;
    let path = format!("{TRACKER}/oauth");
    assert_eq!(
        stage.ask("DELETE", &path, None).await.status,
        204,
        "nothing to give up"
    );
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    browser.comes_back(&stage, &query).await;
    let disconnected = stage.ask("DELETE", &path, None).await;
    assert_eq!(
        (disconnected.status.as_u16(), &*disconnected.text),
        (204, "")
    );
    assert_eq!(stage.status().await.1, "needs_authorization");
    assert_eq!(stage.provider.server.count("/revoke"), 1);
}

/// It was connected, and its tools cannot be listed: that is the page's of the server to say.
#[tokio::test]
async fn a_server_that_hangs_after_the_consent_keeps_the_browser_for_seconds_only() {
    let stage = Stage::set().await;
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    let began = tokio::time::Instant::now();
    stage.provider.before_mcp(|_| async {
        // From here on only the patience of those who wait is measured.
        tokio::time::pause();
        std::future::pending().await
    });
    let connected = browser.comes_back(&stage, &query).await;
    assert_eq!(connected.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_with_the_member_that_mends_it() {
    let stage = Stage::at(LOCAL).await;
    let auth = json!({"client_id": "c", "authorization_url": "http://10.0.0.1/a",
        "token_url": "http://10.0.0.1/t"});
    stage.create("free", json!({}), false).await;
    let metadata = stage.provider.server.metadata();
    for (change, code, param, says) in [
        (
            json!({"registration_endpoint": null}),
            "authorization_failed",
            "auth.client_id",
            "http://127.0.0.1:8788/oauth/callback/",
        ),
        (
            json!({"code_challenge_methods_supported": ["plain"]}),
            "authorization_failed",
            "auth.authorization_url",
            "PKCE",
        ),
        (
            json!({"issuer": "https://evil.example"}),
            "authorization_failed",
            "auth.issuer",
            "issuer",
        ),
    ] {
        let mut changed = metadata.clone();
        for (name, value) in change.as_object().unwrap() {
            changed[name] = value.clone();
        }
        stage.provider.server.json(METADATA, changed);
        let answer = stage.connects("free").await;
        let error = answer.error(400);
        assert_eq!(
            error,
            (code.to_owned(), Some(param.to_owned())),
            "{}",
            answer.text
        );
        assert!(answer.text.contains(says), "{}", answer.text);
    }
    stage.provider.server.json(METADATA, metadata);
    stage
        .provider
        .server
        .answer("/register", || refusal(400, "invalid_redirect_uri"));
    let answer = stage.connects("free").await;
    assert_eq!(answer.error(400).1.as_deref(), Some("auth.client_id"));
    assert!(answer.text.contains("invalid_redirect_uri") && answer.text.contains(CALLBACK));

    // Where the egress rules do not reach, nothing is saved; and no other kind is connected.
    let private = json!({"name": "x", "url": stage.provider.server.mcp(), "auth": auth});
    let private = stage
        .ask("POST", "/api/v1/servers", Some(&private.to_string()))
        .await;
    assert_eq!(private.status, 400);
    let plain = json!({"name": "plain", "url": stage.provider.server.mcp()}).to_string();
    stage
        .ask("POST", "/api/v1/servers", Some(&plain))
        .await
        .expect(201);
    let answer = stage.connects("plain").await;
    assert_eq!(
        answer.error(400),
        ("invalid_server".to_owned(), Some("auth".to_owned()))
    );
    assert_eq!(
        stage.connects("unknown").await.error(404).0,
        "mcp_server_not_found"
    );
}

#[tokio::test]
async fn without_authorizations_nothing_is_connected() {
    let operator = Operator::memory();
    let server = json!({"name": "tracker", "url": "https://mcp.example.com/mcp",
        "auth": {"type": "oauth2"}});
    operator.create(&server).await;
    let path = format!("{TRACKER}/oauth/connect");
    let answer = operator.ask("POST", &path, None).await;
    assert_eq!(answer.error(400).0, "authorization_failed");
    let visit = operator.ask("GET", "/oauth/start/x", None).await;
    assert_eq!(visit.status, 404);
    for callback in [
        CALLBACK.to_owned(),
        format!("{CALLBACK}/{}", "0".repeat(32)),
    ] {
        assert_eq!(operator.ask("GET", &callback, None).await.status, 400);
    }
}

#[tokio::test]
async fn a_token_is_refreshed_for_a_server_that_was_connected_here() {
    let stage = Stage::set().await;
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    browser.comes_back(&stage, &query).await;
    stage.provider.clock.pass(LIFE);
    let refreshed = stage.ask("POST", &format!("{TRACKER}/refresh"), None).await;
    refreshed.expect(200);
    assert_eq!(stage.provider.refreshes(), 1);
}

/// What an operator is told of a refusal, over REST: the server's words, cleaned, and what helps.
#[tokio::test]
async fn what_an_authorization_server_answers_is_told_where_it_is_connected() {
    let stage = Stage::at(LOCAL).await;
    stage.create("free", json!({}), false).await;
    let server = &stage.provider.server;
    let (metadata, url) = (server.metadata(), server.url.clone());
    server.answer(METADATA, || {
        redirect("https://login.example/in?state=5tate&code=c0de")
    });
    let answer = stage.connects("free").await;
    answer.error(400);
    let place = format!("{url}{METADATA}: status 307, redirects to https://login.example/in;");
    assert!(answer.text.contains(&place), "{}", answer.text);
    assert!(!answer.text.contains("5tate") && !answer.text.contains("c0de"));

    // Entra's common tenant: the document names no tenant, so nobody knows whose it is.
    let mut template = metadata.clone();
    template["issuer"] = "https://login.example/{tenantid}/v2.0".into();
    server.json(METADATA, template);
    let answer = stage.connects("free").await;
    let (_, param) = answer.error(400);
    assert_eq!(param.as_deref(), Some("auth.issuer"));
    assert!(answer.text.contains("{tenantid}"), "{}", answer.text);

    server.json(METADATA, metadata);
    server.answer("/register", || {
        let error = json!({"error": "insufficient_scope", "error_description":
            "Policy 'Trusted Hosts' rejected request <script>alert(1)</script>\u{202e}"});
        json_reply(403, &error)
    });
    let answer = stage.connects("free").await;
    let (_, param) = answer.error(400);
    assert_eq!(param.as_deref(), Some("auth.client_id"));
    let said = "status 403, \\\"insufficient_scope: Policy 'Trusted Hosts' rejected request\\\"";
    assert!(answer.text.contains(said), "{}", answer.text);
    assert!(!answer.text.contains("alert") && !answer.text.contains('\u{202e}'));
}

/// The same on the page that a browser comes back to.
#[tokio::test]
async fn what_an_authorization_server_answers_is_told_on_the_page_of_the_callback() {
    let stage = Stage::set().await;
    stage.provider.before_code(|_| async {
        let error = json!({"error": "invalid_request", "error_description":
            "AADSTS9010010: <b>The resource</b> code-1"});
        Some(json_reply(400, &error))
    });
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    let page = browser.comes_back(&stage, &query).await;
    let text = refused(&page, 400);
    assert!(
        text.contains("AADSTS9010010") && text.contains("or to none"),
        "{text}"
    );

    stage.provider.recover();
    let asked = stage.sent_on(&mut browser, "tracker").await;
    let state = parameter(&asked, "state");
    let query = format!(
        "error=access_denied&state={state}&iss={}&error_description=The+admin+must+agree",
        stage.provider.server.url
    );
    let page = browser
        .comes_back(&stage, &callback(&asked, &query).to_string())
        .await;
    let text = refused(&page, 400);
    assert!(text.contains("The admin must agree"), "{text}");
    assert!(!text.contains(&state), "{text}");
}

/// The same where a token cannot be refreshed: with the server, as its last failure.
#[tokio::test]
async fn what_an_authorization_server_answers_to_a_refresh_is_told_with_the_server() {
    let stage = Stage::set().await;
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    browser.comes_back(&stage, &query).await;
    stage.provider.clock.pass(LIFE);
    stage.provider.fail(|| {
        let error =
            json!({"error": "invalid_request", "error_description": "No refresh-0.1 on Sundays"});
        json_reply(400, &error)
    });
    stage.ask("POST", &format!("{TRACKER}/refresh"), None).await;
    let tracker = stage.ask("GET", TRACKER, None).await.expect(200);
    let told = tracker["last_failure"]["message"].as_str().unwrap();
    assert!(
        told.contains("on Sundays") && !told.contains("refresh-0.1"),
        "{told}"
    );
    assert!(!tracker["status_reason"].to_string().contains("Sundays"));
}

#[tokio::test]
async fn a_slash_more_at_the_issuers_root_keeps_the_client_secret() {
    let stage = Stage::at(LOCAL).await;
    let auth = json!({"client_id": "c", "client_secret": "s3cret/0-of-a-client",
        "issuer": stage.provider.server.url});
    stage.create("tracker", auth, false).await;
    let put = async |issuer: String| {
        let mut server = stage.ask("GET", TRACKER, None).await.expect(200);
        server["auth"]["issuer"] = issuer.into();
        let server = server.to_string();
        stage.ask("PUT", TRACKER, Some(&server)).await
    };
    put(format!("{}/", stage.provider.server.url))
        .await
        .expect(200);
    let other = put(format!("{}/tenant", stage.provider.server.url)).await;
    assert_eq!(other.status, 400, "{}", other.text);
    let mut browser = Browser::default();
    let query = stage.approved(&mut browser).await;
    assert_eq!(browser.comes_back(&stage, &query).await.status, 200);
}

/// What an operator enters for a gateway that authorizes itself.
fn machine(stage: &Stage) -> Value {
    json!({"grant": "client_credentials", "client_id": "machine-0",
        "client_secret": "s3cret/0-of-a-machine", "issuer": stage.provider.server.url})
}

#[tokio::test]
async fn a_machine_is_connected_without_a_browser() {
    let stage = Stage::at(LOCAL).await;
    stage.create("tracker", machine(&stage), false).await;
    let connected = stage.connects("tracker").await.expect(200);
    assert_eq!(connected, json!({"authorization_url": null}));
    let tracker = stage.ask("GET", TRACKER, None).await.expect(200);
    assert_eq!(
        (&tracker["status"], &tracker["tool_count"]),
        (&json!("active"), &json!(3))
    );
    assert_eq!(stage.exchanges(), 1);

    // On its page, too: it leads back to the page, or on to the tools of a draft.
    let pages = Pages::signed_in(stage.operator.clone()).await;
    let sent = pages.post("/servers/tracker/connect", &[]).await;
    assert_eq!(sent.place(), "/servers/tracker?done=connected");
    let page = pages.get("/servers/tracker?done=connected").await;
    let html = page.html(200);
    assert!(
        html.contains(r#"value="client_credentials" checked"#),
        "{html}"
    );
    assert!(html.contains("has a token for this server"), "{html}");
    stage.create("draft", machine(&stage), true).await;
    let fields = [
        ("auth", "oauth2"),
        ("grant", "client_credentials"),
        ("client_id", "machine-0"),
        ("issuer", &stage.provider.server.url),
        ("go", "connect"),
    ];
    let sent = pages.post("/servers/draft/setup/auth", &fields).await;
    assert_eq!(sent.place(), "/servers/draft/setup/tools");
    stage.provider.fail(|| refusal(401, "invalid_client"));
    let sent = pages.post("/servers/draft/setup/auth", &fields).await;
    let html = sent.html(400);
    assert!(
        html.contains("invalid_client") && !html.contains("s3cret"),
        "{html}"
    );
}

#[tokio::test]
async fn what_keeps_a_machine_from_a_token_is_said_with_the_member_to_mend() {
    let stage = Stage::at(LOCAL).await;
    stage.create("tracker", machine(&stage), false).await;
    for (code, param) in [
        ("invalid_client", Some("auth.client_secret")),
        ("unauthorized_client", Some("auth.client_id")),
        ("invalid_scope", Some("auth.scopes")),
        ("invalid_target", Some("auth.resource")),
    ] {
        stage.provider.fail(move || refusal(400, code));
        let answer = stage.connects("tracker").await;
        let (kind, at) = answer.error(400);
        assert_eq!((&*kind, at.as_deref()), ("authorization_failed", param));
        assert!(
            answer.text.contains(code) && !answer.text.contains("s3cret"),
            "{}",
            answer.text
        );
    }
    stage.provider.fail(|| refusal(401, "invalid_client"));
    stage.ask("POST", &format!("{TRACKER}/refresh"), None).await;
    let (status, reason) = stage.status().await;
    assert_eq!(
        (status, reason),
        (json!("inactive"), json!("credential_invalid"))
    );
    let tracker = stage.ask("GET", TRACKER, None).await.expect(200);
    let told = tracker["last_failure"]["message"].as_str().unwrap();
    assert!(told.contains("401"), "{told}");

    // An MCP server that names somebody else has nothing sent anywhere.
    stage.provider.recover();
    let asked = stage.exchanges();
    let resource = json!({"resource": stage.provider.server.mcp(),
        "authorization_servers": ["https://login.evil.example"]});
    stage
        .provider
        .server
        .json(super::support::auth_server::RESOURCE, resource);
    let (kind, at) = stage.connects("tracker").await.error(400);
    assert_eq!(
        (&*kind, at.as_deref()),
        ("authorization_failed", Some("auth.issuer"))
    );
    assert_eq!(stage.exchanges(), asked);
}

#[tokio::test]
async fn there_is_nothing_to_connect_where_each_caller_has_a_token() {
    let stage = Stage::at(LOCAL).await;
    let mut auth = machine(&stage);
    auth["grant"] = "token_exchange".into();
    auth["subject_audience"] = "gateway".into();
    stage.create("tracker", auth, false).await;
    let (kind, at) = stage.connects("tracker").await.error(400);
    assert_eq!(
        (&*kind, at.as_deref()),
        ("invalid_server", Some("auth.grant"))
    );
    let (status, _) = stage.status().await;
    assert_eq!(status, "active");
    let pages = Pages::signed_in(stage.operator.clone()).await;
    let page = pages.get("/servers/tracker").await;
    assert!(page.html(200).contains(r#"value="token_exchange" checked"#));
}

#[tokio::test]
async fn a_private_key_is_written_and_never_read() {
    let stage = Stage::at(LOCAL).await;
    let pem = crate::machine_keys::key();
    let part = pem.lines().nth(1).unwrap();
    let mut auth = machine(&stage);
    auth.as_object_mut().unwrap().remove("client_secret");
    auth["private_key"] = pem.clone().into();
    stage.create("tracker", auth.clone(), false).await;
    let answer = stage.ask("GET", TRACKER, None).await;
    assert!(!answer.text.contains(part), "{}", answer.text);
    let mut tracker = answer.expect(200);
    assert_eq!(tracker["auth"]["private_key"]["set"], true);
    assert!(tracker["auth"]["client_secret"].is_null());
    stage.connects("tracker").await.expect(200);
    assert!(stage.provider.asked()[0].contains_key("client_assertion"));

    // Sent back it is kept, and for another issuer it has to be entered again.
    let kept = stage
        .ask("PUT", TRACKER, Some(&tracker.to_string()))
        .await
        .expect(200);
    assert_eq!(kept["auth"]["private_key"]["set"], true);
    tracker["version"] = kept["version"].clone();
    tracker["auth"]["issuer"] = "https://login.evil.example".into();
    let moved = stage.ask("PUT", TRACKER, Some(&tracker.to_string())).await;
    let (kind, at) = moved.error(400);
    assert_eq!(
        (&*kind, at.as_deref()),
        ("invalid_server", Some("auth.private_key"))
    );

    tracker["auth"]["issuer"] = auth["issuer"].clone();
    tracker["auth"]["private_key"] = pem.replace("PRIVATE KEY", "SECRET KEY").into();
    let broken = stage.ask("PUT", TRACKER, Some(&tracker.to_string())).await;
    let (kind, at) = broken.error(400);
    assert_eq!(
        (&*kind, at.as_deref()),
        ("invalid_server", Some("auth.private_key"))
    );
    assert!(!broken.text.contains(part), "{}", broken.text);
}

#[tokio::test]
async fn the_page_of_a_machine_says_what_is_wrong_and_what_to_change() {
    let stage = Stage::at(LOCAL).await;
    stage.create("tracker", machine(&stage), false).await;
    let pages = Pages::signed_in(stage.operator.clone()).await;
    let page = pages.get("/servers/tracker").await;
    let html = page.html(200);
    let (before, advanced) = html.split_once("<summary>Advanced</summary>").unwrap();
    assert!(before.contains("name=\"issuer\"") && !advanced.contains("name=\"issuer\""));
    for label in ["Client ID", "Audience of callers"] {
        let label = html.split(label).nth(1).unwrap();
        let label = label.split("</label>").next().unwrap();
        assert!(label.contains("needed when-alone"), "{label}");
    }

    stage.provider.fail(|| refusal(401, "invalid_client"));
    stage.ask("POST", &format!("{TRACKER}/refresh"), None).await;
    let page = pages.get("/servers/tracker").await;
    for part in ["invalid_client", "enter the client secret"] {
        assert!(page.html(200).contains(part), "{part}: {}", page.text);
    }
    stage.provider.recover();
    let resource = json!({"resource": stage.provider.server.mcp(),
        "authorization_servers": ["https://login.evil.example"]});
    let place = super::support::auth_server::RESOURCE;
    stage.provider.server.json(place, resource);
    stage.create("wrong", machine(&stage), false).await;
    let probed = stage
        .ask("POST", "/api/v1/servers/wrong/refresh", None)
        .await;
    for part in [
        "login.evil.example",
        "check the server's URL and the issuer",
    ] {
        assert!(probed.text.contains(part), "{part}: {}", probed.text);
        let page = pages.get("/servers/wrong").await;
        let part = part.replace('\'', "&#39;");
        assert!(page.html(200).contains(&part), "{part}: {}", page.text);
    }
}

#[tokio::test]
async fn a_machine_of_a_file_says_that_it_has_a_token_and_an_exchange_has_sessions_of_users() {
    let provider = Provider::start().await;
    let entry = |name: &str, rest: &str| {
        format!(
            "[[servers]]\nname = \"{name}\"\nurl = \"{}\"\n[servers.auth]\ntype = \"oauth2\"\n\
             client_id = \"machine-0\"\nclient_secret_env = \"SECRET\"\nissuer = \"{}\"\n{rest}\n",
            provider.server.mcp(),
            provider.server.url,
        )
    };
    let text = entry("machine", "grant = \"client_credentials\"")
        + &entry(
            "users",
            "grant = \"token_exchange\"\nsubject_audience = \"gateway\"",
        );
    let secret = |name: &str| (name == "SECRET").then(|| "s3cret/0-of-a-machine".into());
    let overlay = Overlay::parse(&text, secret, MemoryRegistry::default());
    let overlay = overlay.await.unwrap();
    let authorizations = provider.authorizations(MemoryCredentialStore::default());
    let connections = provider.connections(&authorizations).build();
    let operator = Operator::over(connections, overlay, |admin| {
        admin.with_authorizations(authorizations)
    });
    let pages = Pages::signed_in(operator).await;
    let sent = pages.post("/servers/machine/connect", &[]).await;
    let page = pages.get(sent.place()).await;
    assert!(
        page.html(200)
            .contains("The gateway has a token for this server."),
        "{}",
        page.text
    );
    let page = pages.get("/servers/users").await;
    assert!(
        page.html(200)
            .contains("<dt>Sessions</dt><dd>one for each user</dd>"),
        "{}",
        page.text
    );
}
