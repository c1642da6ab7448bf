"""Proves the way of an operator's browser: from the operator's side to a provider on another site, and back."""

import subprocess

import pytest

from browser import Browser, query
from conftest import PROXY
from operated import Operated
from postgres import Postgres
from upstream import call, completion

SERVER = "/api/v1/servers/tracker"


@pytest.fixture
def operated(upstream):
    proxy = Operated("operated", upstream.url)
    yield proxy
    proxy.stop()


def create(proxy, protected):
    server = {"name": "tracker", "url": protected.url, "auth": {"type": "oauth2"}}
    status, created = proxy.operate("POST", "/api/v1/servers", server)
    assert (status, created["status_reason"]) == (201, "needs_authorization"), created


def connect(proxy):
    """The address of our own that a browser is to open."""
    status, answer = proxy.operate("POST", f"{SERVER}/oauth/connect")
    assert status == 200, answer
    assert answer["authorization_url"].startswith(f"{proxy.public}/oauth/start/")
    return answer["authorization_url"]


def add(proxy, model):
    """What a chat completion says that has the model add two numbers."""
    mcp = {"enabled": True, "servers": ["tracker"], "auto_execute_tools": True}
    return proxy.chat({"model": model.name, "messages": [], "mcp": mcp})


def standing(proxy):
    _, server = proxy.operate("GET", SERVER)
    return server["status"], server["status_reason"]


def test_a_server_is_connected_in_a_browser_used_and_disconnected(operated, protected_elsewhere, model):
    create(operated, protected_elsewhere)
    status, refused = add(operated, model)
    assert (status, refused["error"]["code"]) == (400, "mcp_server_inactive")

    url, browser, callback = connect(operated), Browser(), f"{operated.public}/oauth/callback"
    back = browser.consent(url, callback)
    assert query(back)["iss"] == protected_elsewhere.provider.issuer
    status, headers, page = browser.open(back)
    assert (status, headers.get_content_type()) == (200, "text/html"), page
    assert 'url=/servers/tracker"' in page and headers["referrer-policy"] == "no-referrer"
    assert standing(operated) == ("active", None)
    # Neither of the two addresses is good for a second time.
    assert [browser.open(again)[0] for again in (url, back)] == [404, 400]

    model.answers(completion(calls=[call("call_1", "tracker__add", {"a": 2, "b": 3})]), completion("Five."))
    status, answer = add(operated, model)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "Five."), answer
    assert [c["is_error"] for c in answer["mcp"]["calls"]] == [False]
    assert "2 and 3 make 5" in model.received[-1].json["messages"][-1]["content"]

    assert operated.operate("DELETE", f"{SERVER}/oauth") == (204, None)
    assert standing(operated) == ("inactive", "needs_authorization")
    assert add(operated, model)[0] == 400
    assert len(protected_elsewhere.provider.seen("revocation")) >= 1


def test_a_consent_that_is_refused_is_a_page_that_says_what_to_do(operated, protected_elsewhere):
    create(operated, protected_elsewhere)
    browser = Browser()
    status, headers, _ = browser.open(connect(operated))
    asked = query(headers["location"])
    issuer = protected_elsewhere.provider.issuer
    refused = f"error=access_denied&state={asked['state']}&iss={issuer}&error_description=%3Cscript%3E"
    status, _, page = browser.open(f"{asked['redirect_uri']}?{refused}")
    assert (status, "access_denied" in page, "agree when the provider asks" in page) == (400, True, True), page
    assert "%3C" not in page and "<script>" not in page
    seen = protected_elsewhere.provider.seen("token")
    assert [e for e in seen if e["client"]["client_id"] == asked["client_id"]] == []
    assert standing(operated) == ("inactive", "needs_authorization")


def test_a_browser_that_begins_at_one_replica_comes_back_to_the_other(tmp_path, upstream, protected_elsewhere, model):
    keys, started = tmp_path / "keys", [Postgres()]
    subprocess.run([PROXY, "--generate-key", keys], check=True, capture_output=True)
    shared = f'database = "{started[0].url}"\n key_file = "{keys}"'
    try:
        one = Operated("replica-one", upstream.url, shared)
        started.append(one)
        other = Operated("replica-other", upstream.url, shared, public=one.public)
        started.append(other)
        create(one, protected_elsewhere)
        start = connect(one).removeprefix(one.public)
        status, headers, _ = other.visit(start)
        assert (status, one.visit(start)[0]) == (303, 404)
        cookie = headers["set-cookie"].partition(";")[0]
        back = Browser().consent(headers["location"], f"{one.public}/oauth/callback").removeprefix(one.public)
        assert other.visit(back)[0] == 400, "another browser"
        assert one.visit(back, cookie)[0] == 200
        assert [standing(proxy) for proxy in (one, other)] == [("active", None)] * 2

        model.answers(completion(calls=[call("call_1", "tracker__add", {"a": 4, "b": 5})]), completion("Nine."))
        status, answer = add(other, model)
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "Nine."), answer
        assert [c["is_error"] for c in answer["mcp"]["calls"]] == [False]
    finally:
        for part in reversed(started):
            part.stop()
