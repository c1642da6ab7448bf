"""Proves for programs that take long to install what test_clients.py proves for others: with `run --all` only."""

import http.client
import json
import os
import secrets
import shutil
from pathlib import Path

import pytest

from agent_parts import HERE
from client_parts import MODEL, blocks, text_of
from conftest import NODE, Part, Proxy, config, free_port, node_module
from mcp_direct import Direct
from strict_upstream import Turn
from strict_upstream import text_of as text_in
from test_open_webui import OpenWebui
from upstream import call, completion

VENVS = Path(os.environ.get("INTEROP_AGENTS", "not-installed"))
pytestmark = [pytest.mark.skipif(not VENVS.is_dir(), reason="with `run --all`"), pytest.mark.timeout(180)]


def programs(venv):
    return VENVS / venv / "bin"


@pytest.mark.parametrize("more", ["", " --no-cache --no-md"])
def test_shell_gpt_asks_for_an_alias(more, asked, home):
    command = asked.lines("shell-gpt", "sh").replace("sgpt", f"sgpt{more}")
    asked.judge(asked.runs(["sh", "-e"], command, env=home(programs("shell_gpt"))))


def test_gptme_asks_for_an_alias_with_its_own_tools_beside(asked, home, tmp_path):
    def title(request):
        """It has the model name the conversation, without its own tools."""
        return completion("A title") if "title" in text_in(request["messages"][-1]["content"]) else None

    # Else it goes on asking.
    end = Turn([("complete", {})], lambda said: said)
    asked.plays(turns=[end], other=title)
    asked.judge(asked.runs(["sh", "-e"], asked.lines("gptme", "sh"), env=home(programs("gptme")), cwd=tmp_path, seconds=150))


@pytest.fixture
def aider(home, tmp_path):
    """Where aider asks nothing, and looks for nothing outside."""
    settings = {"YES_ALWAYS": "true", "GIT": "false", "CHECK_UPDATE": "false", "ANALYTICS": "false"}
    settings |= {"SHOW_MODEL_WARNINGS": "false", "SHOW_RELEASE_NOTES": "false"}
    env = {f"AIDER_{name}": value for name, value in settings.items()} | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {"env": home(programs("aider"), **env), "cwd": tmp_path, "seconds": 120}


def test_aider_asks_for_an_alias(asked, aider):
    asked.judge(asked.runs(["sh", "-e"], asked.lines("aider", "sh"), **aider))


def test_aider_asks_with_a_header(asked, aider, tmp_path):
    (tmp_path / ".aider.model.settings.yml").write_text(asked.lines("aider", "yaml"))
    command = asked.lines("aider", "sh").replace("gpt-5-tools", "gpt-5")
    asked.judge(asked.runs(["sh", "-e"], command, **aider))


def test_continue_asks_with_a_header(asked, home, tmp_path):
    (tmp_path / "config.yaml").write_text(asked.lines("Continue", "yaml"))
    command = asked.lines("Continue", "sh")
    asked.plays("gpt-4o")
    env = home(VENVS / "node/node_modules/.bin")
    asked.judge(asked.runs(["sh", "-e"], command, env=env, cwd=tmp_path, seconds=100), "gpt-4o")


# Open WebUI.


@pytest.fixture
def open_webui(guides_proxy, tmp_path):
    part = OpenWebui(guides_proxy.url, tmp_path / "open-webui")
    part.skip_news()
    yield part
    part.stop()


@pytest.mark.timeout(420)
def test_a_person_chooses_an_alias_in_open_webui(asked, open_webui, chromium, drivers):
    folder = NODE / "drivers"
    shutil.copytree(HERE / "drivers", folder, ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)
    driver = drivers("open-webui-clients", ["node", folder / "with_open_webui.mjs"])
    person = {"page": open_webui.url, "chromium": chromium, "picks": "gpt-5-tools", "timeout": 60}
    done = driver.run(case="chat", base_url=asked.proxy.url, **person)
    assert "error" not in done, done
    asked.judge(done["text"])


# In front of what answers.


@pytest.fixture(scope="module")
def litellm_proxy(guides_model, tmp_path_factory):
    """LiteLLM's proxy, as its documentation configures it: its address and key."""
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    file = tmp_path_factory.mktemp("litellm") / "config.yaml"
    lines = {"model": "openai/gpt-5", "api_base": guides_model.url, "api_key": "none"}
    params = "".join(f"      {name}: {value}\n" for name, value in lines.items())
    file.write_text(f"model_list:\n  - model_name: gpt-5\n    litellm_params:\n{params}general_settings:\n  master_key: {key}\n")
    command = [programs("litellm_proxy") / "litellm", "--config", file, "--host", "127.0.0.1", "--port", port]
    part = Part("litellm-proxy", command, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})

    def answers():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health/liveliness")
        return connection.getresponse().status == 200

    try:
        part.ready(answers, 120)
        yield f"http://127.0.0.1:{port}/v1", key
    finally:
        part.stop()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_proxy_stands_in_front_of_litellms(stream, asked, litellm_proxy):
    url, key = litellm_proxy
    proxy = Proxy("proxy-before-litellm", config(url, {"github": (asked.tracker.url, None)}))
    try:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "File an issue."}], "stream": stream}
        headers = {"content-type": "application/json", "x-mcp-servers": "github", "authorization": f"Bearer {key}"}
        response = proxy.request("POST", "/v1/chat/completions", json.dumps(body), headers, seconds=60)
        asked.judge(text_of(response.read().decode()))
    finally:
        proxy.stop()


# Servers that speak over stdio.


@pytest.mark.parametrize("which", [0, 1], ids=["supergateway", "mcp-proxy"])
def test_a_server_over_stdio_is_reached_behind_a_bridge(which, model, upstream, home, tmp_path):
    port = free_port()
    command = blocks("Servers over stdio", "sh")[which].replace("8001", str(port))
    # The packages that are installed, not those that are newest.
    for name, file in {"server-memory": "@modelcontextprotocol/server-memory", "supergateway": "supergateway"}.items():
        command = command.replace(f"npx -y @modelcontextprotocol/{name}", f"node {node_module(file)}/dist/index.js")
        command = command.replace(f"npx -y {name}", f"node {node_module(file)}/dist/index.js")
    bridge = Part(f"bridge-{which}", ["sh", "-c", f"exec {command}"], home(programs("gptme"), MEMORY_FILE_PATH=str(tmp_path / "memory")))
    [entered] = blocks("Servers over stdio", "toml")
    url = f"http://127.0.0.1:{port}/mcp"
    assert 'url = "http://127.0.0.1:8001/mcp"' in entered
    proxy = None
    try:
        bridge.ready(lambda: Direct(url, seconds=5).server == "memory-server", 40)
        proxy = Proxy(f"proxy-bridge-{which}", config(upstream.url, {}) + entered.replace("8001", str(port)).split("\n", 1)[1])
        model.answers(completion(calls=[call("call_1", "memory__read_graph", {})]), completion("done"))
        body = {"model": model.name, "messages": [{"role": "user", "content": "hi"}], "metadata": {"mcp_servers": "memory"}}
        status, answer = proxy.chat(body)
        assert status == 200, answer
        [told] = [m["content"] for m in model.received[1].json["messages"] if m["role"] == "tool"]
        assert "entities" in told
    finally:
        for part in filter(None, [proxy, bridge]):
            part.stop()
