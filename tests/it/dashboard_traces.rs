//! Exchanges in the dashboard: a list, and one as a timeline.

use std::time::SystemTime;

use mcp_layer::guard::GuardRule;
use mcp_layer::registry::MemoryTraces;
use mcp_layer::trace::{GuardStage, TraceId};
use serde_json::json;

use super::support::admin::Operator;
use super::support::gateway::{Gateway, auto, chat, with_mcp};
use super::support::guards::{Does, Sentry};
use super::support::model::{calls, says};
use super::support::pages::Pages;

/// A gateway whose exchanges are recorded, and somebody who looks at them.
async fn watched() -> (Gateway, Pages) {
    let traces = MemoryTraces::default();
    let gateway = Gateway::new([
        calls(&[("s__echo", json!({"text": "<b>hello</b>\u{202e}"}))]),
        says("done"),
        calls(&[("s__echo", json!({"text": "by hand"}))]),
    ])
    .await;
    let gateway = gateway.layered(|layer| layer.add_trace_sink(traces.clone()));
    let operator = Operator::with(gateway.registry.clone(), |admin| admin.with_traces(traces));
    (gateway, Pages::signed_in(operator).await)
}

/// Where the first exchange of a list is shown.
fn first(html: &str) -> String {
    let link = html.split("href=\"/traces/").nth(1).unwrap();
    format!("/traces/{}", link.split('"').next().unwrap())
}

#[tokio::test]
async fn without_an_exchange_there_is_one_to_try() {
    let (_gateway, pages) = watched().await;
    let page = pages.get("/traces").await;
    assert!(page.html(200).contains("No traces yet"));
    assert!(page.text.contains("\"servers\": [\"s\"]"), "{}", page.text);
}

#[tokio::test]
async fn an_exchange_is_listed_and_shown_as_a_timeline() {
    let (gateway, pages) = watched().await;
    gateway.send_as("web", &auto(json!({}))).await;
    let list = pages.get("/traces").await;
    let html = list.html(200);
    for part in ["Answered", "<bdi>web</bdi>", "<bdi>m</bdi>", ">24<"] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let page = pages.get(&first(html)).await;
    let html = page.html(200);
    for part in [
        "Arguments",
        "&lt;b&gt;hello&lt;/b&gt;",
        ">U+202E</span>",
        "Result, in bytes",
        "s__echo",
        "<rect class=\"turn\"",
        "<rect class=\"call\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains("not executed here"));
    for (query, found) in [
        ("?project=web&server=s&model=m&outcome=ok", true),
        ("?project=batch", false),
        ("?outcome=refused", false),
    ] {
        let page = pages.get(&format!("/traces{query}")).await;
        assert_eq!(
            page.html(200).contains("No trace matches"),
            !found,
            "{query}"
        );
    }
    pages.get("/traces?cursor=x").await.html(400);
}

#[tokio::test]
async fn a_title_says_what_happened_and_failed_tools_have_a_badge() {
    let (gateway, pages) = watched().await;
    gateway.model.clear();
    let bad = calls(&[("s__echo", json!({"text": 7}))]);
    gateway.model.add([bad, says("sorry")]);
    gateway.send(&auto(json!({}))).await;
    let unknown = json!({"mcp": {"servers": ["s", "nobody"]}});
    gateway.send(&auto(unknown)).await;
    let list = pages.get("/traces?failed=tools&q=ECHO").await;
    let html = list.html(200);
    for part in [
        "<bdi>echo on s</bdi>",
        ">1 failed<",
        "value=\"ECHO\"",
        "name=\"failed\" value=\"tools\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains("Refused: "), "{html}");
    let page = pages.get(&first(html)).await;
    let html = page.html(200);
    for part in [
        "<h1><bdi>echo on s · answered</bdi></h1>",
        "<title>echo on s · answered",
        "href=\"/servers/s\"",
        ">1 failed<",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }

    let list = pages.get("/traces?outcome=refused").await;
    let page = pages.get(&first(list.html(200))).await;
    let html = page.html(200);
    for part in [
        "Refused: ",
        "mcp_server_not_found",
        "<code><bdi>mcp.servers[1]</bdi></code>",
        "status 404",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains("href=\"/servers/nobody\""));
    let page = pages.get("/traces?from=yesterday").await;
    assert!(page.html(400).contains("must be a time"), "{}", page.text);
}

#[tokio::test]
async fn a_call_that_was_not_run_here_is_marked() {
    let (gateway, pages) = watched().await;
    gateway.send_as("web", &auto(json!({}))).await;
    let manual = with_mcp(json!({"enabled": true, "servers": ["s"]}), json!({}));
    gateway.send_as("web", &manual).await;
    let list = pages.get("/traces").await;
    let page = pages.get(&first(list.html(200))).await;
    let html = page.html(200);
    assert!(html.contains("not executed here") && html.contains("<rect class=\"unrun\""));
}

#[tokio::test]
async fn a_guard_is_shown_with_the_tool_that_it_judged_and_what_it_decided() {
    let traces = MemoryTraces::default();
    for (does, badge) in [
        (Does::Allow, None),
        (
            Does::Rewrite(json!({"text": "else"})),
            Some("<span class=\"badge \">rewritten<"),
        ),
        (Does::Ask, Some("<span class=\"badge warn\">asks first<")),
        (Does::Deny("no"), Some("<span class=\"badge bad\">denied<")),
    ] {
        let echo = calls(&[("s__echo", json!({"text": "hello"}))]);
        let gateway = Gateway::new([echo, says("done")]).await.layered(|layer| {
            let rule = GuardRule::new("g", Sentry::before(does));
            let rule = rule.with_stages([GuardStage::Before]);
            layer.with_guards([rule]).add_trace_sink(traces.clone())
        });
        gateway.send(&auto(json!({}))).await;
        let operator = Operator::with(gateway.registry.clone(), |admin| {
            admin.with_traces(traces.clone())
        });
        let pages = Pages::signed_in(operator).await;
        let list = pages.get("/traces").await;
        let page = pages.get(&first(list.html(200))).await;
        let html = page.html(200);
        let bar = html.split("<bdi>g · s__echo</bdi>").nth(1).unwrap();
        let bar = bar.split("</summary>").next().unwrap();
        assert!(bar.contains("<rect class=\"guard\""), "{bar}");
        match badge {
            Some(badge) => assert!(bar.contains(badge), "{badge}: {bar}"),
            None => assert!(!bar.contains("badge"), "{bar}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_given_again_says_that_nothing_ran() {
    let (gateway, pages) = watched().await;
    for _ in 0..2 {
        let mut request = chat(auto(json!({})).to_string());
        let key = "idempotency-key";
        request.headers_mut().insert(key, "k".parse().unwrap());
        gateway.request(request).await;
    }
    let list = pages.get("/traces").await;
    let page = pages.get(&first(list.html(200))).await;
    let html = page.html(200);
    assert!(html.contains("was given again"), "{html}");
}

#[tokio::test]
async fn an_exchange_that_is_not_there_is_a_page_that_says_so() {
    let (_gateway, pages) = watched().await;
    for id in [
        TraceId::new(SystemTime::now()).to_string(),
        "x".to_owned(),
        "%ff".to_owned(),
    ] {
        let page = pages.get(&format!("/traces/{id}")).await;
        assert!(page.html(404).contains("Page not found"), "{}", page.text);
    }
}
