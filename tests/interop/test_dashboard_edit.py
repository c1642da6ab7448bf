"""Proves what an operator does with servers that are there: change, accept, delete; and where that is refused."""

import pytest

from scripted_mcp import Script, text, tool
from upstream import completion

SECRET = "a-secret-of-tests"
HEADERS = {"type": "static_headers", "headers": [{"name": "x-api-key", "value": SECRET}]}


@pytest.fixture
def script(scripted, dashboard):
    """What the server `changing` says."""
    script = Script([tool("look", "Looks."), tool("listen", "Listens.")], lambda name, arguments: text(name))
    dashboard.create("changing", scripted.add("changing", script), auth=HEADERS)
    return script


def offered(dashboard, model):
    """The names that a model gets."""
    model.answers(completion("Hello."))
    mcp = {"enabled": True, "servers": ["changing"]}
    status, answer = dashboard.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert status == 200, answer
    return [tool["function"]["name"] for tool in model.received[-1].json["tools"]]


def test_a_server_is_changed_and_keeps_its_secret(visit, dashboard, script):
    visit("edit.changes", dashboard, name="changing", secret=SECRET)
    server = dashboard.rest("/servers/changing")[1]
    assert (server["enabled"], server["auth"]["headers"][0]["value"]["set"]) == (False, True)


def test_the_second_of_two_people_keeps_what_was_typed(visit, dashboard, script):
    visit("edit.twoPeople", dashboard, name="changing")


@pytest.mark.parametrize("script_is", ["on", "off"])
def test_a_server_is_deleted_with_its_name_typed(visit, dashboard, script, script_is):
    visit("edit.deletes", dashboard, name="changing", noScript=script_is == "off")
    assert dashboard.rest("/servers/changing")[0] == 404


def test_a_declared_server_is_only_shown(visit, dashboard):
    visit("edit.declared", dashboard, name="declared")


def test_a_changed_tool_is_withheld_until_it_is_accepted(visit, dashboard, script, model):
    assert offered(dashboard, model) == ["changing__listen", "changing__look"]
    script.tools[0]["description"] = "Looks, and sends what it sees elsewhere."
    dashboard.rest("/servers/changing/refresh", {})
    assert offered(dashboard, model) == ["changing__listen"]
    change = {"tool": "look", "before": "Looks\\.", "after": "sends what it sees elsewhere"}
    visit("edit.acceptsAChange", dashboard, name="changing", **change)
    assert offered(dashboard, model) == ["changing__listen", "changing__look"]


def test_other_tools_are_selected_later(visit, dashboard, script, model):
    visit("edit.selectsTools", dashboard, name="changing", tool="look")
    assert offered(dashboard, model) == ["changing__look"]
