//! A chat that an operator tries: through the layer, as a caller would ask.

use mcp_layer::{
    admin::Chat,
    registry::{MemoryTraces, Server, ServerStore},
};
use serde_json::json;
use tower::Layer;

use super::support::{
    admin::Operator,
    framework::turn,
    gateway::Gateway,
    model::{Answer, calls, says},
    pages::Pages,
};

const ASKED: [(&str, &str); 4] = [
    ("model", "m"),
    ("message", "Say <b>hello</b>"),
    ("server", "s"),
    ("project", "web"),
];

async fn pages(answers: impl IntoIterator<Item = Answer>) -> (Gateway, Pages) {
    let traces = MemoryTraces::default();
    let gateway = Gateway::new(answers).await;
    let gateway = gateway.layered(|layer| layer.add_trace_sink(traces.clone()));
    let chat = Chat::new(gateway.layer.layer(gateway.model.clone()));
    let operator = Operator::with(gateway.registry.clone(), |admin| {
        admin.with_traces(traces).with_chat(chat)
    });
    (gateway, Pages::signed_in(operator).await)
}

#[tokio::test]
async fn a_chat_shows_its_answer_its_tools_and_its_trace() {
    let echo = calls(&[("s__echo", json!({"text": "hello"}))]);
    let (gateway, pages) = pages([echo, says("<i>done</i>")]).await;
    let form = pages.get("/chat?server=s").await;
    let html = form.html(200);
    assert!(html.contains("value=\"s\" checked"), "{html}");
    let page = pages.post("/chat", &ASKED).await;
    let html = page.html(200);
    for part in [
        "&lt;i&gt;done&lt;/i&gt;",
        "<td class=\"mono\"><bdi>echo</bdi></td>",
        "<summary>Python</summary>",
        "&lt;b&gt;hello&lt;/b&gt;",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let asked = gateway.model.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0].headers.get("authorization").is_none(),
        "the operator's token stays here"
    );
    assert!(asked[0].headers.get("cookie").is_none());
    let traces = pages
        .operator
        .get("/api/v1/traces?project=web&server=s")
        .await;
    assert_eq!(traces["traces"].as_array().unwrap().len(), 1);
    let trace = &traces["traces"][0]["id"];
    let link = format!("href=\"/traces/{}\"", trace.as_str().unwrap());
    assert!(html.contains(&link), "{html}");
    let audit = pages.operator.get("/api/v1/audit?action=chat.ask").await;
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["target"], "m");
    let after = json!({"servers": ["s"], "project": "web", "trace": trace});
    assert_eq!(entries[0]["after"], after);
}

#[tokio::test]
async fn a_streamed_chat_comes_with_the_events_of_its_tools() {
    let echo = turn(true, "", &[("s__echo", json!({"text": "hello"}))]);
    let (_gateway, pages) = pages([echo, turn(true, "done", &[])]).await;
    let answer = pages.post("/chat/stream", &ASKED).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert!(answer.text.contains("call_finished"), "{}", answer.text);
    let trace = answer.headers["x-trace-id"].to_str().unwrap();
    let trace = pages.operator.get(&format!("/api/v1/traces/{trace}")).await;
    assert_eq!(
        (&trace["model"], &trace["outcome"]),
        (&json!("m"), &json!("ok"))
    );
    assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
}

#[tokio::test]
async fn what_callers_are_refused_for_is_shown() {
    let (_gateway, pages) = pages([]).await;
    let mut asked = ASKED;
    asked[2].1 = "nobody";
    let page = pages.post("/chat", &asked).await;
    assert!(
        page.html(200).contains("No answer") && page.text.contains("nobody"),
        "{}",
        page.text
    );
    let page = pages.post("/chat", &ASKED[3..]).await;
    let html = page.html(400);
    for part in [
        "Nothing was sent",
        "id=\"f-model-wrong\"",
        "id=\"f-servers-wrong\"",
        "id=\"f-message-wrong\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    // The script of the page shows the message, whoever finds the fault.
    for (fields, path, message) in [
        (&ASKED[..2], "/chat/stream", "choose a server"),
        (&ASKED[2..], "/chat/stream", "name a model; write a message"),
    ] {
        let answer = pages.post(path, fields).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.expect(400)["error"]["message"], message);
    }
    let mut outside = pages.clone();
    outside.cookie = None;
    let answer = outside.post("/chat/stream", &ASKED).await;
    assert_eq!(answer.error(403).0, "signed_out");
}

#[tokio::test]
async fn a_chat_is_of_a_project_that_can_use_the_server() {
    let (gateway, pages) = pages([]).await;
    let web = Server::new("web-only", "http://127.0.0.1:9/mcp").unwrap();
    let web = web.with_projects(["web", "zoo"]).unwrap();
    gateway
        .registry
        .insert(web.with_enabled(false))
        .await
        .unwrap();
    let page = pages.get("/chat?server=web-only").await;
    let html = page.html(200);
    assert!(html.contains("name=\"project\" value=\"web\""), "{html}");
    let inactive = "<bdi>web-only</bdi> <span class=\"muted\">(inactive)</span>";
    assert!(html.contains(inactive), "{html}");
    let html = pages.get("/chat?server=s").await;
    let html = html.html(200);
    assert!(
        html.contains("name=\"project\" value=\"default\""),
        "{html}"
    );
    let asked = [ASKED[0], ASKED[1], ("server", "web-only")];
    let answer = pages.post("/chat/stream", &asked).await;
    assert_eq!(
        answer.expect(400)["error"]["message"],
        "the server web-only is not available to the project default; choose one of: web, zoo"
    );
    let page = pages.post("/chat", &asked).await;
    assert!(page.html(400).contains("f-project-wrong"), "{}", page.text);
}

#[tokio::test]
async fn a_project_that_no_key_could_have_is_not_asked_for() {
    let (gateway, pages) = pages([]).await;
    let long = "p".repeat(101);
    for project in [&*long, "a\u{0}b"] {
        let mut asked = ASKED;
        asked[3].1 = project;
        let page = pages.post("/chat", &asked).await;
        assert!(page.html(400).contains("1 to 100"), "{}", page.text);
        assert_eq!(pages.post("/chat/stream", &asked).await.status, 400);
    }
    assert!(gateway.model.asked().is_empty());
    let audit = pages.operator.get("/api/v1/audit?action=chat.ask").await;
    assert_eq!(audit["entries"], json!([]));
}

#[tokio::test]
async fn without_a_model_there_is_no_chat() {
    let pages = Pages::in_memory().await;
    let page = pages.get("/chat").await;
    assert!(page.html(200).contains("no chat to try"), "{}", page.text);
    assert_eq!(pages.post("/chat/stream", &ASKED).await.status, 404);
}
