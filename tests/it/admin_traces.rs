//! Exchanges over REST: those of the operator's organization, as the layer has recorded them.

use mcp_layer::Project;
use mcp_layer::registry::MemoryTraces;
use serde_json::{Value, json};

use super::support::admin::Operator;
use super::support::gateway::{Gateway, auto, chat};
use super::support::model::{calls, says};

const TRACES: &str = "/api/v1/traces";

/// A gateway whose exchanges are recorded, and operators who may read them.
struct Watched {
    gateway: Gateway,
    traces: MemoryTraces,
    operator: Operator,
}

impl Watched {
    /// With a model that answers so many requests, each after a call of `echo`.
    async fn new(requests: usize) -> Self {
        let traces = MemoryTraces::default();
        let echo = || calls(&[("s__echo", json!({"text": "hello"}))]);
        let answers = (0..requests).flat_map(|_| [echo(), says("done")]);
        let gateway = Gateway::new(answers).await;
        let gateway = gateway.layered(|layer| layer.add_trace_sink(traces.clone()));
        let operator = Operator::with(gateway.registry.clone(), |admin| {
            admin.with_traces(traces.clone())
        });
        Self {
            gateway,
            traces,
            operator,
        }
    }

    async fn list(&self, query: &str) -> Value {
        self.operator.get(&format!("{TRACES}{query}")).await
    }
}

fn ids(list: &Value) -> Vec<&str> {
    let traces = list["traces"].as_array().unwrap().iter();
    traces.map(|trace| trace["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_exchange_is_listed_and_read_with_its_spans() {
    let watched = Watched::new(1).await;
    assert_eq!(watched.list("").await, json!({"traces": [], "next": null}));
    watched.gateway.send_as("default", &auto(json!({}))).await;
    let list = watched.list("").await;
    let [listed] = &list["traces"].as_array().unwrap()[..] else {
        panic!("{list}");
    };
    assert_eq!(listed["project"], "default");
    assert_eq!(listed["model"], "m");
    assert_eq!(listed["servers"], json!(["s"]));
    assert_eq!(
        (&listed["rounds"], &listed["stopped_by"]),
        (&json!(1), &json!("final"))
    );
    assert_eq!(listed["usage"]["total_tokens"], 24);
    assert!(listed.get("spans").is_none());

    let path = format!("{TRACES}/{}", listed["id"].as_str().unwrap());
    let mut read = watched.operator.get(&path).await;
    let spans = read["spans"].take();
    let names: Vec<_> = spans
        .as_array()
        .unwrap()
        .iter()
        .map(|span| &span["name"])
        .collect();
    assert!(names.contains(&&json!("execute_tool s__echo")), "{names:?}");
    let called = spans.as_array().unwrap().iter();
    let mut called = called.filter(|span| span["name"] == "execute_tool s__echo");
    let attributes = &called.next().unwrap()["attributes"];
    assert_eq!(attributes["mcp_layer.outcome"], "ok");
    read.as_object_mut().unwrap().remove("spans");
    assert_eq!(&read, listed);
}

#[tokio::test]
async fn exchanges_come_in_pages_the_latest_first_and_are_filtered() {
    let watched = Watched::new(5).await;
    for number in 0..5 {
        let project = ["web", "batch"][number % 2];
        let model = auto(json!({"model": format!("model-{number}")}));
        watched.gateway.send_as(project, &model).await;
    }
    let all = watched.list("").await;
    let models = all["traces"].as_array().unwrap().iter();
    let models: Vec<_> = models
        .map(|trace| trace["model"].as_str().unwrap())
        .collect();
    assert_eq!(
        models,
        ["model-4", "model-3", "model-2", "model-1", "model-0"]
    );

    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = watched.list(&query).await;
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(seen, ids(&all));

    for (query, count) in [
        ("?project=web", 3),
        ("?project=other", 0),
        ("?model=model-2", 1),
        ("?server=s", 5),
        ("?server=t", 0),
        ("?outcome=unheard_of", 0),
        ("?project=batch&model=model-2", 0),
        ("?project=&model=&server=&outcome=&limit=&cursor=", 5),
    ] {
        assert_eq!(ids(&watched.list(query).await).len(), count, "{query}");
    }
    let outcome = all["traces"][0]["outcome"].as_str().unwrap();
    let alike = watched.list(&format!("?outcome={outcome}")).await;
    assert_eq!(ids(&alike).len(), 5);
    for (query, param) in [
        ("?limit=0", "limit"),
        ("?cursor=x", "cursor"),
        ("?status=x", "status"),
        ("?failed=x", "failed"),
        ("?from=today", "from"),
    ] {
        let answer = watched
            .operator
            .ask("GET", &format!("{TRACES}{query}"), None)
            .await;
        assert_eq!(answer.error(400).1.as_deref(), Some(param));
    }
}

#[tokio::test]
async fn exchanges_are_found_by_failed_tools_time_and_text() {
    let watched = Watched::new(1).await;
    watched.gateway.send_as("default", &auto(json!({}))).await;
    let bad = calls(&[("s__echo", json!({"text": 7})), ("s__nothing", json!({}))]);
    watched.gateway.model.add([bad, says("sorry")]);
    watched.gateway.send_as("default", &auto(json!({}))).await;
    let all = watched.list("").await;
    let ids = ids(&all);
    let failed_calls = |place: usize| all["traces"][place]["failed_calls"].clone();
    assert_eq!((failed_calls(0), failed_calls(1)), (json!(2), json!(0)));
    let at = |place: usize| {
        all["traces"][place]["started_at"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (query, found) in [
        ("?failed=tools".to_owned(), vec![ids[0]]),
        ("?failed=".to_owned(), ids.clone()),
        ("?q=NOTHING".to_owned(), vec![ids[0]]),
        ("?q=s__ec".to_owned(), ids.clone()),
        (format!("?q={}", ids[1]), vec![ids[1]]),
        ("?q=hello".to_owned(), Vec::new()),
        (format!("?from={}", at(1)), ids.clone()),
        (format!("?to={}", at(1)), Vec::new()),
        ("?to=1970-01-01T00:00:00Z".to_owned(), Vec::new()),
        (
            "?failed=tools&q=echo&server=s&from=2020-01-01T00:00:00%2B01:00".to_owned(),
            vec![ids[0]],
        ),
    ] {
        assert_eq!(self::ids(&watched.list(&query).await), found, "{query}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_message_and_member() {
    let watched = Watched::new(0).await;
    let unknown = json!({"mcp": {"servers": ["s", "nobody"]}});
    watched.gateway.send_as("default", &auto(unknown)).await;
    let list = watched.list("?outcome=refused").await;
    let path = format!("{TRACES}/{}", ids(&list)[0]);
    let read = watched.operator.get(&path).await;
    let refused = &read["spans"][0]["attributes"];
    assert_eq!(refused["error.type"], "mcp_server_not_found");
    assert_eq!(refused["mcp_layer.param"], "mcp.servers[1]");
    assert!(
        refused["error.message"]
            .as_str()
            .unwrap()
            .contains("nobody")
    );
}

#[tokio::test]
async fn exchanges_of_another_organization_are_not_there() {
    let watched = Watched::new(2).await;
    watched.gateway.send_as("default", &auto(json!({}))).await;
    let other = Operator::with(watched.gateway.registry.clone(), |admin| {
        let admin = admin.with_organization("other");
        admin.with_traces(watched.traces.clone())
    });
    assert_eq!(ids(&other.get(TRACES).await).len(), 0);
    let list = watched.list("").await;
    let path = format!("{TRACES}/{}", ids(&list)[0]);
    let absent = other.ask("GET", &path, None).await;
    assert_eq!(absent.error(404).0, "not_found");

    // Its own are: what is refused is recorded, too.
    let mut request = chat(auto(json!({})).to_string());
    let project = Project::new("web").with_organization("other");
    request.extensions_mut().insert(project);
    watched.gateway.request(request).await;
    let own = other.get(TRACES).await;
    assert_eq!(ids(&own).len(), 1);
    assert_ne!(ids(&own), ids(&list));
    let never = format!("{TRACES}/{}", "f".repeat(32));
    let never = watched.operator.ask("GET", &never, None).await;
    for id in [&"0".repeat(32), "x", "%ff", ids(&own)[0]] {
        let path = format!("{TRACES}/{id}");
        let absent = watched.operator.ask("GET", &path, None).await;
        assert_eq!(absent.error(404).0, "not_found", "{id}");
        assert_eq!(absent.text, never.text);
    }
}
