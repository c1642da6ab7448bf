//! Servers from the files of other programs, over REST.

use std::{collections::BTreeMap, sync::Arc};

use mcp_layer::registry::{Auth, MemoryRegistry, Server, ServerStore};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::support::{
    admin::{Operator, request},
    evidence,
    shelf::{Shelf, tool},
};

const IMPORT: &str = "/api/v1/servers/import";
const PREVIEW: &str = "/api/v1/servers/import?preview=true";

async fn import(operator: &Operator, file: &Value) -> Value {
    operator.post(IMPORT, file).await.expect(200)
}

async fn drafts(operator: &Operator) -> Vec<String> {
    let list = operator.get("/api/v1/servers?status=draft&limit=200").await;
    let servers = list["servers"].as_array().unwrap().iter();
    servers
        .map(|server| server["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn remote_servers_become_drafts_with_what_could_be_read() {
    let store = MemoryRegistry::default();
    let operator = Operator::new(store.clone());
    let secret = "imported-s3cret-of-a-header";
    evidence::secret("static header", secret);
    let file = json!({"mcpServers": {
        "GitHub": {"type": "http", "url": "https://github.example/mcp", "headers": {
            "Authorization": "Bearer ${input:token}", "X-Key": secret, "Accept": "text/html",
        }},
        "events": {"url": "https://events.example/sse", "description": "What happens"},
        "off": {"serverUrl": "https://off.example/mcp", "disabled": true, "autoApprove": ["a"]},
        "client": {"httpUrl": "https://client.example/mcp", "auth": {
            "CLIENT_ID": "id", "CLIENT_SECRET": "imported-s3cret-of-a-client", "scopes": ["read"],
        }},
    }});
    let answer = operator.post(IMPORT, &file).await;
    let told = answer.expect(200);
    assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    assert_eq!(told["rest"], json!([]));
    assert_eq!(
        told["drafts"][0],
        json!({
            "name": "github", "from": "GitHub", "url": "https://github.example/mcp",
            "renamed": "a name has lower-case letters, digits and single hyphens",
            "transport": "streamable_http", "auth": "static_headers",
            "headers": ["Authorization", "X-Key"],
            "to_enter": [{
                "member": "auth.headers[0].value", "placeholders": ["${input:token}"],
            }],
            "disabled": false, "unread": ["Accept"],
        })
    );
    let said: Vec<_> = told["drafts"].as_array().unwrap().iter().skip(1).collect();
    let [client, events, off] = said[..] else {
        panic!("{told}");
    };
    assert_eq!(events["transport"], "sse");
    assert_eq!(
        (&off["disabled"], &off["unread"]),
        (&json!(true), &json!(["autoApprove"]))
    );
    assert_eq!(
        (&client["auth"], &client["to_enter"]),
        (
            &json!("oauth2"),
            &json!([{"member": "auth.client_secret", "placeholders": []}])
        )
    );

    assert_eq!(
        drafts(&operator).await,
        ["client", "events", "github", "off"]
    );
    let github = operator.get("/api/v1/servers/github").await;
    assert_eq!(github["display_name"], "GitHub");
    assert_eq!(github["auth"]["headers"][1]["value"]["set"], true);
    let off = operator.get("/api/v1/servers/off").await;
    assert_eq!(
        (&off["enabled"], &off["draft"]),
        (&json!(false), &json!(true))
    );
    let client = operator.get("/api/v1/servers/client").await;
    assert_eq!(client["auth"]["client_id"], "id");
    assert_eq!(client["auth"]["scopes"], json!(["read"]));
    let events = operator.get("/api/v1/servers/events").await;
    assert_eq!(events["description"], "What happens");
    // Nothing is expanded: what would be sent is the placeholder itself.
    let stored = stored(&store, "github").await;
    let Auth::StaticHeaders(headers) = &stored.auth else {
        panic!("{stored:?}");
    };
    assert_eq!(headers[0].value().expose_secret(), "Bearer ${input:token}");
}

async fn stored(store: &MemoryRegistry, name: &str) -> Arc<Server> {
    store.get("default", &name.parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_program_that_writes_such_files_is_read() {
    let server = json!({"url": "https://mcp.example.com/mcp"});
    for file in [
        json!({"mcpServers": {"a": server}}),
        json!({"servers": {"a": server}, "inputs": [{"id": "x"}]}),
        json!({"mcp": {"servers": {"a": server}}, "editor.fontSize": 13}),
        json!({"mcp.servers": {"a": server}}),
        json!({"a": server}),
        json!({"mcpServers": {}, "servers": {"a": server}}),
    ] {
        let operator = Operator::memory();
        let told = import(&operator, &file).await;
        assert_eq!(told["drafts"][0]["name"], "a", "{file}");
        assert_eq!(drafts(&operator).await, ["a"]);
    }
    // A command that only bridges to a remote server is that server.
    let bridged = json!({"mcpServers": {"a": {"command": "npx", "args": [
        "-y", "mcp-remote@0.1.2", "https://mcp.example.com/mcp", "8080",
        "--header", "Authorization: ${AUTH}", "--transport", "sse-only",
    ], "env": {"AUTH": "Bearer imported-s3cret-of-env"}}}});
    let operator = Operator::memory();
    let told = import(&operator, &bridged).await;
    let draft = &told["drafts"][0];
    assert_eq!(draft["url"], "https://mcp.example.com/mcp");
    assert_eq!(draft["transport"], "sse");
    assert_eq!(draft["to_enter"][0]["placeholders"], json!(["${AUTH}"]));
}

#[tokio::test]
async fn comments_and_last_commas_are_read_as_people_write_them() {
    let operator = Operator::memory();
    let file = "\u{feff}// of VS Code\n{ \"servers\": { /* one */ \"a\": { \"url\": \
                \"https://mcp.example.com/mcp // no comment\", }, }, }";
    let answer = operator.pass(request("POST", IMPORT, Some(file))).await;
    let told = answer.expect(200);
    assert!(
        told["drafts"][0]["url"]
            .as_str()
            .unwrap()
            .contains("no%20comment")
    );
    let broken = "{\n/* a\nb */ \"servers\": {\"a\": }}";
    let answer = operator.pass(request("POST", IMPORT, Some(broken))).await;
    assert_eq!(answer.error(400).0, "invalid_json");
    assert!(answer.text.contains("line 3, column 23"), "{}", answer.text);
    for file in ["{\"servers\": {} /* ", "{/}", "[1,,]", "", "{\"servers\":"] {
        let answer = operator.pass(request("POST", IMPORT, Some(file))).await;
        assert_eq!(answer.error(400).0, "invalid_json", "{file}");
    }
}

#[tokio::test]
async fn programs_are_listed_with_the_bridge_to_run() {
    let operator = Operator::memory();
    let secret = "imported-s3cret-of-env";
    let file = json!({"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "server-files", "/home/me/My Files"],
                  "env": {"API_KEY": secret, "MODE": "rw"}, "cwd": "/srv/it's"},
        "keyed": {"command": "keyed", "args": ["--token", secret, format!("-k={secret}")],
                  "env": {"KEY": secret}, "disabled": true},
        "pasted": {"command": "sh", "args": ["-c", "true\u{1b}[201~\rid"]},
    }});
    let answer = operator.post(IMPORT, &file).await;
    let told = answer.expect(200);
    assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    assert_eq!(told["drafts"], json!([]));
    assert_eq!(
        told["rest"][0],
        json!({
            "from": "files", "disabled": false, "env": ["API_KEY", "MODE"],
            "reason": "speaks over stdio: run a bridge, then create a server with its address; the \
                       gateway needs --allow-egress 127.0.0.1:8001",
            "command": "cd '/srv/it'\\''s' && npx -y supergateway --stdio \
                        'npx -y server-files '\\''/home/me/My Files'\\''' \
                        --outputTransport streamableHttp --port 8001",
            "url": "http://127.0.0.1:8001/mcp",
        })
    );
    let keyed = &told["rest"][1];
    assert_eq!(
        (&keyed["url"], &keyed["disabled"]),
        (&json!("http://127.0.0.1:8002/mcp"), &json!(true))
    );
    assert!(
        keyed["reason"]
            .as_str()
            .unwrap()
            .contains("in the place of …")
    );
    assert_eq!(told["rest"][2]["command"], Value::Null);
    assert_eq!(drafts(&operator).await, [""; 0]);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_listed_with_the_flag_that_would() {
    let operator = Operator::memory();
    let told = import(
        &operator,
        &json!({"mcpServers": {
            "local": {"url": "http://10.0.0.1:3000/mcp"},
            "open": {"url": "https://${HOST}:${PORT}/mcp"},
            "path": {"url": "https://mcp.example.com/${ID}/mcp"},
        }}),
    )
    .await;
    let reasons = [0, 1].map(|at| told["rest"][at]["reason"].as_str().unwrap().to_owned());
    assert!(
        reasons[0].contains("--allow-egress 10.0.0.1:3000"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("placeholder"), "{reasons:?}");
    assert_eq!(
        told["drafts"][0]["to_enter"],
        json!([{"member": "url", "placeholders": ["${ID}"]}])
    );
}

#[tokio::test]
async fn names_that_collide_are_told_apart_and_the_reason_is_given() {
    let operator = Operator::memory();
    let server = json!({"url": "https://mcp.example.com/mcp"});
    let existing = json!({"name": "taken", "url": "https://mcp.example.com/mcp"});
    operator.create(&existing).await;
    let file = r#"{"mcpServers": {"taken": @, "My Server": @, "my_server": @, "my-server": @,
                   "<b>x</b>": @, "\u202e": @, "export": @, "taken": @}}"#;
    let file = file.replace('@', &server.to_string());
    let answer = operator.pass(request("POST", IMPORT, Some(&file))).await;
    let told = answer.expect(200);
    let names: Vec<_> = told["drafts"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names
        .iter()
        .map(|draft| {
            (
                draft["name"].as_str().unwrap(),
                draft["renamed"].as_str().unwrap_or(""),
            )
        })
        .collect();
    let slug = "a name has lower-case letters, digits and single hyphens";
    assert_eq!(
        names,
        [
            ("taken-2", "the name taken is taken"),
            ("my-server", slug),
            ("my-server-2", "the name my-server is taken"),
            ("my-server-3", "the name my-server is taken"),
            ("b-x-b", slug),
            ("server", slug),
            ("export-2", "the name export is taken"),
            ("taken-3", "the name taken is taken"),
        ]
    );
}

#[tokio::test]
async fn a_fault_leaves_no_draft_and_names_its_place_without_its_value() {
    let operator = Operator::memory();
    let good = json!({"url": "https://mcp.example.com/mcp"});
    let url = "https://mcp.example.com/mcp";
    let variables = (0..257).map(|n| (format!("V{n}"), "v"));
    let variables: BTreeMap<String, &str> = variables.collect();
    for (bad, param) in [
        (json!([]), "mcpServers.bad"),
        (json!({}), "mcpServers.bad"),
        (json!({"url": 1}), "mcpServers.bad.url"),
        (json!({"url": ""}), "mcpServers.bad.url"),
        (json!({"url": url, "command": "x"}), "mcpServers.bad"),
        (json!({"url": url, "serverUrl": url}), "mcpServers.bad"),
        (json!({"url": url, "type": "stdio"}), "mcpServers.bad.type"),
        (
            json!({"url": url, "headers": ["a"]}),
            "mcpServers.bad.headers",
        ),
        (
            json!({"url": url, "headers": {"X-Key": 5}}),
            "mcpServers.bad.headers.X-Key",
        ),
        (
            json!({"url": url, "headers": {"X Key": "imported-s3cret"}}),
            "mcpServers.bad",
        ),
        (
            json!({"url": url, "headers": {"X-Key": "imported-s3cret\n"}}),
            "mcpServers.bad",
        ),
        (
            json!({"url": url, "disabled": "yes"}),
            "mcpServers.bad.disabled",
        ),
        (
            json!({"url": "https://me:imported-s3cret@mcp.example.com"}),
            "mcpServers.bad",
        ),
        (json!({"url": "mcp.example.com"}), "mcpServers.bad"),
        (json!({"url": "ftp://mcp.example.com"}), "mcpServers.bad"),
        (json!({"command": "x", "args": "y"}), "mcpServers.bad.args"),
        (
            json!({"command": "x", "args": [1]}),
            "mcpServers.bad.args[0]",
        ),
        (json!({"command": "x", "env": []}), "mcpServers.bad.env"),
        (
            json!({"command": "'".repeat(16 * 1024 + 1)}),
            "mcpServers.bad.command",
        ),
        (
            json!({"command": "x", "cwd": "d".repeat(16 * 1024 + 1)}),
            "mcpServers.bad.cwd",
        ),
        (
            json!({"command": "x", "args": ["-y", "a".repeat(16 * 1024 + 1)]}),
            "mcpServers.bad.args[1]",
        ),
        (
            json!({"command": "x", "args": vec!["a"; 257]}),
            "mcpServers.bad.args",
        ),
        (
            json!({"command": "x", "env": {"A": "a".repeat(16 * 1024 + 1)}}),
            "mcpServers.bad.env.A",
        ),
        (
            json!({"command": "x", "env": variables}),
            "mcpServers.bad.env",
        ),
    ] {
        let file = json!({"mcpServers": {"good": good, "bad": bad}});
        let answer = operator.post(IMPORT, &file).await;
        let (code, at) = answer.error(400);
        assert_eq!(
            (&*code, at.as_deref()),
            ("invalid_request", Some(param)),
            "{file}"
        );
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
        assert_eq!(drafts(&operator).await, [""; 0], "{file}");
    }
    for file in [
        json!({}),
        json!([]),
        json!({"mcpServers": {}}),
        json!({"a": 1}),
    ] {
        let (code, _) = operator.post(IMPORT, &file).await.error(400);
        assert_eq!(code, "invalid_request", "{file}");
    }
    let twice = r#"{"servers": {"a": {"url": "https://a.example", "url": "https://b.example"}}}"#;
    let answer = operator.pass(request("POST", IMPORT, Some(twice))).await;
    assert_eq!(answer.error(400).1.as_deref(), Some("servers.a.url"));
    let answer = operator
        .ask("POST", &format!("{IMPORT}?previw=true"), Some("{}"))
        .await;
    assert_eq!(answer.error(400).1.as_deref(), Some("previw"));
}

#[tokio::test]
async fn a_file_of_ten_megabytes_is_refused_before_it_is_read() {
    let operator = Operator::memory();
    let long = "x".repeat(10 << 20);
    let answer = operator
        .post(IMPORT, &json!({"mcpServers": {"a": {"url": long}}}))
        .await;
    assert_eq!(answer.error(413).0, "request_too_large");
    let server = json!({"url": "https://mcp.example.com/mcp"});
    let many: Vec<_> = (0..201)
        .map(|n| (format!("s{n}"), server.clone()))
        .collect();
    let file = |count: usize| {
        let servers: serde_json::Map<_, _> = many.iter().take(count).cloned().collect();
        json!({"mcpServers": servers})
    };
    let answer = operator.post(IMPORT, &file(201)).await;
    assert_eq!(answer.error(400).0, "invalid_request");
    assert!(answer.text.contains("at most 200"), "{}", answer.text);
    import(&operator, &file(200)).await;
    assert_eq!(drafts(&operator).await.len(), 200);
}

#[tokio::test]
async fn a_key_in_an_address_is_covered() {
    let operator = Operator::memory();
    let key = "imported-k3y-in-a-url";
    evidence::secret("key in a URL", key);
    let file = json!({"servers": {"a": {"url": format!("https://mcp.example.com/mcp?key={key}")}}});
    for path in [PREVIEW, IMPORT] {
        let answer = operator.post(path, &file).await;
        assert_eq!(
            answer.expect(200)["drafts"][0]["url"],
            "https://mcp.example.com/mcp?key=…"
        );
    }
}

#[tokio::test]
async fn a_preview_changes_nothing_and_nothing_is_contacted() {
    let shelf = Shelf::start(&[tool("a", "A")]).await;
    let operator = Operator::memory();
    let file = json!({"mcpServers": {"a": {"url": shelf.url()}}});
    let planned = operator.post(PREVIEW, &file).await.expect(200);
    assert_eq!(drafts(&operator).await, [""; 0]);
    assert_eq!(import(&operator, &file).await, planned);
    assert_eq!(drafts(&operator).await, ["a"]);
    assert_eq!(
        operator.get("/api/v1/servers/a").await["tool_count"],
        Value::Null
    );
    assert_eq!(shelf.lists(), 0);
}
