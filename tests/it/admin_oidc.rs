//! Signing in by OpenID Connect: from the button to a session, every lie of a provider, and what
//! becomes of a session when the provider changes its mind.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mcp_layer::admin::{Admin, ClientAddress, Oidc};
use mcp_layer::registry::{MemoryOperatorSessions, MemoryRegistry};
use mcp_layer::secret::KeyRing;
use serde_json::{Value, json};
use url::Url;

use super::support::admin::{Answer, Operator, request};
use super::support::auth_server::{callback, html, json_reply, parameter, reply};
use super::support::openid::OpenId;
use super::support::pages::{Pages, cookie};

/// An operator's side before a provider.
struct Stage {
    provider: OpenId,
    operator: Operator,
    now: Arc<Mutex<SystemTime>>,
}

impl Stage {
    async fn set() -> Self {
        Self::with(|oidc| oidc, |admin| admin).await
    }

    async fn with(configure: impl FnOnce(Oidc) -> Oidc, set: impl FnOnce(Admin) -> Admin) -> Self {
        let provider = OpenId::start().await;
        let oidc = configure(provider.configured());
        let now = Arc::new(Mutex::new(SystemTime::now()));
        let clock = now.clone();
        let operator = Operator::with(MemoryRegistry::default(), |admin| {
            let admin = admin.with_oidc(oidc);
            set(admin.with_clock(move || *clock.lock().unwrap()))
        });
        Self {
            provider,
            operator,
            now,
        }
    }

    fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
        let now = *self.now.lock().unwrap();
        self.provider.say(|says| says.now = now);
    }

    /// A browser that was sent to the provider, and where it was sent.
    async fn leave(&self, next: &str) -> (Pages, Url) {
        let mut pages = Pages::of(self.operator.clone());
        let left = pages.get(&format!("/sign-in/provider?next={next}")).await;
        let url = left.place().parse().unwrap();
        pages.cookie = Some(cookie(&left.headers));
        (pages, url)
    }

    /// The whole way; what is answered at its end.
    async fn sign_in(&self) -> (Pages, Answer) {
        let (pages, url) = self.leave("%2Ftraces").await;
        let back = self.provider.approve(&url);
        let answer = pages.get(&back).await;
        (pages, answer)
    }

    /// Signed in.
    async fn signed_in(&self) -> Pages {
        let (pages, answer) = self.sign_in().await;
        answer.html(200);
        Pages {
            cookie: Some(cookie(&answer.headers)),
            ..pages
        }
    }

    /// What is said to somebody who is not let in.
    async fn refused(&self) -> String {
        let (pages, answer) = self.sign_in().await;
        let html = answer.html(403);
        assert!(html.contains("You are not signed in"), "{html}");
        assert!(pages.get("/servers").await.place().starts_with("/sign-in"));
        html.to_owned()
    }

    async fn audit(&self) -> Vec<Value> {
        let list = self.operator.get("/api/v1/audit").await;
        list["entries"].as_array().unwrap().clone()
    }
}

/// The name of `ann`, with the mark of who she is.
fn is_ann(name: &Value) -> bool {
    let mark = name.as_str().unwrap().strip_prefix("oidc:ann#");
    mark.is_some_and(|mark| mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

async fn is_in(pages: &Pages) -> bool {
    pages.get("/servers").await.status == 200
}

#[tokio::test]
async fn one_signs_in_at_the_provider_and_is_led_to_where_one_wanted_to_be() {
    let stage = Stage::set().await;
    let door = Pages::of(stage.operator.clone())
        .get("/sign-in?next=/audit")
        .await;
    let html = door.html(200);
    assert!(html.contains("Sign in with 127.0.0.1"), "{html}");
    assert!(
        html.contains("href=\"/sign-in/provider?next=%2Faudit\""),
        "{html}"
    );
    let (pages, answer) = stage.sign_in().await;
    let html = answer.html(200);
    // A redirect would not bring the session along.
    assert!(html.contains("<meta http-equiv=\"refresh\" content=\"0; url=/traces\">"));
    assert!(html.contains("You have the role admin"));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    let session = cookies[0].to_str().unwrap();
    assert!(session.starts_with("mcp_layer_session=") && session.contains("SameSite=Strict"));
    assert!(cookies[1].to_str().unwrap().contains("Max-Age=0"));
    let pages = Pages {
        cookie: Some(cookie(&answer.headers)),
        ..pages
    };
    let page = pages.get("/operators").await;
    assert!(page.html(200).contains("oidc:ann#"));
    let audit = stage.audit().await;
    assert_eq!(audit[0]["action"], "operator.sign_in");
    assert!(is_ann(&audit[0]["operator"]), "{}", audit[0]);
    assert_eq!(audit[0]["via"], "oidc");
    assert_eq!(audit[0]["after"]["subject"], "subject-1");
    let sent = stage.provider.server.only("/token").form();
    assert_eq!(
        sent["redirect_uri"],
        "http://127.0.0.1:8788/sign-in/callback"
    );
    assert!(sent["code_verifier"].len() >= 43);
}

#[tokio::test]
async fn an_id_token_that_lies_about_anything_lets_nobody_in() {
    let stage = Stage::set().await;
    for (member, lie, said) in [
        ("iss", json!("https://evil.example"), "another issuer"),
        ("aud", json!("other"), "for another client"),
        ("aud", json!(["gateway", "other"]), "for several clients"),
        ("azp", json!("other"), "given to another client"),
        ("nonce", json!("made-up"), "its nonce is another"),
        ("nonce", Value::Null, "its nonce is another"),
        ("exp", json!(1_000_000), "has expired"),
        ("iat", json!(1_000_000), "was not made just now"),
        ("iat", json!(9_000_000_000_u64), "was not made just now"),
        ("exp", Value::Null, "does not say when"),
        ("sub", Value::Null, "says nobody"),
    ] {
        stage
            .provider
            .say(|says| says.in_id_token = json!({member: lie}));
        // No address may fail all too often.
        stage.pass(60);
        let html = stage.refused().await;
        assert!(html.contains(said), "{member}: {html}");
    }
}

#[tokio::test]
async fn an_id_token_that_is_not_signed_as_it_must_be_lets_nobody_in() {
    let stage = Stage::set().await;
    stage.provider.say(|says| says.is_forged = true);
    assert!(stage.refused().await.contains("wrong signature"));
    stage.provider.say(|says| says.is_forged = false);
    for (head, said) in [
        (json!({"alg": "none"}), "in a way that is not accepted"),
        (json!({"alg": "HS256"}), "in a way that is not accepted"),
        (
            json!({"alg": "RS256"}),
            "with a key that is not in its list",
        ),
        (
            json!({"kid": "other"}),
            "with a key that is not in its list",
        ),
        (json!({"crit": ["x"]}), "an extension"),
    ] {
        stage.provider.say(|says| says.head = head.clone());
        let html = stage.refused().await;
        assert!(html.contains(said), "{head}: {html}");
    }
    // Whoever makes up keys has the list fetched once a minute, and no more often.
    assert_eq!(stage.provider.server.count("/jwks"), 1);
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_list_is_fetched_again() {
    let stage = Stage::set().await;
    stage.signed_in().await;
    stage.provider.rotate(true);
    stage.refused().await;
    stage.pass(61);
    stage.signed_in().await;
    assert_eq!(stage.provider.server.count("/jwks"), 2);
    stage.provider.rotate(false);
    stage.pass(61);
    stage.refused().await;
    assert_eq!(stage.provider.server.count("/jwks"), 3);
}

#[tokio::test]
async fn without_a_role_nobody_enters_and_the_page_names_the_claim() {
    let stage = Stage::set().await;
    for groups in [
        json!(["others"]),
        json!([]),
        json!("opsx"),
        json!({"ops": true}),
        json!(7),
    ] {
        stage
            .provider
            .say(|says| says.claims["groups"] = groups.clone());
        let html = stage.refused().await;
        assert!(
            html.contains("your claim groups stands for a role"),
            "{groups}: {html}"
        );
    }
    stage
        .provider
        .say(|says| drop(says.claims.as_object_mut().unwrap().remove("groups")));
    assert!(
        stage
            .refused()
            .await
            .contains("says nothing of you in the claim groups")
    );
    let audit = stage.audit().await;
    assert_eq!(audit[0]["action"], "sign_in.refused");
    assert!(is_ann(&audit[0]["target"]), "{}", audit[0]);
}

#[tokio::test]
async fn the_highest_role_counts_and_a_claim_can_lie_deep() {
    for (claim, claims, role) in [
        ("groups", json!({"groups": ["guests", "devs"]}), "editor"),
        ("groups", json!({"groups": "guests"}), "viewer"),
        (
            "realm_access.roles",
            json!({"realm_access": {"roles": ["ops"]}}),
            "admin",
        ),
        (
            "https://x.example/roles",
            json!({"https://x.example/roles": ["devs"]}),
            "editor",
        ),
    ] {
        let stage = Stage::with(|oidc| oidc.with_role_claim(claim), |admin| admin).await;
        stage.provider.say(|says| {
            says.claims = claims;
            says.claims["sub"] = "1".into();
        });
        let (_, answer) = stage.sign_in().await;
        let said = format!("You have the role {role}");
        assert!(answer.html(200).contains(&said), "{claim}: {}", answer.text);
    }
}

#[tokio::test]
async fn hostile_names_are_shown_as_text_and_are_nobody_elses() {
    let long = "x".repeat(5000);
    for (name, shown) in [
        ("<script>alert(1)</script>", "oidc:&lt;script&gt;"),
        ("admin", "oidc:admin#"),
        ("a\r\nb\u{202e}c", "oidc:abc#"),
        (&*long, "oidc:xxx"),
        ("", "oidc:subject-1#"),
    ] {
        let stage = Stage::set().await;
        stage
            .provider
            .say(|says| says.claims["preferred_username"] = name.into());
        let pages = stage.signed_in().await;
        for path in ["/operators", "/audit", "/servers"] {
            let page = pages.get(path).await;
            let html = page.html(200);
            let shown = match path {
                // In the frame it is short.
                "/servers" => &shown[..8],
                _ => shown,
            };
            assert!(html.contains(shown), "{name:?} on {path}: {html}");
            assert!(!html.contains("<script>alert"));
        }
        let operator = stage.audit().await[0]["operator"].clone();
        assert!(operator.as_str().unwrap().len() <= 114);
    }
}

#[tokio::test]
async fn whoever_chooses_a_name_is_still_told_from_others() {
    let stage = Stage::set().await;
    let mut names = Vec::new();
    for (subject, name) in [("1", "boss"), ("2", "boss"), ("1", "admin"), ("1", "boss")] {
        stage.provider.say(|says| {
            says.claims["sub"] = subject.into();
            says.claims["preferred_username"] = name.into();
        });
        stage.pass(60);
        stage.signed_in().await;
        names.push(
            stage.audit().await[0]["operator"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    let parts: Vec<_> = names
        .iter()
        .map(|name| name.split_once('#').unwrap())
        .collect();
    assert_eq!(names[0], names[3]);
    // Two of one name, and one of two names.
    assert!(
        parts[0].0 == parts[1].0 && parts[0].1 != parts[1].1,
        "{names:?}"
    );
    assert!(
        parts[0].0 != parts[2].0 && parts[0].1 == parts[2].1,
        "{names:?}"
    );
}

#[tokio::test]
async fn made_up_codes_reach_the_provider_some_times_a_minute_and_silence_nobody() {
    let stage = Stage::set().await;
    stage.provider.say(|says| says.is_granted = false);
    let back = async |address: [u8; 4]| {
        let (pages, url) = stage.leave("").await;
        let query = format!("code=junk&state={}", parameter(&url, "state"));
        let mut request = pages.request("GET", &callback(&url, &query).to_string(), None);
        request
            .extensions_mut()
            .insert(ClientAddress(address.into()));
        let answer = stage.operator.send(request).await;
        (answer.status.as_u16(), answer)
    };
    for time in 0..20 {
        let (status, answer) = back([192, 0, 2, 1]).await;
        assert_eq!(status, if time < 10 { 403 } else { 429 });
        assert_eq!(answer.headers.contains_key("retry-after"), time >= 10);
    }
    assert_eq!(stage.provider.server.count("/token"), 10);
    assert_eq!(back([192, 0, 2, 2]).await.0, 403);
    let mut wrong = request("GET", "/api/v1/servers", None);
    wrong
        .headers_mut()
        .insert("authorization", "Bearer made-up".parse().unwrap());
    stage.operator.send(wrong).await.error(401);
    let audit = stage.audit().await;
    let actions: Vec<_> = audit
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        ["token.refused", "sign_in.refused", "sign_in.refused"]
    );
    stage.provider.say(|says| says.is_granted = true);
    stage.pass(60);
    stage.signed_in().await;
}

#[tokio::test]
async fn people_who_sign_in_are_not_counted() {
    let stage = Stage::set().await;
    for _ in 0..15 {
        stage.signed_in().await;
    }
}

#[tokio::test]
async fn an_answer_is_used_once_even_if_the_browser_keeps_its_cookie() {
    let stage = Stage::set().await;
    for (is_granted, status) in [(true, 200), (false, 403)] {
        stage.provider.say(|says| says.is_granted = is_granted);
        let (pages, url) = stage.leave("").await;
        let back = stage.provider.approve(&url);
        pages.get(&back).await.html(status);
        let asked = stage.provider.server.count("/token");
        let again = pages.get(&back).await;
        assert!(again.html(400).contains("was used already"));
        assert_eq!(stage.provider.server.count("/token"), asked);
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_again_after_some_seconds() {
    let stage = Stage::set().await;
    let metadata = "/.well-known/openid-configuration";
    stage
        .provider
        .server
        .answer(metadata, || reply(503, "text/plain", ""));
    let leave = async || {
        let pages = Pages::of(stage.operator.clone());
        pages.get("/sign-in/provider").await.html(502);
    };
    futures_util::future::join_all((0..10).map(|_| leave())).await;
    leave().await;
    assert_eq!(stage.provider.server.count(metadata), 1);
    stage.pass(10);
    leave().await;
    assert_eq!(stage.provider.server.count(metadata), 2);
}

#[tokio::test]
async fn another_issuer_is_given_nothing_of_the_one_before() {
    let (keys, sessions) = (KeyRing::generate(), MemoryOperatorSessions::default());
    let set = |admin: Admin| {
        admin
            .with_session_keys(keys.clone())
            .with_operator_sessions(sessions.clone())
    };
    let stage = Stage::with(|oidc| oidc, set).await;
    let pages = stage.signed_in().await;
    let other = Stage::with(|oidc| oidc, set).await;
    let there = Pages {
        operator: other.operator.clone(),
        ..pages
    };
    assert!(!is_in(&there).await);
    other.pass(60);
    assert!(!is_in(&there).await);
    assert!(other.provider.server.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_comes_to_another_browser_or_again_is_not_used() {
    let stage = Stage::set().await;
    let (pages, url) = stage.leave("").await;
    let back = stage.provider.approve(&url);
    let (other, _) = stage.leave("").await;
    for pages in [Pages::of(stage.operator.clone()), other] {
        let answer = pages.get(&back).await;
        assert!(
            answer
                .html(400)
                .contains("nothing that was begun in this browser")
        );
    }
    // Too late.
    stage.pass(601);
    let answer = pages.get(&back).await;
    assert!(
        answer
            .html(400)
            .contains("nothing that was begun in this browser")
    );
    assert_eq!(stage.provider.server.count("/token"), 0);
}

#[tokio::test]
async fn an_answer_of_another_sender_is_not_used() {
    let stage = Stage::set().await;
    for (query, status) in [
        ("code=c&iss=https%3A%2F%2Fevil.example", 403),
        ("error=access_denied", 403),
        ("code=c&code=d", 400),
        ("", 400),
    ] {
        let (pages, url) = stage.leave("").await;
        let state = parameter(&url, "state");
        let back = callback(&url, &format!("{query}&state={state}")).to_string();
        pages.get(&back).await.html(status);
    }
    assert_eq!(stage.provider.server.count("/token"), 0);
}

#[tokio::test]
async fn nobody_is_led_outside() {
    let stage = Stage::set().await;
    let (pages, url) = stage.leave("%2F%2Fevil.example").await;
    let answer = pages.get(&stage.provider.approve(&url)).await;
    assert!(
        answer.html(200).contains("url=/overview\""),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_provider_that_is_broken_is_told_in_words() {
    let stage = Stage::set().await;
    let server = &stage.provider.server;
    let metadata = "/.well-known/openid-configuration";
    for (what, reply) in [("no metadata", json_reply as fn(u16, &Value) -> _)] {
        server.answer(metadata, move || reply(404, &json!({})));
        stage.pass(10);
        let answer = Pages::of(stage.operator.clone())
            .get("/sign-in/provider")
            .await;
        assert!(
            answer.html(502).contains("Nobody can sign in there now"),
            "{what}"
        );
    }
    server.json(
        metadata,
        json!({"issuer": "https://evil.example",
        "authorization_endpoint": server.at("/authorize"), "token_endpoint": server.at("/token"),
        "jwks_uri": server.at("/jwks")}),
    );
    stage.pass(10);
    let answer = Pages::of(stage.operator.clone())
        .get("/sign-in/provider")
        .await;
    assert!(
        answer.html(502).contains("belong to another issuer"),
        "{}",
        answer.text
    );
    server.answer(metadata, html);
    stage.pass(10);
    let answer = Pages::of(stage.operator.clone())
        .get("/sign-in/provider")
        .await;
    assert!(
        !answer.html(502).contains("<script>provider"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_role_is_looked_at_again_within_a_minute() {
    let stage = Stage::set().await;
    let pages = stage.signed_in().await;
    assert_eq!(pages.get("/operators").await.status, 200);
    let asked = stage.provider.server.count("/userinfo");
    stage.pass(20);
    assert!(is_in(&pages).await);
    assert_eq!(stage.provider.server.count("/userinfo"), asked);
    stage
        .provider
        .say(|says| says.claims["groups"] = json!(["guests"]));
    stage.pass(15);
    assert_eq!(pages.get("/operators").await.status, 403);
    assert!(is_in(&pages).await);
    stage.provider.say(|says| says.claims["groups"] = json!([]));
    stage.pass(59);
    assert!(!is_in(&pages).await);
    // It does not come back with the role.
    stage
        .provider
        .say(|says| says.claims["groups"] = json!(["ops"]));
    assert!(!is_in(&pages).await);
}

#[tokio::test]
async fn a_provider_that_says_no_ends_the_session() {
    let stage = Stage::set().await;
    let pages = stage.signed_in().await;
    stage.provider.say(|says| says.is_granted = false);
    assert!(is_in(&pages).await);
    stage.pass(60);
    assert!(!is_in(&pages).await);
}

#[tokio::test]
async fn a_provider_that_is_away_ends_the_session_after_some_minutes_and_not_before() {
    let stage = Stage::set().await;
    let pages = stage.signed_in().await;
    stage
        .provider
        .server
        .answer("/userinfo", || reply(503, "text/plain", ""));
    for _ in 0..3 {
        stage.pass(50);
        assert!(is_in(&pages).await);
    }
    stage.pass(50);
    assert!(!is_in(&pages).await);
}

#[tokio::test]
async fn where_the_userinfo_has_no_claim_the_refresh_token_is_used_and_each_one_once() {
    let stage = Stage::set().await;
    stage
        .provider
        .say(|says| says.in_userinfo = json!({"groups": null}));
    let pages = stage.signed_in().await;
    for _ in 0..3 {
        stage.pass(60);
        assert!(is_in(&pages).await);
    }
    let server = &stage.provider.server;
    let refreshes = server
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/token" && seen.form()["grant_type"] == "refresh_token");
    let used: Vec<_> = refreshes
        .map(|seen| seen.form()["refresh_token"].clone())
        .collect();
    assert_eq!(
        used,
        ["refresh-token-1", "refresh-token-2", "refresh-token-3"]
    );
    // Somebody else in its place is nobody.
    stage
        .provider
        .say(|says| says.in_id_token = json!({"sub": "subject-2"}));
    stage.pass(60);
    assert!(!is_in(&pages).await);
}

#[tokio::test]
async fn a_refreshed_id_token_that_fails_its_checks_is_a_no() {
    for (in_id_token, is_forged, kid) in [
        (json!({"aud": "other"}), false, None),
        (json!({"iss": "https://evil.example"}), false, None),
        (json!({"exp": 1_000_000}), false, None),
        (json!({}), true, None),
        (json!({}), false, Some("made-up")),
    ] {
        let stage = Stage::set().await;
        let no_claim = json!({"groups": null});
        stage.provider.say(|says| says.in_userinfo = no_claim);
        let pages = stage.signed_in().await;
        stage.pass(60);
        assert!(is_in(&pages).await);
        stage.provider.say(|says| {
            (says.in_id_token, says.is_forged) = (in_id_token.clone(), is_forged);
            if let Some(kid) = kid {
                says.head["kid"] = kid.into();
            }
        });
        stage.pass(60);
        assert!(!is_in(&pages).await, "{in_id_token} {is_forged} {kid:?}");
    }
}

#[tokio::test]
async fn many_requests_look_once() {
    let stage = Stage::set().await;
    stage
        .provider
        .say(|says| says.in_userinfo = json!({"groups": null}));
    let pages = stage.signed_in().await;
    stage.pass(45);
    let requests = (0..10).map(|_| is_in(&pages));
    let all = futures_util::future::join_all(requests).await;
    assert!(all.into_iter().all(|is_in| is_in));
    assert_eq!(stage.provider.server.count("/token"), 2);
}

#[tokio::test]
async fn a_session_is_one_on_every_replica_and_no_longer_than_its_provider_is_configured() {
    let (keys, sessions) = (KeyRing::generate(), MemoryOperatorSessions::default());
    let set = |admin: Admin| {
        admin
            .with_session_keys(keys.clone())
            .with_operator_sessions(sessions.clone())
    };
    let stage = Stage::with(|oidc| oidc, set).await;
    let pages = stage.signed_in().await;
    let at = |operator: Operator| Pages {
        operator,
        ..pages.clone()
    };
    let configured = stage.provider.configured();
    let other = Operator::with(MemoryRegistry::default(), |admin| {
        set(admin).with_oidc(configured)
    });
    assert!(is_in(&at(other)).await);
    let without = Operator::with(MemoryRegistry::default(), set);
    assert!(!is_in(&at(without)).await);
}
