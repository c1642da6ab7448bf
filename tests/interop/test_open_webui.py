"""Proves for Open WebUI, as a person uses it in a browser, what test_agents.py proves for frameworks: with `run --all` only."""

import json
import os
import shutil
import urllib.request

import pytest

from agent_parts import ALONE, CASES, HERE, MCP
from conftest import NODE, Part, free_port
from strict_upstream import Turn
from test_agents_node import AGENTS, talk

PROGRAM = AGENTS.parent / "open-webui/bin/open-webui"
pytestmark = [pytest.mark.skipif(not PROGRAM.exists(), reason="with `run --all`"), pytest.mark.timeout(240)]

# The one model that the scripted upstream lists.
MODEL = "scripted"
# A tool as people write them into the workspace.
WEATHER = '''
import urllib.parse
import urllib.request


class Tools:
    def weather(self, city: str) -> str:
        """
        The weather in a city.
        :param city: The city.
        """
        query = urllib.parse.urlencode({"city": city})
        with urllib.request.urlopen(f"OWN?{query}") as answer:
            return answer.read().decode()
'''


class OpenWebui(Part):
    """Open WebUI with the proxy as its only connection, no sign-in, and nothing that it asks of a model by itself."""

    def __init__(self, upstream, folder):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        off = ("WEBUI_AUTH", "ENABLE_OLLAMA_API", "ANONYMIZED_TELEMETRY", "ENABLE_VERSION_UPDATE_CHECK", "ENABLE_TITLE_GENERATION")
        off += ("ENABLE_TAGS_GENERATION", "ENABLE_FOLLOW_UP_GENERATION")
        env = {name: "False" for name in off} | {
            "DATA_DIR": str(folder),
            "WEBUI_SECRET_KEY": "made-up",
            "OPENAI_API_BASE_URL": upstream,
            "OPENAI_API_KEY": "key-of-the-caller",
            # It would fetch a model for embeddings.
            "RAG_EMBEDDING_ENGINE": "openai",
            "OFFLINE_MODE": "True",
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "true",
            "SCARF_NO_ANALYTICS": "true",
        }
        super().__init__("open-webui", [PROGRAM, "serve", "--host", "127.0.0.1", "--port", port], env)
        self._token = None
        self.ready(self._is_entered, 200)

    def _is_entered(self):
        """Whether it takes its only user in."""
        self._token = self.call("/api/v1/auths/signin", {"email": "", "password": ""})["token"]
        return self._token

    def call(self, path, body=None):
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self._token}"} if self._token else {})
        request = urllib.request.Request(self.url + path, body and json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def connect(self, upstream):
        """Has it ask another address, as an operator does in its settings."""
        connection = {"OPENAI_API_BASE_URLS": [upstream], "OPENAI_API_KEYS": ["key-of-the-caller"]}
        self.call("/openai/config/update", {"ENABLE_OPENAI_API": True, "OPENAI_API_CONFIGS": {}, **connection})

    def furnish(self, own):
        """What an operator sets: the tool, and models with the custom parameter `mcp`."""
        self.add_tool(own)
        for name, stream in (("streamed", True), ("whole", False)):
            params = {"function_calling": "native", "stream_response": stream, "custom_params": {"mcp": json.dumps(MCP)}}
            model = {"id": name, "name": name, "base_model_id": MODEL, "meta": {"toolIds": ["weather"]}, "params": params}
            self.call("/api/v1/models/create", model)
        self.skip_news()

    def add_tool(self, own):
        """The tool `weather`, which asks this address."""
        tool = {"id": "weather", "name": "Weather", "content": WEATHER.replace("OWN", own), "meta": {"description": ""}}
        self.call("/api/v1/tools/create", tool)

    def models(self):
        """The models that its connection lists, which it has to know before it is asked for one."""
        return [model["id"] for model in self.call("/api/models?refresh=true")["data"]]

    def asks_by_itself(self):
        """What it asks of a model beside a person's turns, as it comes: titles, tags, follow-ups; and the rest of a line."""
        asked = self.call("/api/v1/tasks/config")
        names = ("TITLE_GENERATION", "TAGS_GENERATION", "FOLLOW_UP_GENERATION", "AUTOCOMPLETE_GENERATION")
        self.call("/api/v1/tasks/config/update", asked | {f"ENABLE_{name}": True for name in names})

    def skip_news(self):
        """Else the page begins with what is new in it."""
        version = self.call("/api/version")["version"]
        self.call("/api/v1/users/user/settings/update", {"ui": {"version": version}})


@pytest.fixture(scope="module")
def open_webui(agent_proxy, own_tool, tmp_path_factory):
    with OpenWebui(agent_proxy.url, tmp_path_factory.mktemp("open-webui")) as part:
        part.furnish(own_tool.url)
        yield part


@pytest.fixture
def person(open_webui, chromium, drivers, scene):
    """Somebody with a browser, who asks what the task says and reads the last answer."""
    scene.model = MODEL
    folder = NODE / "drivers"
    shutil.copytree(HERE / "drivers", folder, ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)
    driver = drivers("open-webui", ["node", folder / "with_open_webui.mjs"])

    def asks(chat, **more):
        open_webui.connect(scene.proxy.url)
        done = driver.run(**scene.task(case="chat", page=open_webui.url, chromium=chromium, chat=chat, **more))
        assert "error" not in done, (done, scene.ran())
        return done["text"]

    return asks


# Without streaming, Open WebUI runs no tools of its own.
WHOLE = ["ask", "500", "429", "429-soon"]
STREAMED = [*WHOLE, "mix", "seq", "restart", "replicas", "429-mix", "talk"]
ROWS = [("whole", case) for case in WHOLE] + [("streamed", case) for case in STREAMED]


@pytest.mark.parametrize(("chat", "case"), ROWS)
def test_each_tool_runs_once_and_its_result_is_on_the_page(chat, case, person, scene):
    more = (CASES | {"talk": talk})[case](scene) or {}
    scene.judge(person(chat, **more))


@pytest.mark.parametrize("chat", ["whole", "streamed"])
@pytest.mark.parametrize("case", ["429-late", "down"])
def test_who_sees_an_error_has_the_answer_regenerated(case, chat, person, scene):
    more = ALONE[case](scene)
    scene.judge(person(chat, **more))


@pytest.mark.parametrize("chat", ["whole", "streamed"])
def test_who_stops_an_answer_while_a_tool_runs_has_it_regenerated(chat, person, scene):
    ALONE["timeout"](scene)
    scene.judge(person(chat, again=True, stops=2))


def test_a_turn_may_call_a_tool_that_open_webui_brings(person, scene):
    both = [("get_current_timestamp", {}), scene.ours(1)]
    scene.plays(Turn([scene.ours(2)]), Turn(both), Turn())
    text = person("streamed")
    scene.judge(text)
    assert "current_iso" in text
