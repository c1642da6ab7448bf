//! `examples/proxy/deploy`: what its files name is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    mcp_server::{McpServer, Mode},
    support::{Proxy, Upstream, file, refused, run_in},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/proxy/deploy")
}

fn text(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words of a text that begin so.
fn words<'a>(text: &'a str, begins: &[&str]) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| begins.iter().any(|begin| word.starts_with(begin)))
        .collect()
}

/// All expressions of the dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if name == "expr" || name == "query" => found.push(text.to_owned()),
                    _ => expressions(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The metrics of a proxy that has done everything once.
async fn served() -> String {
    let mcp = McpServer::start(Mode::Newest).await;
    let upstream = Upstream::start().await;
    let address = refused().to_string();
    let config = format!(
        "{}[[servers]]\nname = \"a\"\nurl = \"{}\"\n[[prices]]\nmodel = \"*\"\ninput = 1.0\noutput = 1.0\n",
        crate::LOCAL,
        mcp.url()
    );
    let flags = ["--admin-listen", "off", "--metrics-listen", &address];
    let proxy = Proxy::over(&file(&config), &flags, &[]);
    // The demo's model calls what it finds.
    let question = serde_json::json!({
        "model": "demo",
        "messages": [{"role": "user", "content": "Add 1 and 2"}],
        "mcp": {"enabled": true, "servers": ["a"], "auto_execute_tools": true},
    });
    proxy.chat(&question).await;
    drop(upstream);
    let scraped = proxy
        .client
        .get(format!("http://{address}/metrics"))
        .send()
        .await;
    scraped.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn each_metric_of_the_dashboard_and_of_the_alerts_is_served() {
    let mut asked = Vec::new();
    let dashboard: Value = serde_json::from_str(&text("grafana/dashboard.json")).unwrap();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 30, "{}", asked.len());
    let alerts = text("prometheus/alerts.yaml");
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("expr: "));
    let alerts: Vec<_> = alerts.map(str::to_owned).collect();
    assert!(alerts.len() > 10, "{}", alerts.len());
    asked.extend(alerts);

    let served = served().await;
    const OURS: [&str; 3] = ["mcp_layer_", "mcp_proxy_", "process_"];
    let described = served
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let mut there = BTreeSet::new();
    for (name, kind) in described.filter_map(|line| line.split_once(' ')) {
        there.insert(name.to_owned());
        match kind {
            "counter" => drop(there.insert(format!("{}_total", name.trim_end_matches("_total")))),
            "histogram" => {
                there.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")))
            }
            _ => {}
        }
    }
    let asked = asked.join("\n");
    let names = words(&asked, &OURS);
    assert!(names.len() > 20, "{names:?}");
    let absent: Vec<_> = names
        .iter()
        .filter(|name| !there.contains(**name))
        .collect();
    assert!(absent.is_empty(), "{absent:?} in\n{served}");
    // And what is served is in the guide.
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/guide/observe.md");
    let guide = fs::read_to_string(guide).unwrap();
    let undescribed: Vec<_> = there
        .iter()
        .filter(|name| !guide.contains(&***name) && !guide.contains(&format!("{name}_total")))
        .filter(|name| {
            !["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect();
    assert!(
        undescribed.is_empty(),
        "{undescribed:?} are not in the guide"
    );
}

#[test]
fn each_variable_that_the_files_set_is_a_setting() {
    let names = [
        "Dockerfile",
        "compose.yaml",
        "kubernetes/mcp-proxy.yaml",
        "systemd/mcp-proxy.service",
    ];
    for name in names {
        let text = text(name);
        let variables = words(&text, &["MCP_PROXY_"]);
        assert!(!variables.is_empty(), "{name}");
        for variable in variables {
            // Nothing takes this value; what matters is that somebody reads it.
            let (_, _, err) = run_in(&[(variable, "\u{1}")], &["--check"]);
            assert!(!err.contains("no settings"), "{name}: {variable}");
        }
    }
}

/// The exposure that systemd finds, in tenths, where it is installed.
#[test]
fn the_unit_leaves_little_open() {
    let unit = folder().join("systemd/mcp-proxy.service");
    let mut analyze = Command::new("systemd-analyze");
    let analyze = analyze.args(["security", "--offline=true", "--threshold=19"]);
    match analyze.arg(&unit).output() {
        Ok(looked) => {
            let text = String::from_utf8_lossy(&looked.stdout);
            let last = text.lines().last().unwrap_or_default().to_owned();
            assert!(looked.status.success(), "{last}");
            println!("{last}");
        }
        Err(_) => println!("there is no systemd-analyze here"),
    }
}
