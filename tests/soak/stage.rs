//! The proxy, its database, and the servers of every kind behind it.

use std::sync::Arc;

use http::{StatusCode, header};
use mcp_layer::secret::KeyFile;
use reqwest::{Client, redirect};
use serde_json::{Value, json};

use crate::proxy::Proxy;
use crate::support::{
    directory::Directory,
    evil::{Evil, Received, Step, json_reply},
    mcp_server::{McpServer, Mode},
    postgres::Postgres,
    provider::Provider,
};

pub struct Stage {
    pub proxy: Proxy,
    pub provider: Arc<Provider>,
    _postgres: Postgres,
    _directory: Directory,
    _good: [McpServer; 2],
    _evil: Evil,
}

impl Stage {
    pub async fn set() -> Self {
        let (postgres, directory) = (Postgres::start(), Directory::new());
        let key_file = directory.0.join("keys");
        KeyFile::new(&key_file).generate().unwrap();
        let config = format!(
            "database = {:?}\nkey_file = {key_file:?}\nallow_egress = [\"127.0.0.0/8\"]\n\
             streaming = \"execute\"\n[limits]\ncall = 2\n",
            postgres.database("soak"),
        );
        let good = [
            McpServer::start(Mode::Newest).await,
            McpServer::start(Mode::Sessions).await,
        ];
        let stage = Self {
            proxy: Proxy::operated(&config, &[]),
            provider: Arc::new(Provider::start().await),
            _postgres: postgres,
            _directory: directory,
            _evil: Evil::mcp(hostile).await,
            _good: good,
        };
        stage
            .create("newest", &stage._good[0].url(), json!({"type": "none"}))
            .await;
        stage
            .create("sessions", &stage._good[1].url(), json!({"type": "none"}))
            .await;
        stage
            .create("evil", &stage._evil.url(), json!({"type": "none"}))
            .await;
        let url = stage.provider.server.mcp();
        stage
            .create("tracker", url.as_str(), json!({"type": "oauth2"}))
            .await;
        stage.connect("tracker").await;
        stage
    }

    async fn create(&self, name: &str, url: &str, auth: Value) {
        let server = json!({"name": name, "url": url, "auth": auth});
        let (status, answer) = self.proxy.operate("POST", "/api/v1/servers", server).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
    }

    /// Gives consent, as an operator's browser would.
    async fn connect(&self, name: &str) {
        let path = format!("/api/v1/servers/{name}/oauth/connect");
        let (status, answer) = self.proxy.operate("POST", &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let browser = Client::builder().redirect(redirect::Policy::none());
        let browser = browser.build().unwrap();
        let start = answer["authorization_url"].as_str().unwrap();
        let started = browser.get(start).send().await.unwrap();
        let cookie = started.headers()[header::SET_COOKIE].to_str().unwrap();
        let (cookie, _) = cookie.split_once(';').unwrap();
        let consent = started.headers()[header::LOCATION].to_str().unwrap();
        let consent: url::Url = consent.parse().unwrap();
        let back = self.provider.server.approve(&consent);
        let back = browser
            .get(format!("{}{back}", self.proxy.operators))
            .header(header::COOKIE, cookie);
        assert_eq!(back.send().await.unwrap().status(), StatusCode::OK);
    }
}

/// Lists its tool, and does something else at each call of it.
fn hostile(request: &Received) -> Vec<Step> {
    if request.method() == "tools/list" {
        let tool = json!({"name": "echo", "inputSchema": {"type": "object"}});
        let page = request.result(&json!({"tools": [tool]}));
        return vec![Step::Send(json_reply(&page))];
    }
    let send = |text: &str| Step::Send(text.as_bytes().to_vec());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    match request.connection % 6 {
        0 => vec![Step::Flood(
            b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000),
        )],
        1 => vec![send(head), Step::Reset],
        2 => vec![
            send(head),
            send("content-length: 9\r\n\r\n{\"jso"),
            Step::Hang,
        ],
        3 => vec![
            send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
            Step::Flood(b": \n".repeat(4096)),
        ],
        4 => vec![send("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")],
        _ => vec![Step::Close],
    }
}
