//! Operators before two replicas over one database: one audit, and sessions that end on both.

use std::time::{Duration, Instant};

use mcp_layer::registry::SqlRegistry;
use mcp_layer::secret::KeyRing;
use serde_json::json;

use crate::support::admin::Operator;
use crate::support::operators::{EDITOR, VIEWER, with};
use crate::support::pages::Pages;
use crate::support::postgres::Postgres;
use crate::support::sql::open;

fn replica(registry: &SqlRegistry, keys: &KeyRing) -> Operator {
    with(registry.clone(), |admin| {
        admin
            .with_audit(registry.clone())
            .with_operator_sessions(registry.clone())
            .with_session_keys(keys.clone())
    })
}

#[tokio::test]
async fn a_session_that_is_ended_on_one_replica_ends_on_the_other_within_a_second() {
    let postgres = Postgres::start();
    let (url, keys) = (postgres.database("operators"), KeyRing::generate());
    let (here, there) = (open(&url, &keys).await, open(&url, &keys).await);
    let (one, other) = (replica(&here, &keys), replica(&there, &keys));
    let vera = Pages::signed_in_as(one.clone(), VIEWER).await;
    let elsewhere = Pages {
        operator: other.clone(),
        ..vera.clone()
    };
    vera.get("/servers").await.html(200);
    elsewhere.get("/servers").await.html(200);
    let sessions = other.get("/api/v1/sessions").await;
    let id = sessions["sessions"][0]["id"].as_str().unwrap();
    let ended = one
        .ask("DELETE", &format!("/api/v1/sessions/{id}"), None)
        .await;
    assert_eq!(ended.status, 204);
    let since = Instant::now();
    while elsewhere.get("/servers").await.status == 200 {
        assert!(since.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("ended on the other replica after {:?}", since.elapsed());
    assert_eq!(vera.get("/servers").await.status, 303);
}

#[tokio::test]
async fn what_is_done_on_either_replica_is_in_one_audit_in_the_order_of_time() {
    let postgres = Postgres::start();
    let (url, keys) = (postgres.database("audit"), KeyRing::generate());
    let (here, there) = (open(&url, &keys).await, open(&url, &keys).await);
    let (one, other) = (replica(&here, &keys), replica(&there, &keys));
    for (operator, name) in [(&one, "a"), (&other, "b"), (&one, "c"), (&other, "d")] {
        let body = json!({"name": name, "url": "https://mcp.example.com/mcp"}).to_string();
        let created = operator.ask_as(EDITOR, "POST", "/api/v1/servers", Some(&body));
        created.await.expect(201);
    }
    for operator in [&one, &other] {
        let audit = operator.get("/api/v1/audit?action=server.").await;
        let targets = audit["entries"].as_array().unwrap().iter();
        let targets: Vec<_> = targets.map(|entry| &entry["target"]).collect();
        assert_eq!(targets, ["d", "c", "b", "a"]);
        assert_eq!(audit["entries"][0]["operator"], "eddie");
    }
}
