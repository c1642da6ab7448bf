//! Everybody who comes to a proxy, at once.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::proxy::{ADMIN_TOKEN, question};
use crate::stage::Stage;

/// Between two requests of one of them.
const PAUSE: Duration = Duration::from_millis(20);
/// No request takes longer in a proxy that works; the hostile server's calls end after 2 s.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Load {
    tasks: JoinSet<()>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    counts: Mutex<Counts>,
    /// Milliseconds since the last line, by kind.
    times: Mutex<BTreeMap<&'static str, Vec<f64>>>,
}

/// How many of each kind did what they should, and how many did not.
#[derive(Clone, Default)]
pub struct Counts(BTreeMap<&'static str, (usize, usize)>);

/// What one of them needs.
#[derive(Clone)]
struct Visitor {
    client: Client,
    url: String,
    operators: String,
    seen: Arc<Seen>,
    number: Arc<AtomicUsize>,
}

impl Load {
    pub fn start(stage: &Stage) -> Self {
        let seen = Arc::<Seen>::default();
        let visitor = Visitor {
            client: Client::builder().no_proxy().build().unwrap(),
            url: stage.proxy.url.clone(),
            operators: stage.proxy.operators.clone(),
            seen: seen.clone(),
            number: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            tasks.spawn(visitor.clone().pass());
            tasks.spawn(visitor.clone().loops("newest"));
            tasks.spawn(visitor.clone().loops("sessions"));
            tasks.spawn(visitor.clone().streams());
        }
        for _ in 0..2 {
            tasks.spawn(visitor.clone().loops("tracker"));
            tasks.spawn(visitor.clone().meets_the_hostile());
            tasks.spawn(visitor.clone().hangs_up());
            tasks.spawn(visitor.clone().operates());
        }
        // Every token is refused from now on, so that one is fetched.
        let provider = stage.provider.clone();
        tasks.spawn(async move {
            loop {
                sleep(Duration::from_secs(65)).await;
                provider.refuse_tokens();
            }
        });
        Self { tasks, seen }
    }

    /// What was seen since the last line.
    pub fn line(&self) -> String {
        let mut times = self.seen.times.lock().unwrap();
        let mut of = |kind| percentiles(times.remove(kind).unwrap_or_default());
        let (pass, loops) = (of("pass"), of("loop"));
        let counts = self.seen.counts.lock().unwrap();
        let (done, failed) = counts.sums();
        format!("{pass}  {loops}  {done:7}  {failed}")
    }

    pub async fn stop(mut self) -> Counts {
        self.tasks.shutdown().await;
        self.seen.counts.lock().unwrap().clone()
    }
}

impl Visitor {
    async fn pass(self) {
        let request = json!({"model": "demo", "messages": [{"role": "user", "content": "hi"}]});
        loop {
            self.timed("pass", self.chat(&request), |answer| {
                answer["choices"][0]["message"]["content"].is_string()
            })
            .await;
        }
    }

    async fn loops(self, server: &'static str) {
        let kind = if server == "tracker" { "oauth" } else { "loop" };
        loop {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let request = question(server, &format!("Echo \"number {number}\""));
            self.timed(kind, self.chat(&request), |answer| {
                answer["mcp"]["calls"][0]["is_error"] == false
            })
            .await;
        }
    }

    async fn meets_the_hostile(self) {
        let request = question("evil", "Echo \"x\"");
        loop {
            // The model is told, or the server is known to be down: an answer in any case.
            self.timed("hostile", self.chat(&request), |answer| {
                answer["mcp"]["calls"][0]["is_error"] == true || answer["error"].is_object()
            })
            .await;
        }
    }

    async fn streams(self) {
        let mut request = question("newest", "Echo \"streamed\"");
        request["stream"] = true.into();
        loop {
            let answer = self.chat(&request).send().await;
            let text = match answer {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            self.count(
                "stream",
                text.contains("streamed") && text.ends_with("[DONE]\n\n"),
            );
            sleep(PAUSE).await;
        }
    }

    async fn hangs_up(self) {
        let mut request = question("newest", "Echo \"left\"");
        loop {
            request["stream"] = (!request["stream"].as_bool().unwrap_or_default()).into();
            let number = self.number.fetch_add(1, Ordering::Relaxed) as u64;
            let after = Duration::from_micros(number * 37 % 9_000);
            // Over a connection of its own, which goes with it.
            let client = Client::builder().no_proxy().build().unwrap();
            let asked = client.execute(self.chat(&request).build().unwrap());
            let _ = timeout(after, asked).await;
            self.count("hang-up", true);
            sleep(PAUSE).await;
        }
    }

    async fn operates(self) {
        loop {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let name = format!("s-{number}");
            let server = json!({"name": name, "url": "http://127.0.0.1:9/mcp"});
            let of = format!("/servers/{name}");
            for (method, path, body, status) in [
                ("POST", "/servers", server, StatusCode::CREATED),
                ("GET", "/servers?limit=50", Value::Null, StatusCode::OK),
                ("GET", "/traces?limit=20", Value::Null, StatusCode::OK),
                ("GET", &*of, Value::Null, StatusCode::OK),
                (
                    "POST",
                    "/servers/newest/refresh",
                    Value::Null,
                    StatusCode::OK,
                ),
                ("DELETE", &*of, Value::Null, StatusCode::NO_CONTENT),
            ] {
                let url = format!("{}/api/v1{path}", self.operators);
                let request = self.client.request(method.parse().unwrap(), url);
                let mut request = request.bearer_auth(ADMIN_TOKEN);
                if !body.is_null() {
                    request = request.header("content-type", "application/json");
                    request = request.body(body.to_string());
                }
                let answer = request.send().await;
                let is_right = answer
                    .as_ref()
                    .is_ok_and(|answer| answer.status() == status);
                if let Ok(answer) = answer {
                    let _ = answer.bytes().await;
                }
                self.count("operator", is_right);
                sleep(PAUSE).await;
            }
        }
    }

    fn chat(&self, body: &Value) -> RequestBuilder {
        let url = format!("{}/v1/chat/completions", self.url);
        let request = self.client.post(url).body(body.to_string());
        request
            .header("content-type", "application/json")
            .timeout(PATIENCE)
    }

    async fn timed(
        &self,
        kind: &'static str,
        request: RequestBuilder,
        is_right: fn(&Value) -> bool,
    ) {
        let started = Instant::now();
        let answer = async { request.send().await?.bytes().await };
        let answer: Option<Value> = answer
            .await
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let took = started.elapsed().as_secs_f64() * 1000.0;
        self.seen
            .times
            .lock()
            .unwrap()
            .entry(kind)
            .or_default()
            .push(took);
        self.count(kind, answer.is_some_and(|answer| is_right(&answer)));
        sleep(PAUSE).await;
    }

    fn count(&self, kind: &'static str, is_right: bool) {
        let mut counts = self.seen.counts.lock().unwrap();
        let (done, failed) = counts.0.entry(kind).or_default();
        *(if is_right { done } else { failed }) += 1;
    }
}

impl Counts {
    fn sums(&self) -> (usize, usize) {
        let sums = self.0.values().copied();
        sums.fold((0, 0), |sum, (done, failed)| (sum.0 + done, sum.1 + failed))
    }

    /// Everybody did what they should, but for a handful on a machine that is busy.
    pub fn check(&self) {
        assert_eq!(self.0.len(), 7, "every kind came: {self}");
        for (kind, (done, failed)) in &self.0 {
            assert!(failed * 100 <= *done, "{kind}: {failed} of {done} failed");
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (done, failed)) in &self.0 {
            write!(f, "{kind} {done} (failed {failed})  ")?;
        }
        Ok(())
    }
}

fn percentiles(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(0.0)
    };
    format!("{:7.1} /{:7.1}", at(0.5), at(0.99))
}
