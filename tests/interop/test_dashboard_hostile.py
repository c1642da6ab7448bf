"""Proves that nothing that a server, a provider or a model says becomes more than text in an operator's browser.

Every page is opened as it is, and with its content security policy switched off.
"""

import pytest

from dashboard_parts import Dashboard
from hostile_provider import HostileProvider
from payloads import PAYLOADS
from scripted_mcp import Refused, Script, ScriptedServers, text
from upstream import call, completion

# Several in one text: where one of them became markup and swallowed the next, it is noticed itself.
GROUPS = [PAYLOADS[at : at + 4] for at in range(0, len(PAYLOADS), 4)]
TEXTS = ["\n".join(group) for group in GROUPS]


def is_plain(payload):
    """Whether JSON and attributes show it as it is."""
    return payload.isprintable() and not set(payload) & set("\"\\")


def tool(payload):
    """One that says it wherever a tool can say something."""
    # A tool with a member whose name has what cannot be seen is left out, like one whose own name has it.
    member = "".join(letter for letter in payload if letter.isprintable())
    schema = {
        "type": "object",
        "title": payload,
        "description": payload,
        "properties": {member: {"description": payload, "enum": [payload], "default": payload, "examples": [payload]}},
    }
    return {
        # A tool whose name has what cannot be seen is left out altogether.
        "name": payload if payload.isprintable() else f"tool-{PAYLOADS.index(payload)}",
        "title": payload,
        "description": payload,
        "inputSchema": schema,
        "outputSchema": schema,
        "annotations": {"title": payload},
    }


def failing(payload):
    """A server that says it wherever a server can, and lists nothing."""
    info = {"name": payload, "version": payload, "title": payload, "websiteUrl": payload}
    return Script(instructions=payload, info=info, listing_fails=payload)


def saying(name, arguments):
    """The calls of the server whose results are payloads."""
    match name:
        case "say":
            return text(arguments["what"], structuredContent={arguments["what"]: arguments["what"]})
        case "fail":
            return text(arguments["what"], isError=True)
    raise Refused(arguments["what"])


class World:
    """A dashboard with all of it. Each member is a list of (path, texts that must be seen there)."""

    def __init__(self, dashboard, scripted, provider, upstream):
        self._dashboard, self._scripted, self._upstream = dashboard, scripted, upstream
        self.provider = provider
        self.tools = self._tools()
        self.servers = self._servers()
        self.traces = self._traces()
        for kind in ("refuses", "fails"):
            self._dashboard.rest("/servers", {"name": kind, "url": scripted.url, "auth": provider.auth(kind)})

    def _tools(self):
        tools = [tool(payload) for payload in PAYLOADS]
        url = self._scripted.add("tools", Script(tools))
        self._dashboard.create("tools", url)
        named = [tool["name"] for tool in tools]
        self._dashboard.rest("/servers", {"name": "draft", "url": url, "draft": True, "tools": named})
        # Changed since they were accepted: old and new stand side by side.
        changing = Script([tool(payload) for payload in PAYLOADS])
        self._dashboard.create("changing", self._scripted.add("changing", changing))
        for changed in changing.tools:
            changed["description"] += " "
            changed["inputSchema"]["title"] += " changed"
        self._dashboard.rest("/servers/changing/refresh", {})
        pages = ["/servers/tools/tools", "/servers/changing/tools", "/servers/draft/setup/tools"]
        names = [payload for payload in PAYLOADS if payload.isprintable()]
        return [*((path, PAYLOADS) for path in pages), ("/servers/draft/setup/review", names)]

    def _servers(self):
        pages = [("/servers", [])]
        for number, said in enumerate(TEXTS):
            url = self._scripted.add(f"fails/{number}", failing(said))
            # No name has control characters; a description may have lines.
            display = "".join(letter for letter in said if letter.isprintable())[:200]
            shown = {"display_name": display, "description": said.replace("\0", "")}
            name = f"fails-{number:02}"
            self._dashboard.create(name, url, **shown)
            self._dashboard.rest("/servers", {"name": f"draft-{number:02}", "url": url, "draft": True})
            plain = list(filter(is_plain, GROUPS[number]))
            pages += [(f"/servers/{name}", plain), (f"/servers/draft-{number:02}/setup/tools", [])]
        return pages + [("/servers?q=fails-0", [PAYLOADS[0]]), ("/servers?cursor=fails-10", [PAYLOADS[48]])]

    def _traces(self):
        says = Script([{"name": name, "inputSchema": {"type": "object"}} for name in ("say", "fail", "refuse")], saying)
        self._dashboard.create("says", self._scripted.add("says", says))
        for said in TEXTS:
            calls = [call(f"{said} {name}", f"says__{name}", {"what": said}) for name in ("say", "fail", "refuse")]
            calls.append(call("no such tool", said, {said: said}))
            last = completion("Done.")
            last["model"] = said
            last["choices"][0]["finish_reason"] = said
            self._upstream.script(said, completion(calls=calls), last)
            mcp = {"enabled": True, "servers": ["says"], "auto_execute_tools": True}
            status, answer = self._dashboard.chat({"model": said, "messages": [], "mcp": mcp})
            assert (status, len(answer["mcp"]["calls"])) == (200, 4), answer
        # What ends a record's text when it is long is cut, and no record has a NUL.
        traces = self._dashboard.exchanges(lambda traces: len(traces) == len(TEXTS))
        shown = [(f"/traces/{trace['id']}", list(filter(is_plain, trace["model"].split("\n")[:3]))) for trace in traces]
        return [("/traces", [PAYLOADS[-1]]), *shown]


@pytest.fixture(scope="module")
def hostile(model_server, tmp_path_factory):
    dashboard = Dashboard("hostile", model_server.url, tmp_path_factory.mktemp("hostile"))
    yield dashboard
    dashboard.stop()


@pytest.fixture(scope="module")
def world(hostile, model_server):
    scripted, provider = ScriptedServers(), HostileProvider(TEXTS)
    yield World(hostile, scripted, provider, model_server)
    scripted.close()
    provider.close()


def stayed_text(found):
    noticed = [*found["found"], *found["complaints"]]
    assert not noticed, f"{len(noticed)} noticed:\n" + "\n".join(map(repr, noticed[:20]))


policies = pytest.mark.parametrize("bypassCSP", [False, True], ids=["with_the_policy", "without_the_policy"])


@pytest.mark.timeout(90)
def test_each_payload_is_noticed_on_a_page_that_does_not_escape_it(visit, hostile, capsys):
    found = visit("hostile.planted", hostile, seconds=80, payloads=PAYLOADS, bypassCSP=True)
    with capsys.disabled():
        print(f"\n{len(PAYLOADS)} payloads on pages that do not escape them: {found}")
    assert len(PAYLOADS) >= 150
    assert found["unnoticed"] == []
    # By each of the ways to notice one.
    assert min(found["ran"], found["seen"], found["asked"]) >= 20, found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", ["tools", "servers", "traces"])
@policies
def test_what_servers_and_models_say_stays_text(visit, hostile, world, part, bypassCSP, capsys):
    found = visit("hostile.visits", hostile, seconds=110, pages=getattr(world, part), bypassCSP=bypassCSP)
    with capsys.disabled():
        print(f"\n{part}: {found['pages']} pages, policy {'off' if bypassCSP else 'on'}: {len(found['complaints'])} noticed")
    stayed_text(found)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", ["refuses", "fails"])
@policies
def test_what_a_provider_says_at_the_callback_stays_text(visit, hostile, world, server, bypassCSP):
    given = {"server": server, "count": len(TEXTS), "others": [world.provider.origin], "bypassCSP": bypassCSP}
    found = visit("hostile.callbacks", hostile, seconds=110, **given)
    stayed_text(found)
