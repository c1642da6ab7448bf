"""Proves the trip to a provider and back, in Chromium against npm oidc-provider on another site."""

import pytest

from upstream import call, completion


@pytest.fixture
def server(asking):
    return {"name": "protected", "url": asking.url, "provider": asking.provider.issuer}


def test_a_server_is_connected_within_the_wizard_disconnected_and_connected_again(visit, dashboard, model, server):
    visit("oauth.connects", dashboard, server=server, tools=["add"])
    model.answers(
        completion(calls=[call("call_1", "protected__add", {"a": 2, "b": 3})]),
        completion("Five."),
    )
    mcp = {"enabled": True, "servers": ["protected"], "auto_execute_tools": True}
    status, answer = dashboard.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert (status, answer["mcp"]["calls"][0]["is_error"]) == (200, False), answer
    assert "2 and 3 make 5" in model.received[1].body.decode()

    visit("oauth.disconnects", dashboard, server=server)
    status, answer = dashboard.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert (status, answer["error"]["code"]) == (400, "mcp_server_inactive")
    visit("oauth.connectsAgain", dashboard, server=server)
    assert dashboard.rest("/servers/protected")[1]["status"] == "active"


def test_a_person_who_says_no_reads_what_to_do(visit, dashboard, server):
    said = visit("oauth.isRefused", dashboard, server=server)
    print(said)
    assert "Connect" in said, said


def test_a_callback_in_another_browser_connects_nothing(visit, dashboard, server):
    said = visit("oauth.aCallbackElsewhereIsRefused", dashboard, server=server)
    print(said)
    assert "browser" in said.lower(), said


def test_a_server_without_oauth_cannot_be_connected_and_says_so(visit, dashboard, everything_http):
    said = visit("oauth.cannotBegin", dashboard, server={"name": "everything", "url": everything_http})
    print(said)
    assert "Saved, but the server is not connected" in said and "authorization" in said.lower(), said
