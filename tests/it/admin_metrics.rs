//! `GET /metrics`: what a scrape says of the servers.

use mcp_layer::{admin::Metrics, registry::MemoryRegistry};
use serde_json::json;

use super::support::admin::Operator;

async fn scraped(operator: &Operator) -> String {
    let answer = operator.ask("GET", "/metrics", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    answer.text
}

#[tokio::test]
async fn a_scrape_says_how_the_servers_stand() {
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_metrics(Metrics::default())
    });
    for (name, enabled) in [("one", true), ("two", true), ("off", false)] {
        let url = "https://mcp.example.com/mcp";
        let server = json!({"name": name, "url": url, "enabled": enabled});
        operator.create(&server).await;
    }
    let text = scraped(&operator).await;
    for line in [
        "mcp_layer_registry_up 1",
        r#"mcp_layer_servers{status="active",reason=""} 2"#,
        r#"mcp_layer_servers{status="inactive",reason="disabled"} 1"#,
        "mcp_layer_withheld_tools 0",
        "mcp_layer_rounds_total 0",
        r#"mcp_layer_tool_lists_total{cache="hit"} 0"#,
        r#"mcp_layer_token_refreshes_total{outcome="ok"} 0"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    // A name is described once, as Prometheus wants it.
    let mut described: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let all = described.len();
    described.sort_unstable();
    described.dedup();
    assert_eq!(described.len(), all);
}

#[tokio::test]
async fn without_metrics_there_is_nothing_to_scrape() {
    let answer = Operator::memory().ask("GET", "/metrics", None).await;
    assert_eq!(answer.error(404).0, "not_found");
}
