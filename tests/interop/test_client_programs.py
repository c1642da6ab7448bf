"""Proves for programs that take long to install what test_clients.py proves for others: with `run --all` only."""

import http.client
import json
import os
import secrets
import shutil
import time
from pathlib import Path

import pytest

from agent_parts import HERE
from client_parts import LISTEN, MODEL, blocks, text_of
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


def test_aider_asks_with_a_header(asked, aider):
    asked.judge(asked.runs(["sh", "-e"], asked.lines("aider", "sh", 1), **aider))


def test_continue_asks_with_a_header(asked, home, tmp_path):
    (tmp_path / "config.yaml").write_text(asked.lines("Continue", "yaml"))
    command = asked.lines("Continue", "sh")
    asked.plays("gpt-4o")
    env = home(VENVS / "node/node_modules/.bin")
    asked.judge(asked.runs(["sh", "-e"], command, env=env, cwd=tmp_path, seconds=100), "gpt-4o")


# Open WebUI.

QUESTION = "File an issue."


@pytest.fixture(scope="module")
def open_webui(guides_proxy, tmp_path_factory):
    """Started as the guide says, with what else it needs where nothing else is."""
    [command] = blocks("Open WebUI", "sh")
    variables = dict(word.split("=", 1) for word in command.split() if "=" in word)
    assert command.split()[-2:] == ["open-webui", "serve"]
    assert variables == {"OPENAI_API_BASE_URL": f"http://{LISTEN}/v1", "OPENAI_API_KEY": "none"}
    with OpenWebui(guides_proxy.url, tmp_path_factory.mktemp("open-webui")) as part:
        part.skip_news()
        yield part


@pytest.fixture
def person(open_webui, chromium, drivers):
    """Somebody with a browser, who picks a model from the list and asks it: what they read."""
    folder = NODE / "drivers"
    shutil.copytree(HERE / "drivers", folder, ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)
    driver = drivers("open-webui-clients", ["node", folder / "with_open_webui.mjs"])

    def asks(model):
        done = driver.run(case="chat", page=open_webui.url, chromium=chromium, picks=model, questions=[QUESTION], timeout=60)
        assert "error" not in done, done
        return done["text"]

    return asks


@pytest.mark.timeout(240)
def test_a_person_chooses_an_alias_in_open_webui(asked, person):
    asked.judge(person("gpt-5-tools"))


@pytest.fixture(scope="module")
def with_default(guides_model, tracker):
    """A proxy with a default for the one model that the provider lists."""
    default = '[[defaults]]\nproject = "default"\nmodels = ["scripted"]\nservers = ["github"]\n'
    with Proxy("proxy-open-webui-default", config(guides_model.url, {"github": (tracker.url, None)}) + default) as proxy:
        yield proxy


@pytest.fixture
def asking_by_itself(asked, open_webui, with_default):
    """Open WebUI with all that it asks a model by itself, before the default: what came of its own, with each answer."""
    its_own = []
    lists = {"tags": ["Issues"], "follow_ups": ["Which?"], "queries": ["issues"], "tool_calls": []}
    told = json.dumps({"title": "A title of its own", "text": "more", **lists})

    def other(request):
        if {"role": "user", "content": QUESTION} in request["messages"]:
            return None
        its_own.append(request)
        return completion(told)

    asked.plays("scripted", other=other)
    open_webui.connect(with_default.url)
    open_webui.asks_by_itself()
    return its_own


@pytest.mark.timeout(240)
def test_what_open_webui_asks_by_itself_gets_no_default(asked, person, open_webui, asking_by_itself):
    asked.judge(person("scripted"), "scripted")
    end = time.monotonic() + 20
    while not [chat for chat in open_webui.call("/api/v1/chats/") if chat["title"] == "A title of its own"]:
        assert time.monotonic() < end, open_webui.call("/api/v1/chats/")
        time.sleep(0.2)
    prompts = [text_in(request["messages"][-1]["content"]) for request in asking_by_itself]
    assert len(prompts) >= 2 and all(prompt.startswith("### Task:") for prompt in prompts), prompts
    assert [request for request in asking_by_itself if "tools" in request] == []


TURN = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Two cups."}]
OF_ITS_OWN = {
    "title": {"messages": TURN},
    "follow_up": {"messages": TURN},
    "tags": {"messages": TURN},
    "image_prompt": {"messages": TURN},
    "queries": {"messages": TURN, "type": "web_search"},
    "auto": {"messages": TURN, "type": "general", "prompt": "File an"},
    "emoji": {"prompt": "File an issue, please."},
    "moa": {"prompt": "Tea?", "responses": ["Two cups.", "Three."]},
}


@pytest.mark.parametrize("task", OF_ITS_OWN)
def test_no_task_of_open_webui_gets_a_default(task, open_webui, asking_by_itself):
    open_webui.models()
    open_webui.call(f"/api/v1/tasks/{task}/completions", {"model": "scripted", **OF_ITS_OWN[task]})
    [request] = asking_by_itself
    assert "tools" not in request


def test_a_choice_among_open_webuis_own_tools_gets_no_default_and_the_turn_after_it_does(asked, own_tool, open_webui, asking_by_itself):
    """With tools of its own and without native calling, it first has the model choose among these in words."""
    open_webui.add_tool(own_tool.url)
    open_webui.models()
    messages = [{"role": "user", "content": QUESTION}]
    body = {"model": "scripted", "messages": messages, "stream": False, "tool_ids": ["weather"], "params": {"function_calling": "legacy"}}
    answer = open_webui.call("/api/chat/completions", body)
    asked.judge(answer["choices"][0]["message"]["content"], "scripted")
    [request] = asking_by_itself
    assert "tools" not in request and "weather" in text_in(request["messages"][0]["content"])


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
