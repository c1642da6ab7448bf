"""Proves that agent frameworks work unmodified, with tools of their own beside those of servers, and that no tool runs twice.

Each in the form in which its users write it: `drivers/`. Those beside openai, langgraph and pydantic-ai are there with
`run --all` only.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from agent_parts import ALONE, CASES, HERE
from strict_upstream import Turn

VENVS = Path(os.environ.get("INTEROP_AGENTS", "not-installed"))


@dataclass
class Framework:
    """Its venv, where it is not the suite's; how the model knows its own tool, and ends; and the cases that it can be in."""

    venv: str | None = None
    own_name: str = "weather"
    end: type = Turn
    cases: dict = field(default_factory=lambda: CASES)
    forms: tuple = ("whole", "streamed")


def report(said):
    return json.dumps({"report": said})


FRAMEWORKS = {
    "openai": Framework(),
    "langgraph": Framework(),
    "pydantic_ai": Framework(),
    "openai_agents": Framework("agents"),
    "litellm": Framework("agents"),
    "haystack": Framework("agents"),
    "autogen": Framework("agents"),
    "llama_index": Framework("llama-index"),
    "semantic_kernel": Framework("semantic-kernel", own_name="Skills-weather"),
    "crewai": Framework("crewai"),
    "smolagents": Framework("agents", end=partial(Turn, [("final_answer", lambda said: {"answer": said})])),
    "instructor": Framework("agents", end=partial(Turn, text=report), cases=ALONE),
}
RUNS = [(name, case, form) for name, f in FRAMEWORKS.items() for case in f.cases for form in f.forms]


@pytest.fixture
def driver(drivers, scene):
    def driver(name):
        framework = FRAMEWORKS[name]
        scene.own_name, scene.end = framework.own_name, framework.end
        python = VENVS / framework.venv / "bin/python" if framework.venv else sys.executable
        if not Path(python).exists():
            pytest.skip("installed by `run --all` only")
        return drivers(name, [python, HERE / "drivers" / f"with_{name}.py"])

    return driver


def says(driver, scene, **task):
    """The answer that a framework gives in the end; a failure tells what has run by then."""
    done = driver.run(**scene.task(**task))
    assert "error" not in done, (done["error"], scene.ran(), scene.strict.faults)
    return done["text"]


@pytest.mark.parametrize(("name", "case", "form"), RUNS)
def test_each_tool_runs_once_and_its_result_arrives(name, case, form, driver, scene):
    framework = driver(name)
    more = FRAMEWORKS[name].cases[case](scene) or {}
    scene.judge(says(framework, scene, stream=form == "streamed", **more))
