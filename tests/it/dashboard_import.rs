//! Importing servers in the dashboard, with a file or a pasted text.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::support::{
    admin::{Answer, Operator, set},
    pages::Pages,
};

/// What a browser sends of the form.
fn upload(pages: &Pages, file: &str, text: &str) -> Request<Body> {
    let part = |name: &str, more: &str, content: &str| {
        format!(
            "--AaB03x\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n{content}\r\n"
        )
    };
    let more = "; filename=\"mcp.json\"\r\ncontent-type: application/json";
    let body = part("file", more, file) + &part("text", "", text) + "--AaB03x--\r\n";
    let mut request = pages.request("POST", "/import", Some(body));
    set(
        &mut request,
        "content-type",
        "multipart/form-data; boundary=AaB03x",
    );
    request
}

async fn preview(pages: &Pages, file: &str, text: &str) -> Answer {
    pages.operator.send(upload(pages, file, text)).await
}

/// The file that a preview carries.
fn sealed(html: &str) -> String {
    let rest = html.split("name=\"file\" value=\"").nth(1).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn drafts(operator: &Operator) -> usize {
    let list = operator.get("/api/v1/servers?status=draft").await;
    list["servers"].as_array().unwrap().len()
}

const SECRET: &str = "imported-s3cret-of-a-page";

fn file() -> String {
    json!({"mcpServers": {
        "Git \"Hub\" <b>": {"url": "https://github.example/mcp", "headers": {
            "Authorization": "Bearer ${input:token}", "X-Key": SECRET,
        }},
        "files": {"command": "npx", "args": ["server-files"], "env": {"TOKEN": SECRET}},
        "off": {"url": "https://off.example/mcp", "disabled": true},
    }})
    .to_string()
}

#[tokio::test]
async fn what_would_be_done_is_shown_then_done() {
    let pages = Pages::in_memory().await;
    let list = pages.get("/servers").await;
    assert!(list.html(200).contains("href=\"/import\""));
    let form = pages.get("/import").await;
    assert!(form.html(200).contains("type=\"file\"") && form.text.contains("<textarea"));
    for (chosen, pasted) in [(file(), String::new()), (String::new(), file())] {
        let answer = preview(&pages, &chosen, &pasted).await;
        let html = answer.html(200);
        assert!(!html.contains(SECRET), "{html}");
        for part in [
            "2 drafts",
            "git-hub-b",
            "Git &quot;Hub&quot; &lt;b&gt;",
            "${input:token}",
            "Stays switched off",
            "1 server needs manual setup",
            "npx -y supergateway",
            "<bdi>TOKEN</bdi>",
            "Create 2 drafts",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert_eq!(drafts(&pages.operator).await, 0);
    }
    let answer = preview(&pages, &file(), "").await;
    let sealed = sealed(answer.html(200));
    let done = pages.post("/import/confirm", &[("file", &sealed)]).await;
    assert_eq!(done.place(), "/servers?done=imported&count=2");
    let list = pages.get(done.place()).await;
    assert!(
        list.html(200)
            .contains("2 drafts created. Finish setting up each one below.")
    );
    assert!(list.text.contains("/servers/git-hub-b/setup/auth"));
    assert_eq!(drafts(&pages.operator).await, 2);
    // Whoever goes on with it is told what the file leaves open.
    for step in ["auth", "review"] {
        let page = pages.get(&format!("/servers/git-hub-b/setup/{step}")).await;
        assert!(
            page.html(200)
                .contains("The header authorization: <code>${input:token}</code>")
        );
        assert!(!page.text.contains(SECRET));
    }
    let review = pages.get("/servers/off/setup/review").await;
    assert!(review.html(200).contains("switch it on"));
}

#[tokio::test]
async fn what_is_wrong_is_listed_and_nothing_is_kept() {
    let pages = Pages::in_memory().await;
    let url = "https://mcp.example.com";
    let bad = json!({"mcpServers": {
        "<i>a</i>": {"url": 1}, "b": {}, "c": {"url": url, "headers": {"x y": SECRET}},
    }});
    let long = json!({"mcpServers": {"a": {"url": url, "description": "x".repeat(600 << 10)}}});
    for (text, status, said) in [
        (
            bad.to_string(),
            400,
            "mcpServers.&lt;i&gt;a&lt;/i&gt;.url must be a string",
        ),
        (
            bad.to_string(),
            400,
            "mcpServers.b has neither url nor command",
        ),
        (bad.to_string(), 400, "mcpServers.c: auth.headers[0].name"),
        (String::new(), 400, "Choose a file, or paste its text"),
        (
            "{".to_owned(),
            400,
            "The file is not JSON: line 1, column 1",
        ),
        (long.to_string(), 413, "more than 512 KiB"),
    ] {
        let answer = preview(&pages, "", &text).await;
        let answer = answer.html(status);
        let answer = answer.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(answer.contains(said), "{said}: {answer}");
        // Not even in the field, for whoever has pasted it.
        assert!(!answer.contains(SECRET));
    }
    for forged in ["", "x", &"A".repeat(200)] {
        let answer = pages.post("/import/confirm", &[("file", forged)]).await;
        assert!(answer.html(400).contains("cannot be opened any more"));
    }
    let ten = "x".repeat(10 << 20);
    assert!(
        preview(&pages, &ten, "")
            .await
            .html(413)
            .contains("This is too large")
    );
    assert_eq!(drafts(&pages.operator).await, 0);
}

#[tokio::test]
async fn only_the_form_with_the_file_takes_files_and_only_from_our_own_pages() {
    let pages = Pages::in_memory().await;
    let mut elsewhere = upload(&pages, &file(), "");
    *elsewhere.uri_mut() = "/create".parse().unwrap();
    assert_eq!(pages.operator.send(elsewhere).await.status, 415);
    let mut foreign = upload(&pages, &file(), "");
    set(&mut foreign, "sec-fetch-site", "cross-site");
    assert_eq!(pages.operator.send(foreign).await.status, 403);
    let mut broken = upload(&pages, &file(), "");
    set(
        &mut broken,
        "content-type",
        "multipart/form-data; boundary=other",
    );
    assert_eq!(pages.operator.send(broken).await.status, 400);
    // A form without a file will do.
    let pasted = pages.post("/import", &[("text", &file())]).await;
    assert!(pasted.html(200).contains("2 drafts"));
}

#[tokio::test]
async fn a_name_that_was_taken_between_preview_and_confirmation_is_another_one() {
    let pages = Pages::in_memory().await;
    let file = json!({"mcpServers": {"a": {"url": "https://a.example/mcp"}}}).to_string();
    let answer = preview(&pages, &file, "").await;
    let sealed = sealed(answer.html(200));
    pages
        .operator
        .create(&json!({"name": "a", "url": "https://other.example/mcp"}))
        .await;
    pages
        .post("/import/confirm", &[("file", &sealed)])
        .await
        .place();
    let drafts: Value = pages.operator.get("/api/v1/servers?status=draft").await;
    assert_eq!(drafts["servers"][0]["name"], "a-2");
}
