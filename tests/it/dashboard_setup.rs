//! Creating a server in four steps: every form, what is wrong with it, and the draft behind it.

use serde_json::{Value, json};

use super::support::{
    admin::Answer,
    pages::Pages,
    shelf::{Shelf, tool},
};

/// The first step, as it is filled in.
async fn begin(pages: &Pages, name: &str, url: &str) -> Answer {
    let fields = [
        ("name", name),
        ("transport", "streamable_http"),
        ("url", url),
        ("display_name", "Wiki"),
        ("description", "Knows \"everything\" <b>"),
        ("scope", "only"),
        ("project", "web"),
        ("new_projects", "batch, ops"),
    ];
    pages.post("/create", &fields).await
}

async fn read(pages: &Pages, name: &str) -> Value {
    pages.operator.get(&format!("/api/v1/servers/{name}")).await
}

/// The field with this id in a page says this, and is tied to it.
fn wrong(html: &str, id: &str, message: &str) {
    let place = html
        .find(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("{id} {html}"));
    let tag = html[place..].split('>').next().unwrap();
    assert!(tag.contains("aria-invalid=\"true\""), "{tag}");
    assert!(tag.contains(&format!("{id}-wrong\"")), "{tag}");
    let said = html.find(&format!("id=\"{id}-wrong\"")).unwrap();
    assert!(
        html[said..].split("</p>").next().unwrap().contains(message),
        "{html}"
    );
    assert!(
        html.contains(&format!("<a href=\"#{id}\">")),
        "in the summary: {html}"
    );
}

#[tokio::test]
async fn who_shares_a_session_is_chosen_where_each_choice_is_told() {
    let pages = Pages::in_memory().await;
    let form = pages.get("/create").await;
    let form = form.html(200);
    assert!(form.contains("keeps state in its session"), "{form}");
    assert!(form.contains(r#"value="project" checked"#), "{form}");
    for choice in ["exchange", "caller", "all"] {
        let radio = format!(r#"name="share_session" value="{choice}"><span><strong>"#);
        assert!(form.contains(&radio), "{choice} {form}");
    }
    let url = "https://browser.example/mcp";
    let fields = [
        ("name", "browser"),
        ("transport", "streamable_http"),
        ("url", url),
        ("scope", "all"),
        ("share_session", "caller"),
        ("trace_context", "never"),
    ];
    pages.post("/create", &fields).await;
    let said = |server: &Value| json!([server["share_session"], server["trace_context"]]);
    let draft = read(&pages, "browser").await;
    assert_eq!(said(&draft), json!(["caller", false]));
    let form = pages.get("/servers/browser/setup/server").await;
    assert!(form.html(200).contains(r#"value="caller" checked"#));
    let review = pages.get("/servers/browser/setup/review").await;
    assert!(review.html(200).contains("one for each caller"));
    // A form that does not say it takes nothing back.
    let again = pages
        .post("/servers/browser/setup/server", &fields[..4])
        .await;
    assert_eq!(again.place(), "/servers/browser/setup/auth");
    assert_eq!(
        said(&read(&pages, "browser").await),
        json!(["caller", false])
    );
}

#[tokio::test]
async fn a_server_is_created_in_four_steps() {
    let shelf = Shelf::start(&[
        tool("ask", "Asks"),
        tool("drop", "Drops"),
        tool("read", "Reads"),
    ])
    .await;
    let pages = Pages::in_memory().await;
    pages.get("/create").await.html(200);
    let begun = begin(&pages, "wiki", &shelf.url()).await;
    assert_eq!(begun.place(), "/servers/wiki/setup/auth");
    let draft = read(&pages, "wiki").await;
    assert_eq!(
        (&draft["draft"], &draft["projects"], &draft["display_name"]),
        (
            &json!(true),
            &json!(["batch", "ops", "web"]),
            &json!("Wiki")
        )
    );
    assert!(
        pages
            .get("/servers")
            .await
            .html(200)
            .contains("Continue setup")
    );

    let auth = pages.get(begun.place()).await;
    let id = draft["id"].as_str().unwrap();
    let callback = format!("value=\"http://127.0.0.1:8788/oauth/callback/{id}\"");
    assert!(auth.html(200).contains(&callback));
    let fields = [
        ("auth", "static_headers"),
        ("header_name", "x-api-key"),
        ("header_value", "s3cret-of-the-setup"),
        ("go", "next"),
    ];
    let answer = pages.post("/servers/wiki/setup/auth", &fields).await;
    assert_eq!(answer.place(), "/servers/wiki/setup/tools");
    let auth = pages.get("/servers/wiki/setup/auth").await;
    assert!(auth.html(200).contains("Leave empty to keep it") && !auth.text.contains("s3cret-of"));

    let tools = pages.get("/servers/wiki/setup/tools").await;
    let html = tools.html(200);
    for part in ["wiki__ask", "Asks", "value=\"drop\" checked", "ask first"] {
        assert!(html.contains(part), "{part}");
    }
    let fields = [
        ("tools", "only"),
        ("tool_name", "ask"),
        ("policy", "ask_first"),
        ("tool", "ask"),
        ("tool_name", "drop"),
        ("policy", "auto"),
        ("tool_name", "read"),
        ("policy", "auto"),
        ("tool", "read"),
        ("go", "next"),
    ];
    let answer = pages.post("/servers/wiki/setup/tools", &fields).await;
    assert_eq!(answer.place(), "/servers/wiki/setup/review");
    // Back, and nothing is lost.
    let again = pages.get("/servers/wiki/setup/tools").await;
    let html = again.html(200);
    assert!(html.contains("value=\"ask\" checked") && !html.contains("value=\"drop\" checked"));

    let review = pages.get("/servers/wiki/setup/review").await;
    let html = review.html(200);
    for part in [
        "Static Headers",
        "x-api-key",
        "Knows &quot;everything&quot; &lt;b&gt;",
        "ops",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains("drop") && !html.contains("s3cret"));
    let done = pages.post("/servers/wiki/setup/review", &[]).await;
    assert_eq!(done.place(), "/servers/wiki?done=created");
    let created = pages.get(done.place()).await;
    for part in [
        "wiki is created. What now?",
        "http://YOUR-GATEWAY/v1/chat/completions",
        "&#34;servers&#34;: [&#34;wiki&#34;]",
        "/traces?server=wiki",
    ] {
        assert!(created.html(200).contains(part), "{part}: {}", created.text);
    }
    let server = read(&pages, "wiki").await;
    assert_eq!(
        (&server["draft"], &server["tools"]),
        (
            &json!(false),
            &json!([{"name": "ask", "policy": "ask_first"}, "read"])
        )
    );
    assert_eq!(server["auth"]["headers"][0]["value"]["set"], true);
    // The steps are over.
    let over = pages.get("/servers/wiki/setup/tools").await;
    assert_eq!(over.place(), "/servers/wiki");
}

#[tokio::test]
async fn what_is_wrong_stands_beside_its_field_and_what_was_typed_stays() {
    let pages = Pages::in_memory().await;
    let answer = begin(&pages, "A wiki", "https://mcp.example.com/mcp").await;
    let html = answer.html(400);
    wrong(
        html,
        "f-name",
        "Use 1–40 lowercase letters, digits and single hyphens.",
    );
    assert!(html.contains("value=\"A wiki\"") && html.contains("value=\"Wiki\""));
    assert!(html.contains("value=\"ops\" checked"));
    assert_eq!(
        pages.operator.get("/api/v1/servers?status=draft").await["servers"],
        json!([])
    );
    for (url, message) in [
        ("", "is empty"),
        ("mcp.example.com", "not an absolute URL"),
        (
            "http://10.0.0.1:9000/mcp",
            "cannot be used: an address that is not public is refused; if it is intended, allow it with --allow-egress 10.0.0.1:9000",
        ),
        ("https://user:pw@mcp.example.com/mcp", "carries a user"),
    ] {
        wrong(begin(&pages, "wiki", url).await.html(400), "f-url", message);
    }
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    let twice = begin(&pages, "wiki", "https://mcp.example.com/mcp").await;
    wrong(twice.html(400), "f-name", "exists already");
    let nobody = [
        ("name", "b"),
        ("url", "https://mcp.example.com/mcp"),
        ("scope", "only"),
    ];
    let nobody = pages
        .post(
            "/create",
            &[("transport", "sse")]
                .iter()
                .chain(&nobody)
                .copied()
                .collect::<Vec<_>>(),
        )
        .await;
    assert!(nobody.html(400).contains("name at least one project"));
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    // A name that is taken, behind an address that is none.
    let fields = [
        ("name", "wiki"),
        ("transport", "websocket"),
        ("url", "mcp.example.com"),
        ("scope", "only"),
        ("call", "soon"),
    ];
    let answer = pages.post("/create", &fields).await;
    let html = answer.html(400);
    wrong(html, "f-name", "exists already");
    wrong(html, "f-url", "not an absolute URL");
    wrong(html, "f-call", "number of seconds");
    for field in ["f-transport", "f-projects"] {
        assert!(html.contains(&format!("<a href=\"#{field}\">")), "{html}");
    }
    // Over REST it is the first.
    let body = json!({"name": "A b", "url": "x"});
    let (_, param) = pages
        .operator
        .post("/api/v1/servers", &body)
        .await
        .error(400);
    assert_eq!(param.as_deref(), Some("name"));
    let fields = [
        ("auth", "static_headers"),
        ("header_name", "bad name"),
        ("header_value", "s3cret"),
        ("header_name", "host"),
        ("header_value", "s3cret"),
    ];
    let answer = pages.post("/servers/wiki/setup/auth", &fields).await;
    wrong(answer.html(400), "f-auth-headers-0--name", "not allowed");
    wrong(
        answer.html(400),
        "f-auth-headers-1--name",
        "cannot be a static header",
    );
    assert!(!answer.text.contains("s3cret"));
}

/// `import` and `export` stand in the place of a name in the paths of REST.
#[tokio::test]
async fn words_of_the_interface_are_no_names() {
    let pages = Pages::in_memory().await;
    for name in ["import", "export"] {
        let answer = begin(&pages, name, "https://mcp.example.com/mcp").await;
        wrong(answer.html(400), "f-name", "is a word of the interface");
    }
}

/// A store without a database has nothing to compare a changed tool with.
#[tokio::test]
async fn the_rule_for_changes_is_told_as_it_holds() {
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    let review = "/servers/wiki/setup/review";
    let page = pages.get(review).await;
    assert!(
        page.html(200).contains("is offered as it is"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("once they are accepted"));
    let draft = json!({"version": 1, "on_change": "block", "new_tools": "block"}).to_string();
    let path = "/api/v1/servers/wiki";
    pages
        .operator
        .ask("PATCH", path, Some(&draft))
        .await
        .expect(200);
    let page = pages.get(review).await;
    assert!(
        page.html(200)
            .contains("is withheld until somebody accepts it")
    );
    assert!(page.text.contains("once they are accepted"));
}

#[tokio::test]
async fn a_wrong_authentication_is_said_beside_its_field_and_no_secret_comes_back() {
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    let path = "/servers/wiki/setup/auth";
    for (fields, id, message) in [
        (
            vec![
                ("auth", "static_headers"),
                ("header_name", "host"),
                ("header_value", "s3cret-typed"),
            ],
            "f-auth-headers-0--name",
            "Header name cannot be used",
        ),
        (
            vec![
                ("auth", "static_headers"),
                ("header_name", "x-key"),
                ("header_value", ""),
            ],
            "f-auth-headers-0--value",
            "Header value is empty",
        ),
        (
            vec![
                ("auth", "oauth2"),
                ("authorization_url", "https://as.example/authorize"),
                ("client_id", "x"),
            ],
            "f-auth-token-url",
            "given together",
        ),
        (
            vec![
                ("auth", "oauth2"),
                ("client_id", "x"),
                ("client_secret", "s3cret-typed"),
            ],
            "f-auth-issuer",
            "for which authorization server",
        ),
        (
            vec![("auth", "oauth2"), ("issuer", "as.example")],
            "f-auth-issuer",
            "not an absolute URL",
        ),
        (
            vec![("auth", "oauth2"), ("scopes", "a\u{7f}b")],
            "f-auth-scopes",
            "cannot be used",
        ),
        (
            vec![("auth", "token_passthrough"), ("header", "content-length")],
            "f-auth-header",
            "set by the connection",
        ),
    ] {
        let answer = pages.post(path, &fields).await;
        let html = answer.html(400);
        wrong(html, id, message);
        assert!(!html.contains("s3cret-typed"), "{html}");
        if fields.iter().any(|(_, value)| *value == "s3cret-typed") {
            assert!(html.contains("Enter it again"), "{html}");
        }
    }
    assert_eq!(read(&pages, "wiki").await["auth"], json!({"type": "none"}));
}

#[tokio::test]
async fn another_row_of_headers_needs_no_script() {
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    let path = "/servers/wiki/setup/auth";
    let fields = [
        ("auth", "static_headers"),
        ("header_name", "x-a"),
        ("header_value", "1"),
        ("go", "more"),
    ];
    let more = pages.post(path, &fields).await;
    let page = pages.get(more.place()).await;
    assert_eq!(page.html(200).matches("name=\"header_name\"").count(), 2);
    let fields = [
        ("auth", "static_headers"),
        ("header_name", "x-a"),
        ("header_value", ""),
        ("header_name", "x-b"),
        ("header_value", "2"),
        ("remove_header", "0"),
    ];
    pages.post(path, &fields).await.place();
    let headers = read(&pages, "wiki").await["auth"]["headers"].take();
    assert_eq!(
        (headers.as_array().unwrap().len(), &headers[0]["name"]),
        (1, &json!("x-b"))
    );
}

#[tokio::test]
async fn a_draft_can_have_another_name_and_another_address() {
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    let fields = [
        ("auth", "static_headers"),
        ("header_name", "x-a"),
        ("header_value", "1"),
    ];
    pages
        .post("/servers/wiki/setup/auth", &fields)
        .await
        .place();
    let fields = |name, url| {
        [
            ("name", name),
            ("url", url),
            ("transport", "sse"),
            ("scope", "all"),
        ]
    };
    let path = "/servers/wiki/setup/server";
    let renamed = pages
        .post(path, &fields("docs", "https://mcp.example.com/sse"))
        .await;
    assert_eq!(renamed.place(), "/servers/docs/setup/auth");
    let gone = pages
        .operator
        .ask("GET", "/api/v1/servers/wiki", None)
        .await;
    assert_eq!(gone.status, 404);
    let docs = read(&pages, "docs").await;
    assert_eq!(docs["auth"]["headers"][0]["value"]["set"], true);
    assert_eq!(
        (&docs["transport"], &docs["draft"]),
        (&json!("sse"), &json!(true))
    );
    // What was entered for one origin is not kept for another.
    let path = "/servers/docs/setup/server";
    let moved = pages
        .post(path, &fields("docs", "https://other.example.com/sse"))
        .await;
    assert_eq!(moved.place(), "/servers/docs/setup/auth?moved");
    assert!(
        pages
            .get(moved.place())
            .await
            .html(200)
            .contains("Enter the credentials again")
    );
    assert_eq!(read(&pages, "docs").await["auth"], json!({"type": "none"}));
}

#[tokio::test]
async fn a_server_that_cannot_be_listed_is_no_dead_end() {
    let mut shelf = Shelf::start(&[tool("ask", "Asks")]).await;
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", &shelf.url()).await.place();
    shelf.goes_down().await;
    let path = "/servers/wiki/setup/tools";
    let page = pages.get(path).await;
    let html = page.html(200);
    assert!(html.contains("tools could not be listed") && html.contains("Try again"));
    let again = pages.post(path, &[("go", "again")]).await;
    assert_eq!(again.place(), path);
    let none = pages.post(path, &[("tools", "only"), ("go", "next")]).await;
    assert!(none.html(400).contains("name at least one tool"));
    let fields = [
        ("tools", "only"),
        ("more_tools", "ask\r\nread"),
        ("go", "next"),
    ];
    let on = pages.post(path, &fields).await;
    assert_eq!(on.place(), "/servers/wiki/setup/review");
    assert_eq!(read(&pages, "wiki").await["tools"], json!(["ask", "read"]));
    assert!(
        pages
            .get(path)
            .await
            .html(200)
            .contains("ask\nread</textarea>")
    );
}

#[tokio::test]
async fn select_all_and_clear_all_need_no_script() {
    let shelf = Shelf::start(&[tool("a", "A"), tool("b", "B")]).await;
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", &shelf.url()).await.place();
    let path = "/servers/wiki/setup/tools";
    let rows = [("tool_name", "a"), ("tool_name", "b")];
    let fields = |go| [("go", go)].into_iter().chain(rows).collect::<Vec<_>>();
    let all = pages.post(path, &fields("all")).await;
    assert_eq!(
        all.html(200)
            .matches(" checked><span class=\"tool-name\">")
            .count(),
        2
    );
    let none = pages.post(path, &fields("clear")).await;
    assert_eq!(
        none.html(200)
            .matches(" checked><span class=\"tool-name\">")
            .count(),
        0
    );
    assert_eq!(
        read(&pages, "wiki").await["tools"],
        "all",
        "nothing is saved by that"
    );
    let fields = [
        ("tools", "all"),
        ("tool_name", "a"),
        ("policy", "ask_first"),
        ("tool", "a"),
    ];
    let asks = pages.post(path, &fields).await;
    assert!(asks.html(400).contains("have to be selected"));
    let fields = [("tools", "all"), ("more_tools", "later")];
    let typed = pages.post(path, &fields).await;
    assert!(typed.html(400).contains("have to be selected"));
    assert!(typed.text.contains(">later</textarea>"), "{}", typed.text);
    assert_eq!(read(&pages, "wiki").await["tools"], "all");
}

#[tokio::test]
async fn a_draft_is_discarded_and_a_server_is_not() {
    let pages = Pages::in_memory().await;
    begin(&pages, "wiki", "https://mcp.example.com/mcp")
        .await
        .place();
    let asked = pages.get("/servers/wiki/discard").await;
    assert!(asked.html(200).contains("Discard the draft"));
    let gone = pages.post("/servers/wiki/discard", &[]).await;
    assert_eq!(gone.place(), "/servers?done=discarded&server=wiki");
    pages.get("/servers/wiki/setup/auth").await.html(404);
    pages
        .operator
        .create(&json!({"name": "b", "url": "https://mcp.example.com/mcp"}))
        .await;
    for answer in [
        pages.get("/servers/b/discard").await,
        pages.post("/servers/b/discard", &[]).await,
    ] {
        assert_eq!(answer.place(), "/servers/b");
    }
    read(&pages, "b").await;
}
