"""Proves what an operator relies on: the check, the small endpoints, and a stop that loses nothing."""

import json
import subprocess
import threading
import time
from http.client import HTTPException

import pytest

from conftest import PROXY, Proxy, config
from upstream import Answer, call, completion


def start(folder, text, *flags):
    """Runs the proxy to its end, on a configuration or on none."""
    file = folder / "proxy.toml"
    if text is not None:
        file.write_text(text)
    return subprocess.run([PROXY, "--config", file, *flags], capture_output=True, text=True, timeout=40)


def test_the_check_lists_every_servers_tools_and_calls_no_model(tmp_path, upstream, servers, tools):
    done = start(tmp_path, config(upstream.url, servers), "--check")
    assert done.returncode == 0, done.stderr
    for expected in [*servers, *tools, "create_entities", "read_graph"]:
        assert expected in done.stdout, done.stdout


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "upstream = ",
        'upstraem = "http://127.0.0.1:1/v1"',
        '[[servers]]\nname = "no__slug"\nurl = "http://127.0.0.1:1/mcp"',
        '[[servers]]\nname = "without-url"',
        '[[servers]]\nname = "a"\nurl = "http://127.0.0.1:1/mcp"\n[servers.auth]\ntype = "static_headers"\n'
        'headers = [{ name = "x-api-key", value_env = "INTEROP_NOT_SET" }]',
    ],
    ids=["no_file", "no_toml", "unknown_key", "no_slug", "no_url", "no_secret"],
)
@pytest.mark.parametrize("flags", [["--check"], []], ids=["check", "start"])
def test_a_broken_configuration_is_one_line_and_exit_code_2(flags, broken, tmp_path):
    done = start(tmp_path, broken and 'listen = "127.0.0.1:0"\nadmin_listen = "off"\n' + broken, *flags)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "panicked" not in done.stderr


def test_health_and_readiness(proxy):
    assert [proxy.get(path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
    assert proxy.get("/no/such/path")[0] == 404


def test_the_list_of_servers_shows_what_a_caller_can_name(proxy, model, servers, tools):
    # A request makes the proxy list the tools, should it do so only when they are needed.
    model.answers(completion("hello"))
    mcp = {"enabled": True, "servers": list(servers)}
    status, answer = proxy.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert status == 200, answer
    status, listed = proxy.get("/v1/mcp/servers")
    assert status == 200
    by_name = {server["name"]: server for server in listed["servers"]}
    assert by_name.keys() == servers.keys()
    everything = by_name["everything"]
    assert (everything["display_name"], everything["status"]) == ("everything", "active")
    assert {f"everything__{name}" for name in tools} <= set(everything["tools"])
    assert "url" not in everything and "127.0.0.1" not in json.dumps(listed)


@pytest.fixture
def own_proxy(upstream, servers):
    """A proxy that the test may stop."""
    proxy = Proxy("own-proxy", config(upstream.url, {"everything": servers["everything"]}))
    yield proxy
    proxy.stop()


def refuses(proxy):
    """Whether a new request finds nobody, or is told that the proxy is stopping."""
    try:
        return proxy.get("/readyz")[0] == 503
    except (OSError, HTTPException):
        return True


def test_a_stop_lets_the_running_loop_end_and_takes_nothing_new(own_proxy, upstream, model):
    slow = json.dumps(completion(calls=[call("call_1", "everything__echo", {"message": "hello"})])).encode()
    model.answers(Answer(slow, delay=1.0), completion("It said hello."))
    mcp = {"enabled": True, "servers": ["everything"], "auto_execute_tools": True}
    answers = []
    running = threading.Thread(
        target=lambda: answers.append(own_proxy.chat({"model": model.name, "messages": [], "mcp": mcp})), daemon=True
    )
    running.start()
    upstream.wait_for(model.name)
    stopped = time.monotonic()
    own_proxy.terminate()
    while not refuses(own_proxy):
        assert time.monotonic() - stopped < 0.8, "new requests are still taken"
        time.sleep(0.02)
    assert running.is_alive(), "the running request ended before its answer"

    running.join(15)
    [(status, answer)] = answers
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "It said hello.")
    assert [c["is_error"] for c in answer["mcp"]["calls"]] == [False]
    assert own_proxy.wait() == 0


def test_a_stop_without_work_is_quick(own_proxy):
    assert own_proxy.get("/healthz")[0] == 200
    stopped = time.monotonic()
    own_proxy.terminate()
    assert (own_proxy.wait(), time.monotonic() - stopped < 5) == (0, True)
