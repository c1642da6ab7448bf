"""What the tests of the guide's clients stand on: its lines, a proxy as its operator has it, and a strict model behind it."""

import json
import os
import re
import secrets
import subprocess
from pathlib import Path

import pytest

from conftest import Proxy, config
from strict_upstream import StrictUpstream, Turn

GUIDE = (Path(__file__).parents[2] / "src/guide/clients.md").read_text()
# Where the guide's proxy listens, and the model that its provider has.
LISTEN, MODEL = "127.0.0.1:8787", "gpt-5"


def blocks(title, language):
    """The code blocks in this language of the guide's section with this title."""
    [section] = re.findall(rf"^# {re.escape(title)}\n(.*?)(?=^# |\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, f"the guide has no {language} for {title}"
    return found


def text_of(answer):
    """The text of an answer as curl prints it, streamed or not."""
    if not answer.startswith("data: "):
        return json.loads(answer)["choices"][0]["message"]["content"]
    events = [line.removeprefix("data: ") for line in answer.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(event) for event in events]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


class Asked:
    """One question to the model, which calls the tool of `github` and then says what that said.

    `other` may answer what a client asks besides, such as a title.
    """

    def __init__(self, strict, tracker, proxy):
        self.strict, self.tracker, self.proxy = strict, tracker, proxy
        self.title = f"issue-{secrets.token_hex(4)}"

    def plays(self, model=MODEL, turns=(), other=None):
        """The script; `turns` stand before the last one."""
        self.strict.faults.clear()
        call = ("github__create_issue", {"title": self.title})
        self.strict.plays(model, Turn([call]), *turns, Turn(), other=other)

    def lines(self, title, language, which=0):
        """What the guide's reader copies, for this proxy."""
        return blocks(title, language)[which].replace(LISTEN, f"127.0.0.1:{self.proxy.port}")

    def runs(self, command, stdin=None, seconds=120, **options):
        """The output of a command."""
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, **options)
        assert done.returncode == 0, (done.stdout, done.stderr, self.strict.faults)
        return done.stdout

    def judge(self, text, model=MODEL):
        """The tool ran once, its result arrived, and the model was sent nothing that its provider would refuse."""
        assert self.strict.faults == []
        assert self.tracker.ran()[f"create_issue {self.title}"] == 1
        # Programs wrap lines.
        assert f"Created the issue {self.title}." in " ".join(text.split()), text
        assert {asked.json["model"] for asked in self.strict.received(model)} == {model}


@pytest.fixture(scope="session")
def guides_model():
    upstream = StrictUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="session")
def guides_proxy(guides_model, tracker):
    """A proxy with what the guide has its operator enter."""
    [entered] = blocks("What the operator enters", "toml")
    proxy = Proxy("proxy-clients", config(guides_model.url, {"github": (tracker.url, None)}) + entered)
    yield proxy
    proxy.stop()


@pytest.fixture
def asked(guides_model, tracker, guides_proxy):
    asked = Asked(guides_model, tracker, guides_proxy)
    asked.plays()
    return asked


@pytest.fixture
def home(tmp_path):
    """The environment of somebody who has just installed a program that is in `folder`."""

    def environment(folder, **more):
        # What this process was told about keys and proxies is not theirs.
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        path = f"{folder}:{os.environ['PATH']}"
        # shell-gpt keeps answers in the folder for temporary files.
        own = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
        return kept | own | {"PATH": path, "TERM": "dumb", "NO_COLOR": "1"} | more

    return environment
