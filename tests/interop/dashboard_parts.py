"""What the tests of the dashboard stand on: a proxy over SQLite, and Chromium in front of its operator's side."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from conftest import NODE, PARTS, PROXY, Part
from operated import TOKEN, Operated
from scripted_mcp import ScriptedServers

SCREENSHOTS = PARTS / "screenshots"
SCENARIOS = Path(__file__).with_name("chromium")


class Dashboard(Operated):
    """A proxy with an empty database; `more` ends its configuration, such as with servers."""

    def __init__(self, name, upstream_url, folder, more=""):
        keys = folder / "keys"
        subprocess.run([PROXY, "--generate-key", keys], check=True, capture_output=True)
        database = f'database = "sqlite://{folder / "proxy.db"}"\nkey_file = "{keys}"\n'
        super().__init__(name, upstream_url, database + more)

    def rest(self, path, body=None, method=None):
        """Status and JSON of a request to the REST interface: GET, or POST with a body, unless told otherwise."""
        return self.operate(method or ("GET" if body is None else "POST"), f"/api/v1{path}", body)

    def create(self, name, url, **more):
        """A server, created and probed."""
        status, created = self.rest("/servers", {"name": name, "url": url, **more})
        assert status == 201, created
        self.rest(f"/servers/{name}/refresh", {})
        return created

    def traces(self, *models):
        """The latest exchange of each model, by its id."""
        found = self.exchanges(lambda traces: {trace["model"] for trace in traces} >= set(models))
        latest = {trace["model"]: trace["id"] for trace in reversed(found)}
        return {model: latest[model] for model in models}

    def exchanges(self, are_there, seconds=10):
        """All exchanges, once they `are_there`: they are written down a little later than they end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            traces = self.rest("/traces?limit=200")[1]["traces"]
            if are_there(traces):
                return traces
            time.sleep(0.05)
        raise AssertionError(f"only these exchanges are there: {traces}")

    def remove_all(self):
        """Leaves nothing but the file's servers."""
        for status in ("", "?status=draft"):
            for server in self.rest(f"/servers{status}")[1]["servers"]:
                if server["source"] == "store":
                    assert self.rest(f"/servers/{server['name']}", method="DELETE")[0] == 204


@pytest.fixture(scope="session")
def chromium():
    """Where Chromium is listening; each scenario has contexts of its own in it."""
    shutil.copytree(SCENARIOS, NODE / "chromium", dirs_exist_ok=True)
    SCREENSHOTS.mkdir(exist_ok=True)
    browser = Part("chromium", ["node", NODE / "chromium" / "serve.mjs"])
    try:
        browser.ready(lambda: "ws://" in browser.tail())
        yield browser.tail().strip()
    finally:
        browser.stop()


@pytest.fixture(scope="session")
def shared_dashboard(model_server, everything_http, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard")
    declared = f'[[servers]]\nname = "declared"\nurl = "{everything_http}"\n'
    dashboard = Dashboard("dashboard", model_server.url, folder, declared)
    yield dashboard
    dashboard.stop()


@pytest.fixture
def dashboard(shared_dashboard, upstream):
    """An operator's side with one server, which is in the file."""
    shared_dashboard.remove_all()
    return shared_dashboard


@pytest.fixture
def scripted():
    servers = ScriptedServers()
    yield servers
    servers.close()


@pytest.fixture
def visit(chromium):
    """Runs a scenario of `chromium/`, such as `wizard.byKeyboard`, at a dashboard; returns what it prints."""

    def run(scenario, dashboard, seconds=50, **given):
        common = {
            "chromium": chromium,
            "dashboard": dashboard.public,
            "token": TOKEN,
            "screenshots": str(SCREENSHOTS),
        }
        done = subprocess.run(
            ["node", NODE / "chromium" / "run.mjs", *scenario.split(".")],
            input=json.dumps({**common, **given}),
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
