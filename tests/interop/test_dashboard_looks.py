"""Proves that axe-core has nothing to say against any page, light and dark, narrow and wide; and takes their pictures."""

import pytest

from dashboard_parts import Dashboard
from scripted_mcp import Script, tool


def quiet(found):
    assert not found, "\n".join(found)


@pytest.fixture
def empty(upstream, tmp_path):
    dashboard = Dashboard("empty", upstream.url, tmp_path)
    yield dashboard
    dashboard.stop()


def test_pages_without_anything_on_them(visit, empty):
    outside = {"sign-in": "/sign-in?next=/traces", "signed-out": "/sign-in?out"}
    quiet(visit("looks.pages", empty, paths=outside, signedOut=True))
    inside = {"servers-empty": "/servers", "nothing-here": "/no/such/page", "no-such-server": "/servers/nobody"}
    quiet(visit("looks.pages", empty, paths=inside))


def test_the_list_in_all_its_states(visit, dashboard, scripted, everything_http):
    dashboard.create("everything", everything_http, display_name="Everything", description="A bit of everything.")
    dashboard.create(
        "a-server-with-a-name-of-forty-characters",
        scripted.add("long", Script([tool("a")])),
        display_name="A display name that is as long as somebody makes it who has a lot to say about it",
        description="Searches the issues of all repositories, reads them, and writes new ones where that is allowed. "
        "Somebody described it in more words than there is room for in a row of the list, which then ends early.",
        projects=["a-project", "another-project", "batch", "web", "x"],
    )
    dashboard.create("down", "http://127.0.0.1:1/mcp", display_name="Tracker")
    dashboard.create("no-tools", scripted.add("none", Script([])))
    dashboard.create("switched-off", everything_http, enabled=False)
    headers = [{"name": "x-api-key", "value": "a-secret-of-tests"}]
    dashboard.create("with-headers", everything_http, auth={"type": "static_headers", "headers": headers})
    dashboard.create("with-oauth", "http://127.0.0.1:1/mcp", auth={"type": "oauth2"})
    dashboard.create("with-passthrough", everything_http, auth={"type": "token_passthrough"})
    dashboard.rest("/servers", {"name": "unfinished", "url": everything_http, "draft": True})
    paths = {
        "servers": "/servers",
        "servers-filtered": "/servers?project=web&status=inactive&q=t",
        "servers-no-match": "/servers?q=nothing+is+called+like+this",
    }
    quiet(visit("looks.pages", dashboard, paths=paths))


def test_the_wizard(visit, dashboard, everything_http):
    server = {"name": "everything", "url": everything_http, "display": "Everything", "about": "A bit of everything."}
    quiet(visit("looks.wizard", dashboard, server=server))


def test_the_trip_to_a_provider(visit, dashboard, asking):
    server = {"name": "protected", "url": asking.url, "provider": asking.provider.issuer}
    quiet(visit("looks.oauth", dashboard, server=server))
