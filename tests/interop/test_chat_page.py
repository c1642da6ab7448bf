"""Proves in Chromium that `examples/chat.html` shows what tools do while they run, what went wrong, and nothing as markup."""

import functools
import http.server
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import PROXY, Part, Proxy, config, free_port, published
from upstream import Answer, call, completion, stream, streamed

# Several browsers each, which take their time where others build beside them.
pytestmark = pytest.mark.timeout(150)

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
KEY = "key-of-the-page-with-length"
MARKUP = "<img src=x onerror=xss()><b>bold</b>"
BREAK = call("call_2", "progress__break_down", {})


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page():
    """Where `python3 -m http.server` would have the page."""
    handler = functools.partial(_Quiet, directory=EXAMPLES)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(public=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def progress_server():
    yield from published("progress", lambda port: [sys.executable, HERE / "progress_server.py", port], "/mcp", "progress")


@pytest.fixture(scope="module")
def own_proxy(model_server, progress_server, page):
    more = f'allow_origins = ["{page.public}"]\nevent_payloads = true\n'
    tools = 'tools = ["search_issues", "wait_for_nothing", { name = "break_down", policy = "ask_first" }]\n'
    proxy = Proxy("chat-page", more + config(model_server.url, {"progress": (progress_server, None)}) + tools)
    yield proxy
    proxy.stop()


@pytest.fixture
def chat(visit, page, own_proxy):
    """Runs a scenario of chromium/chat.mjs at the page, with this proxy behind it unless told otherwise."""

    def run(scenario, model, base=own_proxy.url, **given):
        return visit(f"chat.{scenario}", page, base=base, model=model, servers="progress", **given)

    return run


def test_the_page_answers_with_the_demo_as_it_is(visit, page):
    address = f"127.0.0.1:{free_port()}"
    demo = Part("chat-demo", [PROXY, "--listen", address, "--admin-listen", "off", "--allow-origin", page.public])
    try:
        demo.ready(lambda: "curl" in demo.log.read_text())
        seen = visit("chat.demo", page, base=f"http://{address}/v1")
    finally:
        demo.stop()
    assert "Roll dice · demo" in " ".join(seen["calls"])
    assert "die shows" in seen["text"]


def test_activity_is_seen_while_it_happens_and_texts_stay_texts(chat, model, tmp_path):
    seen_enough = str(tmp_path / "seen-enough")
    search = call("call_1", "progress__search_issues", {"query": "proxies", "until": seen_enough})
    model.answers(
        streamed(completion(f"Looking {MARKUP}. ", [search])),
        streamed(completion("Found one.")),
    )
    seen = chat("activity", model.name, seenEnough=seen_enough)
    assert "Search issues · progress…" in seen["running"]
    assert seen["bars"] == sorted(seen["bars"]) and len(seen["bars"]) > 2
    assert "page" in seen["note"]
    assert "Search issues · progress" in seen["done"] and "Found for proxies: <b>one</b>." in seen["done"]
    assert f"Looking {MARKUP}. " in seen["text"] and "Found one." in seen["text"]
    assert seen["markup"] == 0
    assert seen["found"] == [], "\n".join(seen["found"])


def test_a_call_that_asks_first_runs_when_somebody_approves_and_its_failure_is_seen(chat, model):
    model.answers(streamed(completion("May I? ", [BREAK])), streamed(completion("It broke.")))
    seen = chat("approval", model.name)
    assert "failed after" in seen["call"]
    assert seen["text"] == "It broke."
    model.answers(streamed(completion("May I? ", [BREAK])), streamed(completion("As you like.")))
    assert chat("declined", model.name) == "As you like."
    assert model.received[1].json["messages"][-1]["content"] == "The user declined this call."


def test_stop_ends_the_call_and_the_conversation_goes_on(chat, model):
    waits = call("call_1", "progress__wait_for_nothing", {})
    model.answers(streamed(completion("Waiting. ", [waits])), streamed(completion("Here again.")))
    seen = chat("stopped", model.name)
    assert "not known to have ended" in seen["call"]
    assert (seen["note"], seen["text"]) == ("Stopped.", "Here again.")
    assert [message["role"] for message in model.received[-1].json["messages"]] == ["user", "user"]


def test_it_says_what_is_wrong(chat, model, page, model_server, progress_server):
    nobody = chat("problem", model.name, base=f"http://127.0.0.1:{free_port()}/v1")
    assert "Nothing answers" in nobody

    closed = Proxy("chat-closed", config(model_server.url, {"progress": (progress_server, None)}))
    try:
        refused = chat("problem", model.name, base=closed.url, picture="chat-not-allowed")
    finally:
        closed.stop()
    assert "does not allow this page" in refused and f"--allow-origin {page.public}" in refused

    model.answers(Answer(b'{"error": {"message": "overloaded, see <b>status</b>", "type": "x", "code": "busy"}}', status=503))
    failed = chat("problem", model.name, picture="chat-problem")
    assert "503 busy" in failed and "overloaded, see <b>status</b>" in failed
    assert "404 mcp_server_not_found" in chat("problem", model.name, missing="nobody")

    cut = stream({"role": "assistant", "content": "Hel"}, finish_reason="stop")
    cut.chunks = cut.chunks[:1]
    model.answers(cut)
    broken = chat("problem", model.name)
    assert "upstream_error" in broken and "Hel" in broken


class Keyed(Proxy):
    """A proxy that wants a key."""

    def request(self, method, path, body=None, headers=(), seconds=20):
        return super().request(method, path, body, {"authorization": f"Bearer {KEY}", **dict(headers)}, seconds)


def test_a_wrong_key_is_told_and_the_right_one_is_kept_nowhere(chat, model, page, model_server, progress_server, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", KEY)
    monkeypatch.setenv("CHAT_UPSTREAM", "key-of-the-provider")
    more = f'allow_origins = ["{page.public}"]\nupstream_key_env = "CHAT_UPSTREAM"\napi_keys = [{{ key_env = "CHAT_KEY", project = "web" }}]\n'
    proxy = Keyed("chat-keys", more + config(model_server.url, {"progress": (progress_server, None)}))
    try:
        assert "401 invalid_api_key" in chat("problem", model.name, base=proxy.url, key="another")
        model.answers(streamed(completion("Welcome.")))
        seen = chat("withKey", model.name, base=proxy.url, key=KEY)
    finally:
        proxy.stop()
    assert seen == {"text": "Welcome.", "kept": [], "after": ""}


def test_a_stream_that_is_cut_says_so_and_keeps_what_came(chat, model, page, model_server, progress_server):
    more = f'allow_origins = ["{page.public}"]\n'
    proxy = Proxy("chat-cut", more + config(model_server.url, {"progress": (progress_server, None)}))
    model.answers(stream(*[{"content": "word "}] * 2000, finish_reason="stop", pause=0.02))
    try:
        seen = chat("cut", model.name, base=proxy.url, pid=proxy._process.pid)
    finally:
        proxy.stop()
    assert "The stream was cut off" in seen and "word word" in seen
