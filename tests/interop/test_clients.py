"""Proves that what the guide has users of each client enter gets them the tools of a server.

The lines are the guide's own. Programs that take long to install are in test_client_programs.py.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from client_parts import text_of
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


def test_openai_for_python_asks(asked):
    asked.judge(asked.runs([sys.executable, "-"], asked.lines("openai for Python", "python")))


def test_a_program_that_cannot_be_changed_takes_the_base_url_from_the_environment(asked):
    program = """
import openai
messages = [{"role": "user", "content": "File an issue."}]
print(openai.OpenAI().chat.completions.create(model="gpt-5-tools", messages=messages).choices[0].message.content)
"""
    told = {"OPENAI_BASE_URL": asked.proxy.url, "OPENAI_API_KEY": "none"}
    asked.judge(asked.runs([sys.executable, "-"], program, env=os.environ | told))


def test_litellm_asks(asked):
    program = asked.lines("LiteLLM, the library", "python").replace("https://mcp.example/mcp", asked.tracker.url)
    # Else it begins with looking for prices on the network, which takes minutes where there is none.
    offline = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    asked.judge(asked.runs([sys.executable, "-"], program, env=offline))


@pytest.mark.parametrize("title", ["openai for Node", "AI SDK"])
def test_javascript_asks(title, asked):
    # Beside the packages that it imports.
    file = NODE / "client.mjs"
    file.write_text(asked.lines(title, "js"))
    asked.judge(asked.runs(["node", file]))


@pytest.mark.parametrize("flag", ["", "--no-stream "])
def test_llm_asks(flag, asked, home, tmp_path):
    (tmp_path / "extra-openai-models.yaml").write_text(asked.lines("llm", "yaml"))
    env = home(Path(sys.executable).parent, LLM_USER_PATH=str(tmp_path))
    command = asked.lines("llm", "sh").replace("llm -m", f"llm {flag}-m")
    asked.judge(asked.runs(["sh", "-e"], command, env=env))
