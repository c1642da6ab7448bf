//! Servers that are there: the list, changing and deleting them, and what has become of tools.

use std::time::Instant;

use mcp_layer::registry::{MemoryRegistry, Overlay, Server};
use serde_json::{Value, json};

use super::support::{
    admin::Operator,
    pages::Pages,
    shelf::{Shelf, tool},
};

async fn with(servers: &[Value]) -> Pages {
    let pages = Pages::in_memory().await;
    for server in servers {
        pages.operator.create(server).await;
    }
    pages
}

async fn read(pages: &Pages, name: &str) -> Value {
    pages.operator.get(&format!("/api/v1/servers/{name}")).await
}

fn some() -> [Value; 3] {
    let url = "https://mcp.example.com/mcp";
    [
        json!({"name": "a", "url": url, "display_name": "Alpha", "description": "First", "projects": ["web"]}),
        json!({"name": "b", "url": url, "enabled": false, "auth": {"type": "static_headers",
            "headers": [{"name": "x-key", "value": "s3cret-of-b"}]}}),
        json!({"name": "c", "url": url, "auth": {"type": "token_passthrough"}}),
    ]
}

/// The slugs that a list shows.
fn listed(html: &str) -> Vec<&str> {
    let rows = html.split("<div class=\"slug\">").skip(1);
    rows.map(|row| row.split('<').next().unwrap()).collect()
}

#[tokio::test]
async fn a_list_shows_what_there_is_to_know() {
    let pages = with(&some()).await;
    let page = pages.get("/servers").await;
    let html = page.html(200);
    assert_eq!(listed(html), ["a", "b", "c"]);
    for part in [
        "Alpha",
        "First",
        "Active",
        "Inactive",
        "Switched off",
        "No Auth",
        "Static Headers",
        "Token Passthrough",
        "All Projects",
        "href=\"/servers/a/delete\"",
        "Create Server",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("s3cret"));
}

#[tokio::test]
async fn filters_are_in_the_address() {
    let pages = with(&some()).await;
    for (query, found) in [
        ("?project=batch", &["b", "c"][..]),
        ("?status=inactive", &["b"]),
        ("?status=active&auth=token_passthrough", &["c"]),
        ("?q=FIRST", &["a"]),
        ("?project=&status=&auth=&q=", &["a", "b", "c"]),
        ("?q=nothing", &[]),
    ] {
        let page = pages.get(&format!("/servers{query}")).await;
        assert_eq!(listed(page.html(200)), found, "{query}");
    }
    let page = pages.get("/servers?project=web&status=active").await;
    let html = page.html(200);
    assert!(
        html.contains("Status: <bdi>Active</bdi><a href=\"?project=web\">"),
        "{html}"
    );
    assert!(
        html.contains("href=\"?project=web&#38;status=active&#38;auth=oauth2\""),
        "{html}"
    );
    pages.get("/servers?status=up").await.html(400);
}

#[tokio::test]
async fn nothing_that_a_server_says_is_more_than_text() {
    let hostile = "<img src=x onerror=alert(1)>\"'\u{202e}\u{200b}";
    let shelf = Shelf::start(&[tool("t", hostile)]).await;
    let server = json!({"name": "a", "url": shelf.url(), "display_name": hostile,
        "description": hostile, "projects": [hostile]});
    let pages = with(&[server]).await;
    for path in [
        "/servers",
        "/servers/a",
        "/servers/a/tools",
        "/servers/a/delete",
        "/servers?project=%3Cimg%20src%3Dx%3E",
    ] {
        let page = pages.get(path).await;
        let html = page.html(200);
        assert!(!html.contains("<img src=x"), "{path}");
        assert!(
            path.contains('?') || html.contains(">U+202E</span>"),
            "{path}: {html}"
        );
    }
}

#[tokio::test]
async fn a_thousand_servers_are_listed_fast_and_in_pages() {
    let servers = (0..1000).map(|n| {
        let mut server =
            Server::new(&format!("server-{n:04}"), "https://mcp.example.com/mcp").unwrap();
        server.description = Some("What a server of this kind is good for. ".repeat(4));
        server
            .with_projects([format!("project-{}", n % 70)])
            .unwrap()
    });
    let operator = Operator::new(MemoryRegistry::new(servers).unwrap());
    let pages = Pages::signed_in(operator).await;
    let mut longest = std::time::Duration::ZERO;
    for path in [
        "/servers",
        "/servers?project=project-7",
        "/servers?status=inactive",
        "/servers?q=server-09",
    ] {
        let began = Instant::now();
        let page = pages.get(path).await;
        longest = longest.max(began.elapsed());
        assert!(
            page.html(200).len() < 300_000,
            "{path}: {} bytes",
            page.text.len()
        );
        println!("{path}: {} bytes, {:?}", page.text.len(), began.elapsed());
    }
    // Fifty times what it takes when nothing is optimised is still no wait.
    assert!(longest.as_secs() < 5, "{longest:?}");
    let first = pages.get("/servers").await;
    assert_eq!(listed(first.html(200)).len(), 50);
    assert!(first.text.contains("href=\"?cursor=server-0049\""));
    let next = pages.get("/servers?cursor=server-0049").await;
    assert_eq!(listed(next.html(200))[0], "server-0050");
}

/// The edit form of `server`, as it is shown.
fn filled<'a>(version: &'a str, display: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("version", version),
        ("display_name", display),
        ("transport", "streamable_http"),
        ("url", "https://mcp.example.com/mcp"),
        ("scope", "all"),
        ("auth", "static_headers"),
        ("header_name", "x-key"),
        ("header_value", ""),
        ("enabled", "1"),
        ("on_change", "block"),
        ("new_tools", "allow"),
    ]
}

#[tokio::test]
async fn a_server_is_changed_and_keeps_its_secret() {
    let pages = with(&some()).await;
    let page = pages.get("/servers/b").await;
    let html = page.html(200);
    assert!(
        html.contains("Set on 2") && !html.contains("s3cret"),
        "{html}"
    );
    assert!(html.contains("name=\"version\" value=\"1\""));
    let saved = pages.post("/servers/b", &filled("1", "Beta")).await;
    assert_eq!(saved.place(), "/servers/b?done=saved");
    assert!(pages.get(saved.place()).await.html(200).contains("Saved."));
    let server = read(&pages, "b").await;
    assert_eq!(
        (
            &server["display_name"],
            &server["enabled"],
            &server["on_change"],
            &server["version"]
        ),
        (&json!("Beta"), &json!(true), &json!("block"), &json!(2))
    );
    assert_eq!(server["auth"]["headers"][0]["value"]["set"], true);
    let mut moved = filled("2", "Beta");
    moved[3].1 = "https://elsewhere.example.com/mcp";
    let page = pages.post("/servers/b", &moved).await;
    let words = "The server address changed. Enter the header value again.";
    assert!(page.html(400).contains(words), "{}", page.text);
}

/// Creating was at `/servers/new` once, so a server of that name had no settings.
#[tokio::test]
async fn a_server_may_have_the_name_of_any_page() {
    let names = ["new", "create", "servers", "setup", "tools"];
    let url = "https://mcp.example.com/mcp";
    let servers = names.map(|name| json!({"name": name, "url": url}));
    let pages = with(&servers).await;
    for name in names {
        let path = format!("/servers/{name}");
        let page = pages.get(&path).await;
        assert!(page.html(200).contains(&format!("action=\"{path}\"")));
        let fields = [
            ("version", "1"),
            ("transport", "streamable_http"),
            ("url", url),
            ("scope", "all"),
            ("auth", "none"),
            ("on_change", "block"),
            ("new_tools", "allow"),
            ("description", "Changed"),
        ];
        let saved = pages.post(&path, &fields).await;
        assert_eq!(saved.place(), format!("{path}?done=saved"));
        assert_eq!(read(&pages, name).await["description"], "Changed");
    }
}

/// There were 200 boxes, and who saved took the other projects away.
#[tokio::test]
async fn every_project_of_a_server_has_its_box() {
    let projects: Vec<_> = (0..250).map(|n| format!("project-{n:03}")).collect();
    let url = "https://mcp.example.com/mcp";
    let pages = with(&[json!({"name": "wide", "url": url, "projects": projects})]).await;
    let page = pages.get("/servers/wide").await;
    let html = page.html(200);
    for project in projects {
        assert!(html.contains(&format!("value=\"{project}\"")), "{project}");
    }
}

#[tokio::test]
async fn the_second_of_two_who_edit_keeps_what_was_typed() {
    let pages = with(&some()).await;
    pages
        .post("/servers/b", &filled("1", "Theirs"))
        .await
        .place();
    let page = pages.post("/servers/b", &filled("1", "Mine")).await;
    let html = page.html(409);
    assert!(html.contains("Somebody else saved this server"));
    assert!(html.contains("value=\"Mine\"") && html.contains("<bdi>Theirs</bdi>"));
    assert!(html.contains("name=\"version\" value=\"2\"") && html.contains("Overwrite theirs"));
    assert_eq!(read(&pages, "b").await["display_name"], "Theirs");
    pages.post("/servers/b", &filled("2", "Mine")).await.place();
    assert_eq!(read(&pages, "b").await["display_name"], "Mine");
    let fields = [("version", "1"), ("tools", "only"), ("more_tools", "x")];
    let page = pages.post("/servers/b/tools", &fields).await;
    assert!(page.html(400).contains("Somebody else saved"));
}

#[tokio::test]
async fn deleting_wants_the_name() {
    let pages = with(&some()).await;
    assert!(
        pages
            .get("/servers/a/delete")
            .await
            .html(200)
            .contains("data-confirm=\"a\"")
    );
    for typed in ["", "b", "A"] {
        let page = pages.post("/servers/a/delete", &[("confirm", typed)]).await;
        assert!(page.html(400).contains("not the server's name"));
    }
    read(&pages, "a").await;
    let gone = pages.post("/servers/a/delete", &[("confirm", "a")]).await;
    assert_eq!(gone.place(), "/servers?done=deleted&server=a");
    assert!(
        pages
            .get("/servers/a")
            .await
            .html(404)
            .contains("Server not found")
    );
}

#[tokio::test]
async fn a_changed_tool_is_shown_old_against_new_and_accepted_as_it_was_looked_at() {
    let shelf = Shelf::start(&[tool("a", "Old words"), tool("b", "B")]).await;
    let server =
        json!({"name": "s", "url": shelf.url(), "on_change": "block", "new_tools": "block"});
    let pages = with(&[server]).await;
    pages.get("/servers/s/tools").await.html(200);
    shelf.put(&[tool("a", "New words"), tool("c", "C")]);
    let again = pages.post("/servers/s/tools", &[("go", "again")]).await;
    let page = pages.get(again.place()).await;
    let html = page.html(200);
    let line = |class: &str, text: &str| {
        let lines = html
            .split("<div class=\"")
            .filter(|line| line.starts_with(class));
        lines.filter(|line| line.contains(text)).count()
    };
    assert_eq!(
        (line("del", "Old words"), line("ins", "New words")),
        (1, 1),
        "{html}"
    );
    // A new tool is shown whole: all of it is to be read.
    for part in ["&quot;name&quot;: &quot;c&quot;", "&quot;inputSchema&quot;"] {
        assert!(line("ins", part) > 0, "{part}: {html}");
    }
    for part in [
        "changed",
        ">new<",
        "gone from the server",
        "Accept all 3",
        "Accept the removal",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let fingerprint = |name: &str| {
        let form = html
            .split(&format!("name=\"tool\" value=\"{name}\"><input"))
            .last()
            .unwrap();
        form.split("name=\"fingerprint\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let path = "/servers/s/tools/accept";
    let stale = pages
        .post(path, &[("tool", "a"), ("fingerprint", &"0".repeat(64))])
        .await;
    assert!(stale.html(409).contains("faster"));
    let (a, c) = (fingerprint("a"), fingerprint("c"));
    let fields = [
        ("tool", "a"),
        ("fingerprint", &*a),
        ("tool", "b"),
        ("fingerprint", ""),
        ("tool", "c"),
        ("fingerprint", &*c),
    ];
    let accepted = pages.post(path, &fields).await;
    let page = pages.get(accepted.place()).await;
    assert!(page.html(200).contains("Accepted.") && !page.text.contains("Needs review"));
}

/// Whoever registers its client by hand needs it, and it is nowhere else.
#[tokio::test]
async fn a_server_of_a_file_with_oauth_shows_its_callback() {
    let text = "[[servers]]\nname = \"filed\"\nurl = \"https://mcp.example.com/mcp\"\n\
                auth = { type = \"oauth2\", client_id = \"gateway\" }";
    let store = MemoryRegistry::default();
    let overlay = Overlay::parse(text, |_| None, store).await.unwrap();
    let pages = Pages::signed_in(Operator::new(overlay)).await;
    let id = read(&pages, "filed").await["id"].clone();
    let callback = format!("/oauth/callback/{}</dd>", id.as_str().unwrap());
    let page = pages.get("/servers/filed").await;
    assert!(page.html(200).contains(&callback));
}

#[tokio::test]
async fn what_a_tool_does_is_marked_where_it_is_chosen() {
    let marked = |name: &str, annotations: Value| json!({"name": name, "inputSchema": {"type": "object"}, "annotations": annotations});
    let shelf = Shelf::start(&[
        marked("drop", json!({"destructiveHint": true})),
        marked(
            "look",
            json!({"readOnlyHint": true, "destructiveHint": true}),
        ),
        marked("odd", json!({"readOnlyHint": "yes"})),
    ])
    .await;
    let server =
        json!({"name": "s", "url": shelf.url(), "on_change": "block", "new_tools": "block"});
    let pages = with(&[server]).await;
    let page = pages.get("/servers/s/tools").await;
    let rows: Vec<_> = page.html(200).split("data-tool>").skip(1).collect();
    for (row, mark) in rows
        .iter()
        .zip(["destructive</span>", "read-only</span>", ""])
    {
        let row = row.split("</li>").next().unwrap();
        assert!(row.contains(mark), "{row}");
        let marks =
            row.matches("destructive</span>").count() + row.matches("read-only</span>").count();
        assert_eq!(marks, usize::from(!mark.is_empty()), "{row}");
    }
    assert!(page.text.contains("try?tool=look"), "{}", page.text);
    let tools = pages.operator.get("/api/v1/servers/s/tools").await;
    assert_eq!(
        tools["tools"][0]["annotations"],
        json!({"destructiveHint": true})
    );
    // One that came later has its mark where it is accepted.
    shelf.put(&[marked("wipe", json!({"destructiveHint": true}))]);
    pages.post("/servers/s/tools", &[("go", "again")]).await;
    let page = pages.get("/servers/s/tools").await;
    let review = page.html(200).split("Offered tools").next().unwrap();
    // It waits to be accepted, so a call of it could only fail.
    assert!(!page.text.contains("try?tool=wipe"), "{}", page.text);
    assert!(review.contains("destructive</span>"), "{review}");
    // A server of which none is accepted says so, and where to go.
    let list = pages.get("/servers").await;
    assert!(
        list.html(200)
            .contains("<a href=\"/servers/s/tools\"><bdi>1 tool needs review</bdi></a>"),
        "{}",
        list.text
    );
}

#[tokio::test]
async fn a_server_of_the_program_itself_is_built_in() {
    let text = "[[servers]]\nname = \"filed\"\nurl = \"https://mcp.example.com/mcp\"";
    let store = MemoryRegistry::default();
    let overlay = Overlay::parse(text, |_| None, store).await.unwrap();
    let operator = Operator::with(overlay, |admin| admin.with_built_in_servers());
    let pages = Pages::signed_in(operator).await;
    for path in ["/servers", "/servers/filed", "/servers/filed/tools"] {
        let page = pages.get(path).await;
        assert!(page.html(200).contains("built in</span>"), "{}", page.text);
        assert!(!page.text.contains("configuration file"), "{}", page.text);
    }
    let stored = read(&pages, "filed").await;
    assert_eq!(stored["source"], "file");
    let path = "/api/v1/servers/filed";
    let body = json!({"version": stored["version"], "description": "Mine"});
    for method in ["PATCH", "DELETE"] {
        let refused = pages
            .operator
            .ask(method, path, Some(&body.to_string()))
            .await;
        assert!(refused.text.contains("is built in"), "{}", refused.text);
        assert_eq!(refused.error(409).0, "declared_in_file");
    }
    let page = pages.get("/servers/filed/delete").await;
    assert!(!page.html(409).contains("configuration"), "{}", page.text);
}

#[tokio::test]
async fn a_server_of_a_file_is_shown_and_not_changed() {
    let text = "[[servers]]\nname = \"filed\"\nurl = \"https://mcp.example.com/mcp\"";
    let store = MemoryRegistry::default();
    let overlay = Overlay::parse(text, |_| None, store).await.unwrap();
    let pages = Pages::signed_in(Operator::new(overlay)).await;
    assert!(
        pages
            .get("/servers")
            .await
            .html(200)
            .contains("declared in file")
    );
    let page = pages.get("/servers/filed").await;
    assert!(
        page.html(200)
            .contains("declared in the configuration file")
    );
    assert!(!page.text.contains("name=\"url\""));
    pages.get("/servers/filed/delete").await.html(409);
    pages.get("/servers/filed/setup/server").await.html(409);
}
