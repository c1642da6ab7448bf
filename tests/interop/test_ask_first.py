"""Proves that `examples/ask_first.py` asks a person, does what they say, and stops at limits."""

import os
import subprocess
import sys

import pytest

from agent_parts import HERE, Scene
from conftest import Proxy, config
from strict_upstream import Turn

EXAMPLE = HERE.parents[1] / "examples/ask_first.py"
TOOLS = 'tools = ["look", { name = "create_issue", policy = "ask_first" }]\n'


@pytest.fixture(scope="module")
def asking_proxy(strict_server, tracker):
    proxy = Proxy("ask-first", config(strict_server.url, {"tracker": (tracker.url, None)}) + TOOLS)
    yield proxy
    proxy.stop()


@pytest.fixture
def scene(strict_server, tracker, own_tool, asking_proxy):
    strict_server.faults.clear()
    strict_server.altered.clear()
    return Scene(strict_server, tracker, own_tool, asking_proxy)


@pytest.fixture
def run(scene):
    """Runs the example with a person who says `answers`, one a line: the exit code, and what they read."""

    def run(*answers):
        env = os.environ | {"OPENAI_BASE_URL": scene.proxy.url, "OPENAI_API_KEY": "none"}
        command = [sys.executable, EXAMPLE, scene.model, "tracker", "File it."]
        typed = "".join(f"{answer}\n" for answer in answers)
        done = subprocess.run(command, input=typed, env=env, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    return run


def test_what_the_person_approves_runs_once_beside_a_tool_of_the_programs_own(run, scene):
    scene.plays(
        Turn([scene.ours(1, "look")]),
        Turn([("today", {}), scene.ours(2), scene.ours(3, "look")]),
        Turn([scene.ours(4, "look")]),
        Turn(),
    )
    code, read = run("y", "y")
    assert code == 0, read
    assert read.count("Run it?") == 2
    scene.judge(read)


def test_what_the_person_declines_does_not_run_and_the_model_is_told(run, scene):
    declined = scene.ours(1)
    scene.plays(Turn([declined, scene.ours(2)]), Turn())
    code, read = run("no", "yes")
    assert code == 0, read
    scene.judge(read, never=[declined])
    assert "The user has declined this call. | Created the issue" in read


def test_it_stops_where_the_rounds_are_over(run, scene):
    scene.plays(*(Turn([scene.ours(number, "look")]) for number in range(9)))
    code, read = run()
    assert code == 1 and "Stopped, and not finished: max_rounds" in read
    assert sum(scene.ran().values()) == 5


def test_it_stops_where_the_model_asks_without_end(run, scene):
    scene.plays(*(Turn([scene.ours(number)]) for number in range(12)))
    code, read = run(*"yyyyyyyyyyyy")
    assert code == 1 and "Stopped, and not finished: 8 requests" in read
    # The eighth is approved, and nobody goes on.
    assert sum(scene.ran().values()) == 7
