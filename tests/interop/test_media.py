"""Proves that images and audio of published servers reach the model as the bytes that the server gave."""

import base64
import json

import pytest

import catalogue
from conftest import Proxy, config
from mcp_direct import Direct
from upstream import Answer, call, completion

pytestmark = pytest.mark.timeout(240)

VISION = """
[[vision]]
models = ["test_*"]
audio = true
"""
NAMES = ("everything", "playwright", "fastmcp-http", "fastmcp-sse")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    rows = [row for row in catalogue.ROWS if row.name in NAMES]
    yield from catalogue.started(tmp_path_factory.mktemp("media"), rows)


@pytest.fixture(scope="module")
def own_proxy(model_server, running):
    servers = {name: (server.url, server.transport) for name, server in running.items()}
    proxy = Proxy("media", config(model_server.url, servers) + VISION)
    yield proxy
    proxy.stop()


@pytest.fixture
def ask(own_proxy, upstream, model):
    """One request for one server, whose model calls these tools and then says `done`: the messages of its last turn."""

    def request(name, *calls, then=(completion("done"),)):
        calls = [call(f"call_{n}", f"{name}__{tool}", arguments) for n, (tool, arguments) in enumerate(calls)]
        model.answers(completion(calls=calls), *then)
        mcp = {"enabled": True, "servers": [name], "auto_execute_tools": True}
        messages = [{"role": "user", "content": "look"}]
        status, answer = own_proxy.chat({"model": model.name, "messages": messages, "mcp": mcp})
        assert status == 200, answer
        assert answer["choices"][0]["message"]["content"] == "done"
        return model.received[-1].json["messages"]

    return request


def media(messages):
    """The text and the parts of the last message, which comes behind the tool messages."""
    *before, last = messages
    assert before[-1]["role"] == "tool" and last["role"] == "user", messages
    text, *parts = last["content"]
    assert "not the user's words" in text["text"]
    return text["text"], parts


def bytes_of(part):
    """Type and bytes of a part."""
    if part["type"] == "input_audio":
        return part["input_audio"]["format"], base64.b64decode(part["input_audio"]["data"], validate=True)
    head, data = part["image_url"]["url"].split(",", 1)
    return head, base64.b64decode(data, validate=True)


def given(server, name, arguments):
    """The bytes of the first block of this server that is no text, straight from the server."""
    session = Direct(server.url)
    block = next(block for block in session.content(name, arguments) if "data" in block)
    session.close()
    return base64.b64decode(block["data"], validate=True)


def test_the_tiny_image_of_server_everything_arrives(running, ask):
    text, [part] = media(ask("everything", ("get-tiny-image", {})))
    assert "call_0" in text and "everything__get-tiny-image" in text
    head, data = bytes_of(part)
    assert head == "data:image/png;base64"
    assert data == given(running["everything"], "get-tiny-image", {})
    assert data.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["fastmcp-http", "fastmcp-sse"])
def test_an_image_and_a_recording_of_fastmcp_arrive(name, running, ask):
    calls = [("picture", {"side": 40}), ("add", {"a": 1, "b": 2}), ("sound", {"samples": 800}), ("both", {"side": 3})]
    messages = ask(name, *calls)
    text, parts = media(messages)
    assert [f"call_{n}" in text for n in range(4)] == [True, False, True, True]
    picture, sound, both = map(bytes_of, parts)
    assert picture == ("data:image/png;base64", given(running[name], "picture", {"side": 40}))
    assert sound == ("wav", given(running[name], "sound", {"samples": 800}))
    assert both[1] == given(running[name], "both", {"side": 3})
    texts = [message["content"] for message in messages if message["role"] == "tool"]
    assert all(len(text) < 100 for text in texts), "no Base64 in any text"
    assert texts[3].startswith("a square of 3\n[image/png")


def test_a_screenshot_of_playwright_arrives(ask):
    page = "data:text/html,<title>tea</title><body style='background:teal'>"
    # One after the other: both are of the same page.
    shot = completion(calls=[call("call_9", "playwright__browser_take_screenshot", {"type": "png"})])
    text, [part] = media(ask("playwright", ("browser_navigate", {"url": page}), then=(shot, completion("done"))))
    assert "call_9" in text
    head, data = bytes_of(part)
    assert head == "data:image/png;base64"
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82") and len(data) > 1000


def test_a_service_that_takes_no_images_is_asked_again_with_notes(ask, model):
    refusal = Answer(json.dumps({"error": {"message": "image input is not supported"}}).encode(), status=400)
    messages = ask("everything", ("get-tiny-image", {}), then=(refusal, completion("done")))
    assert messages[-1]["role"] == "tool" and "not shown" in messages[-1]["content"]
    assert [len(received.json["messages"]) for received in model.received] == [1, 4, 3]
