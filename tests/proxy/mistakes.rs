//! The mistakes of a first hour: whoever makes one is told what is wrong and what to do next.
//!
//! Each row is a mistake, what its message says is the cause, and what it says is next.

use axum::Router;
use http::{StatusCode, header};
use reqwest::redirect;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::database::Storage;
use crate::shelf::{Shelf, tool};
use crate::support::{ADMIN_TOKEN, API_KEY, Proxy, question, refused, run_with};
use crate::{KEYS, LOCAL};

/// Collects the rows whose message lacks something, so that all are seen at once.
#[derive(Default)]
struct Table {
    rows: usize,
    wrong: Vec<String>,
}

impl Table {
    fn row(&mut self, mistake: &str, message: &str, cause: &str, next: &str) {
        self.rows += 1;
        for part in [cause, next] {
            if !message.contains(part) {
                let row = format!("{mistake}\n  lacks {part:?}: {message}");
                self.wrong.push(row);
            }
        }
    }

    fn check(self, rows: usize) {
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
        assert_eq!(self.rows, rows);
    }
}

#[tokio::test]
async fn a_configuration_that_is_wrong_says_what_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap();
    let storage = Storage::new();
    let nowhere = "database = \"sqlite:///no/such/folder/proxy.db\"";
    let opened = storage.config("").replace(LOCAL, "");
    let opened_keys = opened.lines().last().unwrap();
    let entry = |rest: &str| format!("[[servers]]\nname = \"a\"\n{rest}");
    let url = "url = \"https://mcp.example.com/mcp\"\n";
    let mut table = Table::default();
    for (mistake, config, flags, cause, next) in [
        (
            "a key that does not exist",
            "upsteam = \"x\"".into(),
            vec![],
            "line 1, column 1: unknown key `upsteam`",
            "expected one of",
        ),
        (
            "a table's key that does not exist",
            entry(&format!("{url}transprot = \"sse\"")),
            vec![],
            "transprot",
            "transport",
        ),
        (
            "a file that is not there",
            String::new(),
            vec!["--config", "/no/such.toml"],
            "/no/such.toml",
            "No such file",
        ),
        (
            "no quotes",
            "listen = 127.0.0.1:8787".into(),
            vec![],
            "line 1",
            "in quotes",
        ),
        (
            "a port that is taken",
            format!("listen = \"{taken}\""),
            vec!["--admin-listen", "off"],
            "in use",
            "--listen",
        ),
        (
            "a secret in the place of its variable",
            "upstream_key_env = \"sk-abc\"".into(),
            vec![],
            "not the secret itself",
            "name of an environment variable",
        ),
        (
            "a secret in the place of its file",
            "upstream_key_file = \"sk-abc0123\"".into(),
            vec![],
            "upstream_key_file: the file that it names (10 characters) is not there",
            "give the path of a file, not the secret itself",
        ),
        (
            "a secret in a file that everybody reads",
            "upstream_key_file = \"/etc/passwd\"".into(),
            vec![],
            "file /etc/passwd has the mode 0644",
            "chmod 600",
        ),
        (
            "a secret in two places",
            "upstream_key_env = \"ADMIN\"\nupstream_key_file = \"key\"".into(),
            vec![],
            "upstream_key_env and upstream_key_file",
            "give only one",
        ),
        (
            "a path of the provider's that is none",
            "upstream_paths = [\"GET /v1/models\", \"get /v1/files\"]".into(),
            vec![],
            "upstream_paths[1] (13 characters): the path may be preceded by one method",
            "such as GET",
        ),
        (
            "a provider's path without /v1",
            "upstream_paths = [\"POST /files\"]".into(),
            vec![],
            "upstream_paths[0] (11 characters): the path must begin with /v1/",
            "\"GET /v1/files*\"",
        ),
        (
            "a host with a port",
            "allow_hosts = [\"gateway.internal:8787\"]".into(),
            vec![],
            "allow_hosts[0] (21 characters)",
            "without a scheme, a port or a path",
        ),
        (
            "a variable that is not set",
            "upstream_key_env = \"NOT_SET_HERE\"".into(),
            vec![],
            "NOT_SET_HERE is not set",
            "export",
        ),
        (
            "an upstream without a scheme",
            "upstream = \"api.openai.com/v1\"".into(),
            vec![],
            "upstream: not a URL",
            "https://api.openai.com/v1",
        ),
        (
            "open to the network",
            "listen = \"0.0.0.0:0\"".into(),
            vec![],
            "anyone who can reach",
            "[[api_keys]]",
        ),
        (
            "a certificate that is not there",
            "ca_file = \"/no/ca.pem\"".into(),
            vec![],
            "ca_file: /no/ca.pem",
            "No such file",
        ),
        (
            "a key in the place of a certificate",
            "ca_file = \"/dev/null\"".into(),
            vec![],
            "no PEM certificate",
            "PEM",
        ),
        (
            "a server that is private",
            entry("url = \"http://127.0.0.1:9/mcp\""),
            vec!["--check"],
            "egress rules do not allow",
            "add its host",
        ),
        (
            "a server's address that is private",
            entry("url = \"https://10.0.0.1/mcp\""),
            vec!["--check"],
            "egress rules do not allow",
            "add its host",
        ),
        (
            "a server's name that is none",
            entry(url).replace("\"a\"", "\"My Server\""),
            vec![],
            "My Server",
            "lowercase letters, digits",
        ),
        (
            "a name twice",
            format!("{}{}", entry(url), entry(url)),
            vec![],
            "\"a\"",
            "already",
        ),
        (
            "a secret in the file",
            entry(&format!(
                "{url}[servers.auth]\ntype = \"static_headers\"\nheaders = [{{ name = \"x\", value = \"s3cret\" }}]"
            )),
            vec![],
            "value",
            "value_env",
        ),
        (
            "an authentication that does not exist",
            entry(&format!("{url}auth = {{ type = \"bearer\" }}")),
            vec![],
            "auth.type",
            "static_headers",
        ),
        (
            "a database without keys",
            "database = \"sqlite://proxy.db\"".into(),
            vec![],
            "key_file is required",
            "--generate-key",
        ),
        (
            "a folder that is not there",
            format!("{nowhere}\n{opened_keys}"),
            vec![],
            "/no/such/folder",
            "folder",
        ),
        (
            "no token for the operator",
            String::new(),
            vec!["--admin-listen", "127.0.0.1:0"],
            "admin_token_env or admin_token_file is required",
            "admin_listen = \"off\"",
        ),
        (
            "a token that is short",
            "admin_token_env = \"SHORT\"".into(),
            vec!["--admin-listen", "127.0.0.1:0"],
            "fewer than 16",
            "openssl rand",
        ),
        (
            "a public address in the clear",
            "public_url = \"http://gateway.example.com\"\nadmin_token_env = \"ADMIN\"".into(),
            vec!["--admin-listen", "127.0.0.1:0"],
            "public_url",
            "https://",
        ),
        (
            "a mode that does not exist",
            "streaming = \"on\"".into(),
            vec![],
            "unknown variant `on`",
            "return-tool-calls",
        ),
        (
            "a collector without a scheme",
            "otlp = \"localhost:4318\"".into(),
            vec![],
            "otlp: ",
            "http://",
        ),
        (
            "payloads that do not exist",
            "trace_payloads = \"none\"".into(),
            vec![],
            "unknown variant `none`",
            "redacted",
        ),
        (
            "a limit in words",
            "[limits]\ncall = \"60s\"".into(),
            vec![],
            "line 2, column 8",
            "whole number",
        ),
        (
            "a rule that is none",
            "allow_egress = [\"http://localhost\"]".into(),
            vec![],
            "http://localhost",
            "host[:port]",
        ),
        (
            "a rule for rounds",
            "[limits]\nmax_tool_rounds = 9".into(),
            vec![],
            "at most 5",
            "max_tool_rounds_cap",
        ),
    ] {
        let is_off = !flags.contains(&"--admin-listen");
        let off: &[_] = if is_off {
            &["--admin-listen", "off"]
        } else {
            &[]
        };
        let flags = [off, &flags].concat();
        let env = [("ADMIN", ADMIN_TOKEN), ("SHORT", "s3cret")];
        let (code, out, err) = match flags.contains(&"--config") {
            true => crate::support::run(&flags),
            false => run_with(&config, &flags, &env),
        };
        let message = err + &out;
        assert_eq!(code, 2, "{mistake}: {message}");
        assert!(!message.contains("s3cret"), "{mistake}: {message}");
        table.row(mistake, &message, cause, next);
    }
    table.check(34);
}

/// A server that lets nobody in.
async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let app = Router::new().fallback(|| async {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        (StatusCode::UNAUTHORIZED, challenge, "no")
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// A proxy with servers of all kinds, and what they need to run.
struct Stage {
    proxy: Proxy,
    _shelves: [Shelf; 2],
}

impl Stage {
    async fn set() -> Self {
        let few = Shelf::start(&[tool("find", "Finds"), tool("drop", "Drops")]).await;
        let many: Vec<_> = (0..200)
            .map(|n| tool(&format!("tool-{n}"), "One of many"))
            .collect();
        let many = Shelf::start(&many).await;
        let (few_url, many_url, closed) = (few.url(), many.url(), closed().await);
        let wrong = few_url
            .replace("/mcp", ":1/mcp")
            .replace(":1/mcp", "/elsewhere");
        let config = format!(
            r#"streaming = "reject"
{LOCAL}{KEYS}
[[servers]]
name = "few"
url = "{few_url}"
projects = ["web"]
tools = ["find"]
[[servers]]
name = "many"
url = "{many_url}"
[[servers]]
name = "down"
url = "http://{}/mcp"
[[servers]]
name = "closed"
url = "{closed}"
[[servers]]
name = "wrong-key"
url = "{closed}"
auth = {{ type = "static_headers", headers = [{{ name = "x-api-key", value_env = "WEB" }}] }}
[[servers]]
name = "own-token"
url = "{few_url}"
auth = {{ type = "token_passthrough" }}
[[servers]]
name = "oauth"
url = "{few_url}"
auth = {{ type = "oauth2", client_id = "gateway", issuer = "http://127.0.0.1:9", authorization_url = "http://127.0.0.1:9/authorize", token_url = "http://127.0.0.1:9/token" }}
[[servers]]
name = "off"
url = "{wrong}"
enabled = false
"#,
            refused()
        );
        Self {
            proxy: Proxy::operated(&config, &[("WEB", API_KEY)]),
            _shelves: [few, many],
        }
    }
}

#[tokio::test]
async fn a_request_that_is_wrong_says_what_to_send() {
    let stage = Stage::set().await;
    let proxy = &stage.proxy;
    let with = |mcp: Value| {
        let mut body = question("few", "hi");
        for (name, value) in mcp.as_object().unwrap() {
            body["mcp"][name] = value.clone();
        }
        body
    };
    let of = |server: &str| question(server, "hi");
    let beside = |name: &str, value: Value| {
        let mut body = of("few");
        body[name] = value;
        body
    };
    let own = json!([{"type": "function", "function": {"name": "few__find", "parameters": {"type": "object"}}}]);
    let mut table = Table::default();
    for (mistake, key, body, status, cause, next) in [
        (
            "no key",
            "",
            of("few"),
            401,
            "API key is missing or unknown",
            "Authorization: Bearer KEY",
        ),
        (
            "a wrong key",
            "sk-of-the-provider",
            of("few"),
            401,
            "API key is missing or unknown",
            "Authorization: Bearer KEY",
        ),
        (
            "an unknown server",
            API_KEY,
            of("fwe"),
            404,
            "fwe",
            "check the name",
        ),
        (
            "another project's server",
            "batch-key",
            of("few"),
            404,
            "few",
            "whose project",
        ),
        (
            "a server that is switched off",
            API_KEY,
            of("off"),
            400,
            "disabled",
            "operator",
        ),
        (
            "a server that is down",
            API_KEY,
            of("down"),
            400,
            "unreachable",
            "operator",
        ),
        (
            "a server that wants a credential",
            API_KEY,
            of("closed"),
            400,
            "needs authorization",
            "operator",
        ),
        (
            "a server with a wrong credential",
            API_KEY,
            of("wrong-key"),
            400,
            "needs authorization",
            "operator",
        ),
        (
            "a server that nobody has connected",
            API_KEY,
            of("oauth"),
            400,
            "needs authorization",
            "operator",
        ),
        (
            "a server that wants the caller's token",
            API_KEY,
            of("own-token"),
            401,
            "token",
            "x-mcp-auth-own-token",
        ),
        ("200 tools", API_KEY, of("many"), 400, "200", "mcp.tools"),
        (
            "a member that is misspelt",
            API_KEY,
            with(json!({"autoexecute": true})),
            400,
            "autoexecute",
            "auto_execute_tools",
        ),
        (
            "a member of another type",
            API_KEY,
            with(json!({"auto_execute_tools": "yes"})),
            400,
            "auto_execute_tools",
            "boolean",
        ),
        (
            "one server without a list",
            API_KEY,
            with(json!({"servers": "few"})),
            400,
            "mcp.servers",
            "array of strings",
        ),
        (
            "no server",
            API_KEY,
            with(json!({"servers": []})),
            400,
            "mcp.servers",
            "at least one",
        ),
        (
            "no rounds",
            API_KEY,
            with(json!({"max_tool_rounds": 0})),
            400,
            "max_tool_rounds",
            "1",
        ),
        (
            "a tool that is not selected",
            API_KEY,
            with(json!({"tools": ["few__drop"]})),
            400,
            "few__drop",
            "selected",
        ),
        (
            "a tool without its server",
            API_KEY,
            with(json!({"tools": ["find"]})),
            400,
            "find",
            "{server}__{tool}",
        ),
        (
            "a tool of one's own with the same name",
            API_KEY,
            beside("tools", own),
            400,
            "few__find",
            "rename",
        ),
        ("two answers", API_KEY, beside("n", json!(2)), 400, "n", "1"),
        (
            "a stream",
            API_KEY,
            beside("stream", json!(true)),
            400,
            "stream",
            "false",
        ),
        (
            "nothing to resume",
            API_KEY,
            with(json!({"resume_tool_calls": true})),
            400,
            "resume",
            "assistant",
        ),
    ] {
        let request = proxy.post(&body);
        let request = match key {
            "" => request,
            key => request.bearer_auth(key),
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{mistake}");
        let answer = crate::support::json(answer).await;
        table.row(
            mistake,
            answer["error"]["message"].as_str().unwrap(),
            cause,
            next,
        );
    }

    let send = async |method: &str, path: &str, kind: &'static str, body: &'static str| {
        let url = format!("{}{path}", proxy.url);
        let request = proxy.client.request(method.parse().unwrap(), url);
        let request = request
            .bearer_auth(API_KEY)
            .header("content-type", kind)
            .body(body);
        let answer = crate::support::json(request.send().await.unwrap()).await;
        answer["error"]["message"].as_str().unwrap().to_owned()
    };
    const CHAT: &str = "/v1/chat/completions";
    for (mistake, (method, path, kind, body), cause, next) in [
        (
            "no content type",
            ("POST", CHAT, "text/plain", "{}"),
            "content-type",
            "application/json",
        ),
        (
            "no JSON",
            (
                "POST",
                CHAT,
                "application/json",
                "{\"mcp\": {\"enabled\": tru}}",
            ),
            "JSON",
            "quotes",
        ),
        (
            "a path without /v1",
            ("POST", "/chat/completions", "application/json", "{}"),
            "nothing at this path",
            "/v1/chat/completions",
        ),
        (
            "a method that is none of it",
            ("POST", "/v1/mcp/servers", "application/json", "{}"),
            "does not answer POST",
            "Allow",
        ),
    ] {
        let message = send(method, path, kind, body).await;
        table.row(mistake, &message, cause, next);
    }
    table.check(26);
}

#[tokio::test]
async fn an_operator_who_errs_is_told_what_to_enter() {
    let stage = Stage::set().await;
    let proxy = &stage.proxy;
    let server = |more: Value| {
        let mut server = json!({"name": "new", "url": "https://mcp.example.com/mcp"});
        for (name, value) in more.as_object().unwrap() {
            server[name] = value.clone();
        }
        server
    };
    const SERVERS: &str = "/api/v1/servers";
    let mut table = Table::default();
    assert_eq!(
        proxy.operate("POST", SERVERS, server(json!({}))).await.0,
        StatusCode::CREATED
    );
    for (mistake, method, path, body, cause, next) in [
        (
            "a name that is taken",
            "POST",
            SERVERS,
            server(json!({})),
            "new",
            "another name",
        ),
        (
            "a name of the file",
            "POST",
            SERVERS,
            server(json!({"name": "few"})),
            "few",
            "change it there",
        ),
        (
            "a name that is none",
            "POST",
            SERVERS,
            server(json!({"name": "My Server"})),
            "name",
            "lowercase letters, digits",
        ),
        (
            "a private address",
            "POST",
            SERVERS,
            server(json!({"name": "b", "url": "https://10.0.0.1/mcp"})),
            "not public",
            "--allow-egress 10.0.0.1:443",
        ),
        (
            "an unknown member",
            "POST",
            SERVERS,
            server(json!({"name": "b", "transprot": "sse"})),
            "transprot",
            "transport",
        ),
        (
            "no project",
            "POST",
            SERVERS,
            server(json!({"name": "b", "projects": []})),
            "projects",
            "all",
        ),
        (
            "an unknown authentication",
            "POST",
            SERVERS,
            server(json!({"name": "b", "auth": {"type": "bearer"}})),
            "type",
            "static_headers",
        ),
        (
            "a header without a value",
            "POST",
            SERVERS,
            server(
                json!({"name": "b", "auth": {"type": "static_headers", "headers": [{"name": "x"}]}}),
            ),
            "value",
            "missing",
        ),
        (
            "a change of an old version",
            "PUT",
            "/api/v1/servers/new",
            server(json!({"version": 7, "projects": "all", "tools": "all"})),
            "version",
            "read it again",
        ),
        (
            "a change of a file's server",
            "DELETE",
            "/api/v1/servers/few",
            Value::Null,
            "file",
            "change it there",
        ),
        (
            "a server that is not there",
            "GET",
            "/api/v1/servers/nwe",
            Value::Null,
            "nwe",
            "no server named",
        ),
        (
            "a listing of a server that is down",
            "POST",
            "/api/v1/servers/down/refresh",
            Value::Null,
            "unreachable",
            "refuses the connection",
        ),
        (
            "a listing of a server that wants a credential",
            "POST",
            "/api/v1/servers/closed/refresh",
            Value::Null,
            "authorization",
            "auth",
        ),
        (
            "a connection without OAuth",
            "POST",
            "/api/v1/servers/few/oauth/connect",
            Value::Null,
            "auth",
            "oauth2",
        ),
    ] {
        let (status, answer) = proxy.operate(method, path, body).await;
        assert!(status.is_client_error(), "{mistake}: {status} {answer}");
        table.row(
            mistake,
            answer["error"]["message"].as_str().unwrap(),
            cause,
            next,
        );
    }
    table.check(14);
}

#[tokio::test]
async fn a_consent_that_fails_says_how_to_go_on() {
    let stage = Stage::set().await;
    let proxy = &stage.proxy;
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none());
    let browser = browser.build().unwrap();
    let begin = async || {
        let path = "/api/v1/servers/oauth/oauth/connect";
        let (status, answer) = proxy.operate("POST", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let start = answer["authorization_url"].as_str().unwrap().to_owned();
        let sent = browser.get(&start).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
        let text = |name| sent.headers()[name].to_str().unwrap().to_owned();
        let provider: url::Url = text("location").parse().unwrap();
        let parameter = |wanted: &str| {
            let found = provider.query_pairs().find(|(name, _)| name == wanted);
            found.unwrap().1.into_owned()
        };
        let cookie = text("set-cookie").split(';').next().unwrap().to_owned();
        (start, parameter("redirect_uri"), parameter("state"), cookie)
    };
    let page = async |url: String, cookie: &str| {
        let asked = browser
            .get(url)
            .header("cookie", cookie)
            .send()
            .await
            .unwrap();
        asked.text().await.unwrap()
    };
    let mut table = Table::default();
    for (mistake, error, cause, next) in [
        (
            "a consent that is refused",
            "access_denied",
            "access_denied",
            "again",
        ),
        (
            "a scope that the provider refuses",
            "invalid_scope",
            "invalid_scope",
            "scopes",
        ),
        (
            "a client that the provider does not know",
            "unauthorized_client",
            "unauthorized_client",
            "client",
        ),
    ] {
        let (_, back, state, cookie) = begin().await;
        let shown = page(format!("{back}?error={error}&state={state}"), &cookie).await;
        table.row(mistake, &shown, cause, next);
    }
    let (start, back, state, cookie) = begin().await;
    let used = page(start, "").await;
    table.row("a link that was used", &used, "once", "again");
    let other = page(format!("{back}?code=c&state={state}"), "").await;
    table.row("another browser", &other, "browser", "again");
    let late = page(format!("{back}?code=c&state=long-gone"), &cookie).await;
    table.row("a consent that came late", &late, "ten minutes", "again");
    table.check(6);
}
