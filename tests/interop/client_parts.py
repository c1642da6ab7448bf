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


# The code that the guide has under each title, as far as tests run it: how many blocks of each language.
RUN = {
    "What the operator enters": {"toml": 1},
    "curl": {"sh": 4},
    "openai for Python": {"python": 2, "sh": 1},
    "openai for Node": {"js": 3},
    "LiteLLM, the library": {"python": 2},
    "AI SDK": {"js": 2},
    "llm": {"sh": 1},
    "gptme": {"sh": 1},
    "shell-gpt": {"sh": 1},
    "aider": {"sh": 2},
    "Open WebUI": {"sh": 1},
    "Continue": {"yaml": 1, "sh": 1},
    "Servers over stdio": {"sh": 2, "toml": 1},
}
NOT_RUN = {"LibreChat": {"yaml": 1}}


def sections():
    """All code blocks of the guide, as pairs of language and text, by the title that they stand under."""
    titled = re.findall(r"^# ([^\n]+)\n(.*?)(?=^# \w[^\n]*\n\n|\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    return {title: re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for title, text in titled}


def blocks(title, language):
    """The code blocks in this language under this title."""
    found = [text for of, text in sections()[title] if of == language]
    assert len(found) == RUN[title][language]
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

    def with_line(self, title, language, begins, line):
        """The first block under this title, with this line in place of the one that begins so."""
        program = self.lines(title, language)
        [old] = [of for of in program.splitlines() if of.strip().startswith(begins)]
        return program.replace(old, line)

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
