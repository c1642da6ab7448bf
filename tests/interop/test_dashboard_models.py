"""Proves what an operator does with aliases and defaults in the dashboard, and what requests then get."""

import pytest

from dashboard_parts import Dashboard
from scripted_mcp import Script, text, tool
from upstream import call, completion

# Several browsers each, which take their time where others build beside them.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def shared_desk(model_server, everything_http, tmp_path_factory):
    declared = f"""
    [[servers]]
    name = "declared"
    url = "{everything_http}"
    [[models]]
    name = "of-file"
    model = "gpt-5"
    servers = ["declared"]
    """
    desk = Dashboard("models", model_server.url, tmp_path_factory.mktemp("models"), declared)
    yield desk
    desk.stop()


@pytest.fixture
def desk(shared_desk, upstream, scripted):
    """An operator's side with an alias and a server of the file, and a server `docs` that finds things."""
    shared_desk.remove_all()
    version = shared_desk.rest("/models")[1]["version"]
    put(shared_desk, [], [], version)
    shared_desk.create("docs", scripted.add("docs", Script([tool("find", "Finds.")], lambda name, arguments: text("Found."))))
    return shared_desk


def put(desk, models, defaults, version=None):
    version = desk.rest("/models")[1]["version"] if version is None else version
    body = {"models": models, "defaults": defaults, "version": version}
    status, answer = desk.rest("/models", body, method="PUT")
    assert status == 200, answer


def asked(desk, upstream, alias, model):
    """What a plain chat completion for `alias` has the model called `model` do with its tools."""
    upstream.script(model, completion(calls=[call("call_1", "docs__find", {})]), completion("There it is."))
    status, answer = desk.chat({"model": alias, "messages": [{"role": "user", "content": "Find it."}]})
    return status, answer


@pytest.mark.parametrize("script_is", ["on", "off"])
def test_an_alias_is_added_used_changed_and_removed(visit, desk, upstream, script_is):
    off = script_is == "off"
    alias, first, second = f"docs-{script_is}", f"first-{script_is}", f"second-{script_is}"
    visit("models.adds", desk, noScript=off, name=alias, model=first, server="docs", offered="docs__find")
    status, answer = asked(desk, upstream, alias, first)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "There it is.")
    assert answer["mcp"]["calls"][0]["tool"] == "find"

    visit("models.changes", desk, noScript=off, name=alias, model=second, project="default")
    assert asked(desk, upstream, alias, second)[1]["mcp"]["rounds"] == 1
    listed = desk.ask(desk.port, "GET", "/v1/mcp/servers")[2]
    assert alias in listed

    visit("models.removes", desk, noScript=off, name=alias)
    assert alias not in desk.ask(desk.port, "GET", "/v1/mcp/servers")[2]


def test_an_alias_is_added_by_keys_alone(visit, desk):
    visit("models.byKeyboard", desk, name="by-keys", model="gpt-5", server="docs")
    assert desk.rest("/models")[1]["models"][-1]["servers"] == ["docs"]


def test_the_second_of_two_people_keeps_what_was_typed(visit, desk):
    put(desk, [{"name": "shared", "model": "gpt-5", "servers": ["docs"]}], [])
    visit("models.twoPeople", desk, name="shared")


def test_a_declared_alias_is_only_shown(visit, desk):
    visit("models.declared", desk, name="of-file", offered="declared__echo")


@pytest.mark.timeout(240)
def test_every_page_looks_right_to_everybody(visit, desk):
    long = "a-model-with-a-name-that-is-as-long-as-some-providers-have-them/and-a-publisher:free"
    many = [f"project-number-{number}" for number in range(9)]
    models = [
        {"name": "gpt-5-docs", "model": "gpt-5", "servers": ["docs"]},
        {"name": long, "model": f"{long}-2", "servers": ["docs", "declared", "gone"], "projects": many},
    ]
    defaults = [
        {"project": "web", "models": ["gpt-5*", "o3", "claude-*", "gemini-*", "llama-*"], "servers": ["docs"]},
        {"project": "web", "models": ["gpt-5-mini"], "servers": ["docs", "gone"]},
    ]
    put(desk, models, defaults)
    found = visit("models.looks", desk, seconds=230, name="gpt-5-docs", server="docs")
    assert not found, "\n".join(found)
