"""Proves that agent frameworks work unmodified, with own tools beside those of servers, and that no tool runs twice.

Each in the form in which its users write it: `drivers/`. Those beside openai, langgraph and pydantic-ai are there with
`run --all` only.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from agent_parts import ALONE, CASES, HERE, both, handoff, mix, replicas, restart, seq, timeout_mix
from strict_upstream import Turn, failure, text_of
from upstream import completion

VENVS = Path(os.environ.get("INTEROP_AGENTS", "not-installed"))


@dataclass
class Framework:
    """Its venv, where it is not the suite's; how the model knows its own tool, and ends; and its cases."""

    venv: str | None = None
    own_name: str = "weather"
    end: Callable[..., Turn] = Turn
    cases: dict = field(default_factory=lambda: CASES)
    forms: tuple = ("whole", "streamed")


final_answer = partial(Turn, [("final_answer", lambda said: {"answer": said})])
# langgraph and pydantic-ai talk through the SDK of openai, which is in every case anyway.
QUICK = {name: CASES[name] for name in ("ask", "500", "mix", "seq", "restart", "replicas")}
OVER_OPENAI = Framework(cases=CASES if VENVS.is_dir() else QUICK)
EVERY_RUN = {"openai": Framework(), "langgraph": OVER_OPENAI, "pydantic_ai": OVER_OPENAI}
ON_REQUEST = {
    "openai_agents": Framework("openai3"),
    "litellm": Framework("openai3"),
    "haystack": Framework("openai3"),
    "autogen": Framework("openai3"),
    "llama_index": Framework("openai2"),
    "semantic_kernel": Framework("semantic_kernel", own_name="Skills-weather"),
    "crewai": Framework("crewai"),
    # It tells a model its calls as text, without their ids: what ran before a call of its own cannot be restored.
    "smolagents": Framework("openai3", end=final_answer, cases=ALONE | {"mix": mix}),
    "instructor": Framework("openai2", cases=ALONE),
}
FRAMEWORKS = EVERY_RUN | (ON_REQUEST if VENVS.is_dir() else {})
RUNS = [(name, case, form) for name, f in FRAMEWORKS.items() for case in f.cases for form in f.forms]


@pytest.fixture
def driver(drivers, scene):
    def driver(name):
        framework = FRAMEWORKS[name]
        scene.own_name, scene.end = framework.own_name, framework.end
        python = VENVS / framework.venv / "bin/python" if framework.venv else sys.executable
        return drivers(name, [python, HERE / "drivers" / f"with_{name}.py"])

    return driver


def says(driver, scene, **task):
    """The answer that a framework gives in the end; a failure tells what has run by then."""
    done = driver.run(**scene.task(**task))
    assert "error" not in done, (done["error"], scene.ran(), scene.wrong())
    return done["text"]


@pytest.mark.parametrize(("name", "case", "form"), RUNS)
def test_each_tool_runs_once_and_its_result_arrives(name, case, form, driver, scene):
    framework = driver(name)
    more = FRAMEWORKS[name].cases[case](scene) or {}
    scene.judge(says(framework, scene, stream=form == "streamed", **more))
    assert {bool(asked.json.get("stream")) for asked in scene.asked()} == {form == "streamed"}


# instructor has no tools of its own, and smolagents tells of its calls in words.
REPEATING = FRAMEWORKS.keys() - {"instructor", "smolagents"} if VENVS.is_dir() else ["openai"]


@pytest.mark.parametrize("name", sorted(REPEATING))
@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_a_client_that_asks_again_during_a_call_of_a_kept_turn_waits_for_it(form, name, driver, scene):
    framework = driver(name)
    more = timeout_mix(scene)
    before = scene.proxy.given_up()
    scene.judge(says(framework, scene, stream=form == "streamed", **more))
    assert scene.proxy.given_up() > before


# What each framework has of its own.

on_request = pytest.mark.skipif(not VENVS.is_dir(), reason="with `run --all`")


@pytest.mark.parametrize("case", ["500", "mix", "seq"])
def test_the_sdks_own_reading_of_a_stream_loses_nothing(case, driver, scene):
    openai = driver("openai")
    more = CASES[case](scene) or {}
    scene.judge(says(openai, scene, case="stream", **more))


@pytest.mark.parametrize("case", ["ask", "down"])
def test_an_answer_of_a_type_is_parsed(case, driver, scene):
    openai = driver("openai")
    more = ALONE[case](scene) or {}
    scene.judge(says(openai, scene, case="parse", **more))


@pytest.mark.parametrize("case", ["500", "mix", "seq"])
def test_an_answer_of_a_type_is_parsed_after_tools_of_both(case, driver, scene):
    openai = driver("openai")
    more = CASES[case](scene) or {}
    scene.judge(says(openai, scene, case="parse_with_tools", **more))


@pytest.mark.parametrize("form", ["whole", "streamed"])
@pytest.mark.parametrize("waits", [None, 60])
def test_a_thread_of_langgraph_that_failed_goes_on_where_it_was(waits, form, driver, scene):
    langgraph = driver("langgraph")
    fails = [failure(429, after=waits)] if waits else [failure(500)] * 3
    scene.plays(Turn([scene.ours(), scene.weather()]), scene.end(fails=fails))
    scene.judge(says(langgraph, scene, case="resumed", stream=form == "streamed"))


@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_a_thread_of_langgraph_goes_on_with_all_that_was_done(form, driver, scene):
    langgraph = driver("langgraph")
    both(scene)
    scene.judge(says(langgraph, scene, case="remembering", stream=form == "streamed"))


@pytest.mark.parametrize("script", [mix, seq, restart, replicas])
@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_an_interrupt_of_langgraph_may_take_its_time(form, script, driver, scene):
    langgraph = driver("langgraph")
    script(scene)
    scene.judge(says(langgraph, scene, case="interrupted", stream=form == "streamed"))


@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_a_summary_of_langgraph_leaves_the_rest_whole(form, driver, scene):
    def summary(asked):
        told = text_of(asked["messages"][-1]["content"])
        return completion(f"So far: {told}") if "tools" not in asked or "summar" in told.lower() else None

    langgraph = driver("langgraph")
    both(scene)
    scene.plays(*scene.turns, other=summary)
    scene.judge(says(langgraph, scene, case="summarised", stream=form == "streamed"))


@pytest.mark.parametrize("strategy", ["early", "exhaustive"])
@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_an_output_type_of_pydantic_ai_ends_the_conversation(form, strategy, driver, scene):
    pydantic_ai = driver("pydantic_ai")
    seq(scene)
    end = ("final_result", lambda said: {"report": said})
    dropped, waiting = scene.weather(2), scene.ours(3)
    scene.plays(*scene.turns[:-1], Turn([end, dropped, waiting]))
    text = says(pydantic_ai, scene, case=strategy, stream=form == "streamed")
    scene.judge(text, never=[waiting, dropped] if strategy == "early" else [waiting])


@on_request
@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_a_handoff_of_openai_agents_takes_our_calls_along(form, driver, scene):
    openai_agents = driver("openai_agents")
    handoff(scene)
    scene.judge(says(openai_agents, scene, case="handoff", stream=form == "streamed"))


@on_request
@pytest.mark.parametrize("form", ["whole", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_a_router_of_litellm_repeats_no_tool(case, form, driver, scene):
    litellm = driver("litellm")
    more = CASES[case](scene) or {}
    scene.judge(says(litellm, scene, case="routed", stream=form == "streamed", **more))


@on_request
def test_a_tool_that_instructor_forces_is_the_only_one_called(driver, scene):
    instructor = driver("instructor")
    scene.plays(Turn([("Report", lambda said: {"report": "nothing else"})]))
    assert says(instructor, scene, case="tool") == "nothing else"
    scene.judge("")
