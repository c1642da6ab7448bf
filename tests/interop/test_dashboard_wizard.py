"""Proves the four steps of creating a server, in Chromium against a published server; then a model uses it."""

import pytest

from upstream import call, completion

TOOLS = ["echo", "get-sum"]


def described(name, url, transport="Streamable HTTP"):
    return {
        "name": name,
        "url": url,
        "transport": transport,
        "display": f"Everything ({name})",
        "about": "The reference server, with a bit of everything.",
    }


@pytest.mark.parametrize("transport", ["Streamable HTTP", "SSE"])
@pytest.mark.parametrize("script", ["with_script", "without_script"])
def test_a_server_is_created_in_four_steps_and_a_model_uses_it(
    visit, dashboard, model, everything_http, everything_sse, transport, script
):
    url = everything_sse if transport == "SSE" else everything_http
    server = described("everything", url, transport)
    visit("wizard.fourSteps", dashboard, server=server, tools=TOOLS, asks=TOOLS[1:], noScript=script != "with_script")

    asks = call("call_2", "everything__get-sum", {"a": 2, "b": 3})
    model.answers(completion(calls=[call("call_1", "everything__echo", {"message": "hello"})]), completion(calls=[asks]))
    mcp = {"enabled": True, "servers": ["everything"], "auto_execute_tools": True}
    status, answer = dashboard.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert status == 200, answer
    offered = [tool["function"]["name"] for tool in model.received[0].json["tools"]]
    assert offered == ["everything__echo", "everything__get-sum"]
    assert [c["tool"] for c in answer["mcp"]["calls"]] == ["echo"]
    # The tool that asks first comes back to the caller.
    assert (answer["mcp"]["stopped_by"], answer["choices"][0]["finish_reason"]) == ("ask_first", "tool_calls")


def test_a_server_is_created_by_keyboard(visit, dashboard, everything_http):
    visit("wizard.byKeyboard", dashboard, server={"name": "by-keys", "url": everything_http}, tool="get-sum")
    [tool] = [tool for tool in dashboard.rest("/servers/by-keys/tools")[1]["tools"] if tool["selected"]]
    assert (tool["name"], tool["policy"]) == ("get-sum", "ask_first")


@pytest.mark.parametrize("script", ["with_script", "without_script"])
def test_nothing_is_lost_by_going_back_reloading_leaving_or_renaming(visit, dashboard, everything_http, script):
    server = {**described("first", everything_http), "projects": "batch, web"}
    visit("wizard.nothingIsLost", dashboard, server=server, tools=TOOLS, noScript=script != "with_script")
    [created] = [s for s in dashboard.rest("/servers")[1]["servers"] if s["source"] == "store"]
    assert (created["name"], created["projects"]) == ("first-renamed", ["batch", "web"])
    assert dashboard.rest("/servers?status=draft")[1]["servers"] == []


def test_errors_stand_beside_their_fields(visit, dashboard, everything_http):
    dashboard.create("taken", everything_http)
    wrong = [
        ({"name": "Has Spaces"}, "Server name", "lowercase letters"),
        ({"name": "taken"}, "Server name", "exists"),
        ({"name": "declared"}, "Server name", "declared in the configuration file"),
        ({"url": "https://user@mcp.example.com/"}, "Server URL", "user"),
        ({"url": "http://10.1.2.3/mcp"}, "Server URL", "egress|allow|private|https"),
        ({"url": "ftp://mcp.example.com/"}, "Server URL", "https"),
    ]
    wrong = [{"server": server, "label": label, "says": says} for server, label, says in wrong]
    found = visit("wizard.errorsStandBesideTheirFields", dashboard, url=everything_http, wrong=wrong)
    print(*found, sep="\n")
    assert all(found), found


def test_a_server_that_is_down_can_be_tried_again_and_created_all_the_same(visit, dashboard):
    said = visit("wizard.aServerThatIsDown", dashboard, url="http://127.0.0.1:1/mcp")
    assert "127.0.0.1" in said or "connect" in said.lower(), said
