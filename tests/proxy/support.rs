//! The running proxy, and an upstream that does as the request's `model` says.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http_body_util::BodyExt;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::evidence;

/// The upstream's key, which nobody but the upstream may see.
pub const UPSTREAM_KEY: &str = "canary/upstream+key=31";
/// A caller's key, which nobody but the proxy may see.
pub const API_KEY: &str = "canary/callers+key=32";
/// A caller's token for an MCP server.
pub const CALLERS_TOKEN: &str = "canary/callers+token=33";
/// The operator's token.
pub const ADMIN_TOKEN: &str = "canary/admin+token=35";

/// A proxy of the test's own; it ends with the test.
pub struct Proxy {
    child: Child,
    log: PathBuf,
    pub url: String,
    /// The operator's side, where it has one.
    pub operators: String,
    /// What it printed when it had started.
    pub printed: String,
    pub client: Client,
}

impl Proxy {
    /// The demo, with these flags.
    pub fn start(flags: &[&str]) -> Self {
        let mut command = command();
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        Self::spawn(command.args(flags))
    }

    /// A proxy with this configuration file and environment, without an operator's side.
    pub fn with(config: &str, env: &[(&str, &str)]) -> Self {
        Self::over(&file(config), &["--admin-listen", "off"], env)
    }

    /// The same on all addresses of the machine.
    pub fn anywhere(config: &str, env: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(["--listen", "0.0.0.0:0", "--admin-listen", "off"]);
        Self::spawn(command.arg("--config").arg(file(config)).envs(env.to_vec()))
    }

    /// The same with an operator's side, which [`ADMIN_TOKEN`] opens.
    pub fn operated(config: &str, env: &[(&str, &str)]) -> Self {
        let flags = [
            "--admin-listen",
            "127.0.0.1:0",
            "--admin-token-env",
            "ADMIN",
        ];
        let env: Vec<_> = env
            .iter()
            .copied()
            .chain([("ADMIN", ADMIN_TOKEN)])
            .collect();
        Self::over(&file(config), &flags, &env)
    }

    /// A proxy with a configuration file that the test goes on writing to.
    pub fn over(config: &Path, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        Self::spawn(command.arg("--config").arg(config).envs(env.to_vec()))
    }

    /// A proxy whose settings are in its environment; it prints two lines, for callers and for operators.
    pub fn of_environment(env: &[(&str, &str)]) -> Self {
        let mut command = command();
        command.env("MCP_PROXY_LISTEN", "127.0.0.1:0");
        command.env("MCP_PROXY_ADMIN_LISTEN", "127.0.0.1:0");
        command.envs([
            ("MCP_PROXY_ADMIN_TOKEN_ENV", "ADMIN"),
            ("ADMIN", ADMIN_TOKEN),
        ]);
        Self::spawn(command.envs(env.to_vec()))
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// The same where the file says on which addresses it listens.
    pub fn anywhere_over(config: &Path, flags: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn(
            command()
                .args(flags)
                .arg("--config")
                .arg(config)
                .envs(env.to_vec()),
        )
    }

    /// Asks the operator's side, with the token; without a body where it is null.
    pub async fn operate(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.operators);
        let request = self.client.request(method.parse().unwrap(), url);
        let mut request = request.bearer_auth(ADMIN_TOKEN);
        if !body.is_null() {
            request = request.header("content-type", "application/json");
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        match answer.status() {
            StatusCode::NO_CONTENT => (StatusCode::NO_CONTENT, Value::Null),
            status => (status, json(answer).await),
        }
    }

    /// What `kill -9` does.
    pub fn kill(self) {
        drop(self);
    }

    /// Runs it to its end on a configuration file: exit code, output, errors.
    pub fn run(config: &str, flags: &[&str]) -> (i32, String, String) {
        let mut command = command();
        command.args(["--admin-listen", "off"]).args(flags);
        output(command.arg("--config").arg(file(config)))
    }

    fn spawn(command: &mut Command) -> Self {
        let log = own_file("log");
        let stderr = File::create(&log).unwrap();
        command.stdout(Stdio::piped()).stderr(stderr);
        if evidence::folder().is_some() {
            // The demo's server is one of the SDK, and logs what it is sent.
            command.env("RUST_LOG", "trace,rmcp=off");
            if !command.get_args().any(|flag| flag == "--log-format") {
                command.args(["--log-format", "json"]);
            }
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = lines.next().expect("it prints where it listens").unwrap();
        let url = url_in(&printed);
        let is_off = command.get_args().any(|flag| flag == "off");
        let last = match (printed.contains("demo"), is_off) {
            (true, _) => "Ctrl-C",
            (false, false) => "The operator's side",
            (false, true) => "The proxy",
        };
        while !printed.contains(last) {
            printed += "\n";
            printed += &lines.next().unwrap().unwrap();
        }
        // The demo asks to open it, since it has a dashboard.
        let operators = ["The operator's side listens on ", "Open "]
            .iter()
            .find_map(|before| printed.split_once(before));
        let operators = operators.map_or_else(String::new, |(_, rest)| url_in(rest));
        evidence::left("proxy", &printed);
        Self {
            child,
            log,
            url,
            operators,
            printed,
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// What it has logged so far.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await;
        let answer = answer.unwrap();
        (answer.status(), json(answer).await)
    }

    pub fn post(&self, body: &Value) -> RequestBuilder {
        let url = format!("{}/v1/chat/completions", self.url);
        let request = self.client.post(url).body(body.to_string());
        request.header("content-type", "application/json")
    }

    pub async fn chat(&self, body: &Value) -> (StatusCode, Value) {
        let answer = self.post(body).send().await.unwrap();
        (answer.status(), json(answer).await)
    }

    /// Sends these bytes, and returns all that comes until the proxy closes the connection.
    pub fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        evidence::left("caller", &answer);
        answer
    }

    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Returns when the proxy says that it takes no more requests.
    pub async fn until_draining(&self) {
        loop {
            // Each time over a connection of its own: the others are being closed.
            let client = Client::builder().no_proxy().pool_max_idle_per_host(0);
            let ready = client.build().unwrap().get(format!("{}/readyz", self.url));
            if ready.send().await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The process.
    #[allow(
        dead_code,
        reason = "only the load that runs by hand looks at the process"
    )]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit code.
    pub fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

/// A question for the demo model, with the tools of one server.
pub fn question(server: &str, question: &str) -> Value {
    json!({
        "model": "demo",
        "messages": [{"role": "user", "content": question}],
        "mcp": {"enabled": true, "servers": [server], "auto_execute_tools": true},
    })
}

/// Waits until something is so, for twenty seconds at most: machines can be busy.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still not: {what}");
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        evidence::left("proxy", self.logged());
    }
}

/// The first address in a text.
fn url_in(text: &str) -> String {
    let (_, rest) = text.split_once("http://").unwrap();
    let address = rest
        .split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
        .next();
    let address = address.unwrap().trim_end_matches([':', '.']);
    // What listens everywhere listens here too.
    format!("http://{}", address.replace("0.0.0.0", "127.0.0.1"))
}

/// Runs the proxy to its end: exit code, output, errors.
pub fn run(flags: &[&str]) -> (i32, String, String) {
    output(command().args(flags))
}

/// The same with a configuration file and an environment.
pub fn run_with(config: &str, flags: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = command();
    command.arg("--config").arg(file(config));
    output(command.args(flags).envs(env.to_vec()))
}

/// The same without a file: all of it is in the environment.
pub fn run_in(env: &[(&str, &str)], flags: &[&str]) -> (i32, String, String) {
    let mut command = command();
    output(command.args(flags).envs(env.to_vec()))
}

fn output(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    evidence::left("proxy", [&*output.stdout, &output.stderr].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// The built proxy.
pub fn program() -> PathBuf {
    // Tests lie in `deps` beside `examples`, which `cargo test` builds too.
    let mut program: PathBuf = env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.push("examples/proxy");
    program.set_extension(env::consts::EXE_EXTENSION);
    assert!(program.exists(), "run `cargo build --example proxy` first");
    program
}

fn command() -> Command {
    let program = program();
    evidence::secret("upstream key", UPSTREAM_KEY);
    evidence::secret("proxy's API key", API_KEY);
    evidence::secret("passthrough token", CALLERS_TOKEN);
    evidence::secret("admin token", ADMIN_TOKEN);
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG");
    command
}

/// A configuration file of the test's own.
pub fn file(config: &str) -> PathBuf {
    let path = own_file("toml");
    fs::write(&path, config).unwrap();
    path
}

pub fn own_file(kind: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    folder.join(format!("proxy-{}-{number}.{kind}", std::process::id()))
}

/// An address where nobody listens.
pub fn refused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The JSON of an answer.
pub async fn json(answer: reqwest::Response) -> Value {
    let head = evidence::headers(answer.headers());
    let body = answer.bytes().await.unwrap();
    evidence::left("caller", [head.as_bytes(), &body].concat());
    serde_json::from_slice(&body).unwrap()
}

/// A provider: `wait` answers when it is told to go on, `hang` never, `endless` sends without end,
/// `stream` sends a piece before that and one
/// after it, any other request gets what it looked like as an answer, but for
/// the [`UPSTREAM_KEY`].
pub struct Upstream {
    pub url: String,
    steps: Steps,
}

#[derive(Clone, Default)]
struct Steps {
    asked: Arc<Notify>,
    go_on: Arc<Notify>,
    left: Arc<AtomicUsize>,
}

/// Counts a stream that is not read any more.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Upstream {
    pub async fn start() -> Self {
        let steps = Steps::default();
        let app = Router::new().fallback(answer).with_state(steps.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, steps }
    }

    /// Returns when a request is waiting.
    pub async fn asked(&self) {
        self.steps.asked.notified().await;
    }

    /// How many streams without an end were left by who read them.
    pub fn left(&self) -> usize {
        self.steps.left.load(Ordering::Relaxed)
    }

    pub fn go_on(&self) {
        self.steps.go_on.notify_one();
    }
}

async fn answer(State(steps): State<Steps>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    match sent["model"].as_str() {
        Some("wait") => {
            steps.asked.notify_one();
            steps.go_on.notified().await;
        }
        Some("hang") => std::future::pending().await,
        Some("endless") => {
            let leaves = Leaves(steps.left.clone());
            let pieces = stream::repeat_with(move || {
                let _ = &leaves;
                Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 16 << 10]))
            });
            return Body::from_stream(pieces).into_response();
        }
        Some("stream") => {
            let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from("data: one\n\n"))]);
            let second = stream::once(async move {
                steps.go_on.notified().await;
                Ok(Bytes::from("data: [DONE]\n\n"))
            });
            return Body::from_stream(first.chain(second)).into_response();
        }
        _ => {}
    }
    let mut seen = json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "body": String::from_utf8_lossy(&body[..body.len().min(1000)]),
    });
    for (name, value) in &parts.headers {
        let value = value.to_str().unwrap();
        seen[name.as_str()] = value.replace(UPSTREAM_KEY, "UPSTREAM_KEY").into();
    }
    Json(seen).into_response()
}
