"""Proves that a collector understands the traces, and that Prometheus' own parser understands the metrics."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector import Collector
from conftest import LOGS, PROXY, Part, free_port
from replicas import ask

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, CLIENT = 2, 3
QUESTION = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Roll a 20-sided die and tell me the time."}],
    "mcp": {"enabled": True, "servers": ["demo"], "auto_execute_tools": True},
}


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.close()
    assert collector.faults == []


@pytest.fixture(scope="module")
def observed(collector):
    """The demo with a collector, after one question in a trace of the caller's: its ports and its operator's token."""
    port, operators = free_port(), free_port()
    listen = ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{operators}"]
    with Part("observed", [PROXY, *listen, "--otlp", collector.url], {"OTEL_BSP_SCHEDULE_DELAY": "200"}) as part:
        part.ready(lambda: "Ctrl-C" in part.log.read_text())
        status, answer = ask(port, "POST", "/v1/chat/completions", QUESTION, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert status == 200, answer
        token = re.search(r"with the token (\w+)", (LOGS / "observed.log").read_text())[1]
        yield port, operators, token


def test_an_exchange_is_one_trace_of_the_callers(observed, collector):
    request = collector.wait_for("POST /v1/{*rest}")
    assert (request.trace, request.parent, request.kind) == (TRACE, PARENT, SERVER)
    assert request.attributes["http.request.method"] == "POST"
    assert request.attributes["url.path"] == "/v1/chat/completions"
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource["service.name"] == "mcp-layer-proxy" and request.resource["service.version"]

    exchange = collector.wait_for("exchange")
    assert (exchange.trace, exchange.parent) == (TRACE, request.id)
    spans = [span for span in collector.spans if span.parent == exchange.id]
    turns = [span for span in spans if span.name == "chat demo"]
    assert len(turns) == 2 and {turn.kind for turn in turns} == {CLIENT}
    for turn in turns:
        assert turn.attributes["gen_ai.operation.name"] == "chat"
        assert turn.attributes["gen_ai.request.model"] == "demo"
        assert turn.attributes["gen_ai.usage.input_tokens"] > 0
    calls = {span.name: span for span in spans if span.name.startswith("execute_tool ")}
    assert calls.keys() == {"execute_tool demo__roll_dice", "execute_tool demo__current_time"}
    for name, call in calls.items():
        tool = name.removeprefix("execute_tool ")
        assert call.trace == TRACE and call.end >= call.start
        assert call.attributes["gen_ai.operation.name"] == "execute_tool"
        assert call.attributes["gen_ai.tool.name"] == tool
        assert call.attributes["gen_ai.tool.call.id"].startswith("call_")
        assert call.attributes["mcp.method.name"] == "tools/call"
        assert call.attributes["mcp_layer.server"] == "demo" and call.attributes["mcp_layer.outcome"] == "ok"
        # Between the two turns.
        assert turns[0].end <= call.start and call.end <= turns[1].start


def test_a_request_outside_of_a_trace_begins_one(observed, collector):
    port, *_ = observed
    assert ask(port, "GET", "/v1/mcp/servers")[0] == 200
    listed = collector.wait_for("GET /v1/mcp/servers")
    assert listed.parent == "" and listed.trace != TRACE


def test_prometheus_reads_the_metrics(observed):
    _, operators, token = observed
    assert ask(operators, "GET", "/metrics")[0] == 401
    status, text = ask(operators, "GET", "/metrics", headers={"authorization": f"Bearer {token}"})
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    value = lambda family, **labels: [
        sample.value for sample in families[family].samples if labels.items() <= sample.labels.items()
    ]
    assert value("mcp_layer_exchanges", outcome="ok", stopped_by="final") == [1]
    assert value("mcp_layer_tool_calls", server="demo", tool="roll_dice", outcome="ok") == [1]
    assert value("mcp_layer_model_turns", outcome="ok") == [2]
    assert value("mcp_layer_rounds") == [1]
    assert value("mcp_layer_tokens", type="prompt")[0] > 100
    assert value("mcp_layer_servers", status="active", reason="") == [1]
    assert families["mcp_layer_tool_call_duration_seconds"].type == "histogram"
    counted = [s.value for s in families["mcp_layer_tool_call_duration_seconds"].samples if s.name.endswith("_count")]
    assert counted == [2]
