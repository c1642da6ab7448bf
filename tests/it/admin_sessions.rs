//! Browsers that are signed in: seen, and ended, wherever they are.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mcp_layer::admin::{Admin, Operators, Role};
use mcp_layer::registry::{
    MemoryOperatorSessions, MemoryRegistry, OperatorSession, OperatorSessionStore,
};
use mcp_layer::secret::KeyRing;
use serde_json::Value;

use super::support::admin::Operator;
use super::support::operators::{EDITOR, VIEWER, operators, somebody};
use super::support::pages::Pages;

const SESSIONS: &str = "/api/v1/sessions";

/// A clock that is put forward by hand.
#[derive(Clone)]
struct Time(Arc<Mutex<SystemTime>>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::now())))
    }

    fn pass(&self, seconds: f64) {
        *self.0.lock().unwrap() += Duration::from_secs_f64(seconds);
    }
}

/// Replicas that share keys, operators and sessions.
struct Replicas {
    keys: KeyRing,
    operators: Operators,
    sessions: MemoryOperatorSessions,
    time: Time,
}

impl Replicas {
    fn new() -> Self {
        Self {
            keys: KeyRing::generate(),
            operators: operators(),
            sessions: MemoryOperatorSessions::default(),
            time: Time::new(),
        }
    }

    fn one(&self) -> Operator {
        self.set(|admin| admin.with_operator_sessions(self.sessions.clone()))
    }

    /// One that has its sessions for itself.
    fn apart(&self) -> Operator {
        self.set(|admin| admin)
    }

    fn set(&self, set: impl FnOnce(Admin) -> Admin) -> Operator {
        let now = self.time.0.clone();
        Operator::with(MemoryRegistry::default(), |admin| {
            set(admin
                .with_session_keys(self.keys.clone())
                .with_operators(self.operators.clone())
                .with_clock(move || *now.lock().unwrap()))
        })
    }
}

fn at(operator: &Operator, pages: &Pages) -> Pages {
    Pages {
        operator: operator.clone(),
        ..pages.clone()
    }
}

async fn is_in(pages: &Pages) -> bool {
    pages.get("/servers").await.status == 200
}

async fn listed(operator: &Operator) -> Vec<Value> {
    let list = operator.get(SESSIONS).await;
    list["sessions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_admin_sees_who_is_signed_in_and_ends_any_session_on_every_replica() {
    let replicas = Replicas::new();
    let (one, other) = (replicas.one(), replicas.one());
    let vera = Pages::signed_in_as(one.clone(), VIEWER).await;
    let eddie = Pages::signed_in_as(one.clone(), EDITOR).await;
    assert!(is_in(&vera).await && is_in(&at(&other, &vera)).await);
    let all = listed(&other).await;
    assert_eq!(all.len(), 2);
    let of_vera = all
        .iter()
        .find(|session| session["operator"] == "vera")
        .unwrap();
    assert_eq!(of_vera["role"], "viewer");
    assert_eq!(of_vera["via"], "token");
    let path = format!("{SESSIONS}/{}", of_vera["id"].as_str().unwrap());
    assert_eq!(other.ask("DELETE", &path, None).await.status, 204);
    assert!(!is_in(&at(&other, &vera)).await);
    replicas.time.pass(0.6);
    assert!(!is_in(&vera).await);
    assert!(is_in(&eddie).await);
    other.ask("DELETE", &path, None).await.error(404);
    let audit = other.get("/api/v1/audit?action=session.end").await;
    assert_eq!(audit["entries"][0]["target"], "vera");
    assert_eq!(audit["entries"][0]["operator"], "admin");
}

#[tokio::test]
async fn the_page_of_operators_ends_sessions_too() {
    let replicas = Replicas::new();
    let operator = replicas.one();
    let vera = Pages::signed_in_as(operator.clone(), VIEWER).await;
    let admin = Pages::signed_in(operator.clone()).await;
    let page = admin.get("/operators").await;
    let html = page.html(200);
    for text in ["vera", "eddie", "admin", "this browser", "Signed in now"] {
        assert!(html.contains(text), "{text}");
    }
    let id = listed(&operator).await;
    let id = id
        .iter()
        .find(|session| session["operator"] == "vera")
        .unwrap();
    let path = format!("/operators/sessions/{}/end", id["id"].as_str().unwrap());
    assert!(html.contains(&path));
    assert_eq!(admin.post(&path, &[]).await.place(), "/operators");
    assert!(!is_in(&vera).await);
    assert!(is_in(&admin).await);
}

#[tokio::test]
async fn a_cookie_that_was_kept_is_worth_nothing_after_signing_out() {
    for operator in [Replicas::new().one(), Replicas::new().apart()] {
        let vera = Pages::signed_in_as(operator.clone(), VIEWER).await;
        assert_eq!(vera.post("/sign-out", &[]).await.place(), "/sign-in?out");
        assert!(!is_in(&vera).await);
        let audit = operator.get("/api/v1/audit?action=operator.sign_out").await;
        assert_eq!(audit["entries"][0]["operator"], "vera");
    }
}

#[tokio::test]
async fn whoever_is_removed_or_gets_another_token_is_signed_out_at_once() {
    let replicas = Replicas::new();
    let operator = replicas.one();
    let vera = Pages::signed_in_as(operator.clone(), VIEWER).await;
    let eddie = Pages::signed_in_as(operator.clone(), EDITOR).await;
    replicas
        .operators
        .replace([somebody("vera", "another-token-of-vera", Role::Viewer)])
        .unwrap();
    assert!(!is_in(&vera).await && !is_in(&eddie).await);
    // Another role with the same token is in force, and nobody has to sign in again.
    replicas
        .operators
        .replace([somebody("eddie", EDITOR, Role::Viewer)])
        .unwrap();
    assert!(is_in(&eddie).await);
    assert_eq!(eddie.get("/create").await.status, 403);
}

#[tokio::test]
async fn a_session_that_no_store_has_is_none_where_a_store_was_given() {
    let replicas = Replicas::new();
    let apart = replicas.apart();
    let vera = Pages::signed_in_as(apart.clone(), VIEWER).await;
    assert!(is_in(&vera).await);
    assert!(!is_in(&at(&replicas.one(), &vera)).await);
    // Where everybody has memory of their own, the keys alone count, as long as it was not ended.
    let third = replicas.apart();
    let there = at(&third, &vera);
    assert!(is_in(&there).await);
    assert_eq!(listed(&third).await.len(), 1);
    there.post("/sign-out", &[]).await;
    assert!(!is_in(&there).await);
    replicas.time.pass(1.0);
    assert!(!is_in(&there).await);
}

#[tokio::test]
async fn a_session_is_found_by_its_id_behind_a_thousand_others() {
    let replicas = Replicas::new();
    let operator = replicas.one();
    let vera = Pages::signed_in_as(operator.clone(), VIEWER).await;
    let id = listed(&operator).await[0]["id"].clone();
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    for number in 0..1100 {
        let (id, who) = (format!("{number:032x}"), format!("oidc:{}", number % 11));
        let mut session = OperatorSession::new("default", id, who, now, now + hour);
        (session.role, session.via) = ("viewer".to_owned(), "oidc".to_owned());
        session.used_at += Duration::from_secs(60);
        replicas.sessions.begin_session(&session).await.unwrap();
    }
    let all = listed(&operator).await;
    assert!(all.iter().all(|session| session["operator"] != "vera"));
    let path = format!("{SESSIONS}/{}", id.as_str().unwrap());
    assert_eq!(operator.ask("DELETE", &path, None).await.status, 204);
    assert!(!is_in(&vera).await);
}

#[tokio::test]
async fn whoever_signs_in_again_and_again_signs_out_nobody_else() {
    let replicas = Replicas::new();
    let operator = replicas.one();
    let admin = Pages::signed_in(operator.clone()).await;
    let first = Pages::signed_in_as(operator.clone(), VIEWER).await;
    replicas.time.pass(1.0);
    let mut last = first.clone();
    for _ in 0..100 {
        last = Pages::signed_in_as(operator.clone(), VIEWER).await;
    }
    assert!(is_in(&admin).await && is_in(&last).await);
    assert!(!is_in(&first).await);
    assert_eq!(listed(&operator).await.len(), 101);
}

#[tokio::test]
async fn the_last_use_is_noted_to_the_minute() {
    let replicas = Replicas::new();
    let operator = replicas.one();
    let vera = Pages::signed_in_as(operator.clone(), VIEWER).await;
    let used = async || listed(&operator).await[0]["used_at"].clone();
    let began = used().await;
    replicas.time.pass(30.0);
    assert!(is_in(&vera).await);
    assert_eq!(used().await, began);
    replicas.time.pass(31.0);
    assert!(is_in(&vera).await);
    assert!(used().await.as_str() > began.as_str());
}

#[tokio::test]
async fn a_session_that_is_over_is_not_listed() {
    let replicas = Replicas::new();
    let operator = replicas.one();
    Pages::signed_in_as(operator.clone(), VIEWER).await;
    assert_eq!(listed(&operator).await.len(), 1);
    replicas.time.pass(12.0 * 3600.0 + 1.0);
    assert_eq!(listed(&operator).await.len(), 0);
}
