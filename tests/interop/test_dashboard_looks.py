"""Proves that axe-core has nothing to say against any page, light and dark, narrow and wide; and takes their pictures."""

import json

import pytest

from dashboard_parts import Dashboard
from scripted_mcp import Script, text, tool
from upstream import Answer, call, completion


# Dozens of audits and pictures each, which take their time where others build beside them.
pytestmark = pytest.mark.timeout(120)


def quiet(found):
    assert not found, "\n".join(found)


@pytest.fixture
def empty(upstream, tmp_path):
    dashboard = Dashboard("empty", upstream.url, tmp_path)
    yield dashboard
    dashboard.stop()


def test_pages_without_anything_on_them(visit, empty):
    outside = {"sign-in": "/sign-in?next=/traces", "signed-out": "/sign-in?out"}
    quiet(visit("looks.pages", empty, seconds=100, paths=outside, signedOut=True))
    inside = {"servers-empty": "/servers", "nothing-here": "/no/such/page", "no-such-server": "/servers/nobody"}
    inside["traces-empty"] = "/traces"
    quiet(visit("looks.pages", empty, seconds=100, paths=inside))


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
    quiet(visit("looks.pages", dashboard, seconds=100, paths=paths))


def test_the_wizard(visit, dashboard, everything_http):
    server = {"name": "everything", "url": everything_http, "display": "Everything", "about": "A bit of everything."}
    quiet(visit("looks.wizard", dashboard, seconds=100, server=server))


def test_an_import(visit, dashboard):
    headers = {"Authorization": "Bearer ${input:token}", "X-Key": "a-secret-of-tests"}
    servers = {
        "Git Hub": {"url": "https://mcp.example.com/mcp?key=a-secret-of-tests", "headers": headers, "autoApprove": []},
        "off": {"url": "https://mcp.example.com/sse", "disabled": True},
        "files": {"command": "npx", "args": ["-y", "server-files", "/home/me/My Files"], "env": {"API_KEY": "a-secret-of-tests"}},
        "elsewhere": {"url": "http://10.0.0.1:9000/mcp"},
    }
    quiet(visit("looks.imported", dashboard, seconds=100, file=json.dumps({"mcpServers": servers})))


def test_the_trip_to_a_provider(visit, dashboard, asking):
    server = {"name": "protected", "url": asking.url, "provider": asking.provider.issuer}
    quiet(visit("looks.oauth", dashboard, seconds=100, server=server))


def test_a_server_that_is_there(visit, dashboard, scripted, everything_http):
    headers = [{"name": "x-api-key", "value": "a-secret-of-tests"}, {"name": "x-tenant", "value": "another"}]
    auth = {"type": "static_headers", "headers": headers}
    dashboard.create("tracker", everything_http, display_name="Tracker", projects=["batch", "web"], auth=auth)
    dashboard.create("behind-oauth", "http://127.0.0.1:1/mcp", auth={"type": "oauth2", "scopes": ["repo", "read:org"]})
    script = Script([tool("look", "Looks."), tool("listen", "Listens."), tool("gone")])
    dashboard.create("changing", scripted.add("changing", script))
    schema = {"type": "object", "properties": {"where": {"type": "string", "description": "Where to look."}}}
    script.tools = [tool("look", "Looks, and tells others what it sees.", inputSchema=schema), script.tools[1], tool("new")]
    dashboard.rest("/servers/changing/refresh", {})
    dashboard.create("many", scripted.add("many", Script([tool(f"tool-number-{number}") for number in range(90)])))
    paths = {
        "edit": "/servers/tracker",
        "edit-oauth": "/servers/behind-oauth",
        "edit-declared": "/servers/declared",
        "edit-tools": "/servers/tracker/tools",
        "edit-tools-unknown": "/servers/behind-oauth/tools",
        "edit-tools-declared": "/servers/declared/tools",
        "edit-tools-changed": "/servers/changing/tools",
        "edit-tools-many": "/servers/many/tools",
        "delete": "/servers/tracker/delete",
    }
    quiet(visit("looks.pages", dashboard, seconds=100, paths=paths))
    quiet(visit("looks.conflict", dashboard, seconds=100, name="tracker"))


def test_exchanges(visit, dashboard, scripted, upstream):
    def says(name, arguments):
        return text("It could not be found: there is no such issue.", isError=True) if name == "fail" else text("Found. " * 60)

    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    script = Script([tool(name, inputSchema=schema) for name in ("search-the-issues-of-all-repositories", "fail")], says)
    dashboard.create("tracker", scripted.add("tracker", script))
    find = call("call_1", "tracker__search-the-issues-of-all-repositories", {"query": "open issues about the proxy"})
    fail = call("call_2", "tracker__fail", {"query": "issue 7"})
    scripts = {
        "gpt-5-a-model-with-a-long-name": [completion(calls=[find, fail]), completion(calls=[find]), completion("Done.")],
        "not-run-here": [completion(calls=[find, fail])],
        "upstream-fails": [Answer(b'{"error": {"message": "overloaded"}}', status=503)],
    }
    for model, answers in scripts.items():
        upstream.script(model, *answers)
        mcp = {"enabled": True, "servers": ["tracker"], "auto_execute_tools": model != "not-run-here"}
        dashboard.chat({"model": model, "messages": [], "mcp": mcp})
    dashboard.chat({"model": "refused", "messages": [], "mcp": {"enabled": True, "servers": ["nobody"]}})
    paths = {f"trace-{model}": f"/traces/{id}" for model, id in dashboard.traces(*scripts, "refused").items()}
    paths |= {"traces": "/traces", "traces-filtered": "/traces?server=tracker&outcome=ok", "traces-none": "/traces?server=x"}
    quiet(visit("looks.pages", dashboard, seconds=100, paths=paths, opens=True))
