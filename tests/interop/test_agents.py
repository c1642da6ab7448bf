"""Proves that agent frameworks work unmodified, with tools of their own beside those of servers, and that no tool runs twice."""

import sys

import pytest

from agent_parts import CASES, HERE

FRAMEWORKS = ["openai"]


@pytest.fixture
def driver(drivers):
    return lambda name: drivers(name, [sys.executable, HERE / "drivers" / f"with_{name}.py"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_each_tool_runs_once_and_its_result_arrives(name, case, streamed, driver, scene):
    more = CASES[case](scene) or {}
    done = driver(name).run(**scene.task(stream=streamed, **more))
    assert "error" not in done, (done, scene.ran())
    scene.judge(done["text"])
