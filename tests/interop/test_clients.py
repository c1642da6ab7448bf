"""Proves that what the guide has users of each client enter gets them the tools of a server.

The lines are the guide's own. Programs that take long to install are in test_client_programs.py.
"""

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from client_parts import GUIDE, NOT_RUN, RUN, blocks, sections, text_of
from conftest import NODE

# Some take long to begin on a machine that is busy.
pytestmark = pytest.mark.timeout(150)


@pytest.mark.parametrize("which", range(3), ids=["header", "localai", "litellm"])
def test_curl_asks_in_each_spelling(which, asked):
    asked.judge(text_of(asked.runs(["sh", "-e"], asked.lines("curl", "sh", which))))


def test_curl_finds_an_alias_in_the_list_of_models_and_asks_it(asked):
    listed, end = json.JSONDecoder().raw_decode(printed := asked.runs(["sh", "-e"], asked.lines("curl", "sh", 3)))
    # The upstream's own model stays in the list.
    assert {"gpt-5-tools", "scripted"} <= {model["id"] for model in listed["data"]}
    asked.judge(text_of(printed[end:].lstrip()))


def test_a_default_is_for_who_enters_nothing(asked):
    asked.plays("gpt-4o-mini")
    status, answer = asked.proxy.chat({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]})
    assert status == 200, answer
    asked.judge(answer["choices"][0]["message"]["content"], "gpt-4o-mini")


# How the line of each program begins that says what servers it wants, and the model that it names.
PYTHON = {"openai for Python": ("tools=", '"gpt-5"'), "LiteLLM, the library": ("tools=", '"openai/gpt-5"')}
JAVASCRIPT = {"openai for Node": ("tools:", '"gpt-5"'), "AI SDK": ("providerOptions:", '"gpt-5"')}


def programs(titles, language):
    """Each program as it is, with each of the other lines that the guide has for it, and for an alias."""
    for title in titles:
        others = [*blocks(title, language)[1].splitlines(), "alias"]
        # It takes seconds to begin.
        is_slow = title == "LiteLLM, the library" and "INTEROP_AGENTS" not in os.environ
        for which in ["as it is", *([] if is_slow else others)]:
            yield pytest.param(title, which, id=f"{title}: {which.strip()[:40]}")


def program(asked, language, titles, title, which):
    if which == "as it is":
        return asked.lines(title, language).replace("https://mcp.example/mcp", asked.tracker.url)
    begins, model = titles[title]
    if which != "alias":
        return asked.with_line(title, language, begins, which)
    assert model in (without := asked.with_line(title, language, begins, ""))
    return without.replace(model, f'{model[:-1]}-tools"')


@pytest.mark.parametrize(("title", "which"), [*programs(PYTHON, "python")])
def test_python_asks(title, which, asked):
    # Else LiteLLM begins with looking for prices on the network, which takes minutes where there is none.
    offline = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    asked.judge(asked.runs([sys.executable, "-"], program(asked, "python", PYTHON, title, which), env=offline))


@pytest.mark.parametrize(("title", "which"), [*programs(JAVASCRIPT, "js")])
def test_javascript_asks(title, which, asked):
    asked.judge(node(asked, program(asked, "js", JAVASCRIPT, title, which)))


def test_openai_for_node_asks_with_a_header(asked):
    without = asked.with_line("openai for Node", "js", "tools:", "")
    [client] = [line for line in without.splitlines() if "new OpenAI" in line]
    asked.judge(node(asked, without.replace(client, asked.lines("openai for Node", "js", 2))))


def node(asked, text):
    # Beside the packages that it imports.
    file = NODE / "client.mjs"
    file.write_text(text)
    return asked.runs(["node", file])


def test_a_program_that_cannot_be_changed_takes_the_base_url_from_the_environment(asked):
    program = """
import openai
messages = [{"role": "user", "content": "File an issue."}]
print(openai.OpenAI().chat.completions.create(model="gpt-5-tools", messages=messages).choices[0].message.content)
"""
    command = f"{asked.lines('openai for Python', 'sh')}exec {sys.executable} -"
    asked.judge(asked.runs(["sh", "-ec", command], program))


@pytest.mark.parametrize("flag", ["", "--no-stream "])
@pytest.mark.parametrize("model", ["gpt-5-github", "gpt-5-tools"])
def test_llm_asks(model, flag, asked, home):
    env = home(Path(sys.executable).parent)
    command = asked.lines("llm", "sh").replace("llm -m gpt-5-github", f"llm {flag}-m {model}")
    asked.judge(asked.runs(["sh", "-e"], command, env=env))


# The guide itself.


def test_all_code_of_the_guide_is_run_or_said_not_to_be():
    there = {title: dict(Counter(language for language, _ in code)) for title, code in sections().items()}
    assert {title: code for title, code in there.items() if code} == RUN | NOT_RUN
    for title in NOT_RUN:
        assert re.search(rf"^# {title}\n\nNot run: ", GUIDE, re.MULTILINE)


def test_the_guide_has_the_versions_that_are_run():
    here = Path(__file__).parent
    pinned = {}
    for file in [here / "requirements.txt", *(here / "agents").glob("requirements-*.txt")]:
        # Others stand beside a client that needs them; its own file names it first.
        named = re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", file.read_text(), re.MULTILINE)
        pinned = {f"pip {name.replace('_', '-')}": version for name, version in reversed(named)} | pinned
    for file in [here / "package.json", here / "agents/package.json"]:
        pinned |= {f"npm {name}": version for name, version in json.loads(file.read_text())["dependencies"].items()}
    table = re.findall(r"^\| [^|]+ \| `(pip|npm) install ([^`]+)`[^|]* \| ([\d.]+) \|", GUIDE, re.MULTILINE)
    assert len(table) == 10
    assert [row for row in table if row[2] not in [pinned.get(f"{row[0]} {name}") for name in row[1].split()]] == []
