"""Proves for the JavaScript clients what test_agents.py proves for those in Python."""

import os
import shutil
from itertools import product
from pathlib import Path

import pytest

from agent_parts import ALONE, CASES, HERE, WITH_OWN, timeout_mix
from conftest import NODE
from strict_upstream import Turn


def talk(scene):
    """Two questions in one conversation; between the last call of the client's own and the first answer, one of ours ran."""
    first = [Turn([scene.ours(1)]), Turn([scene.weather(1)]), Turn([scene.ours(2)]), Turn(question=1)]
    scene.plays(*first, Turn([scene.weather(2), scene.ours(3)]), Turn([scene.ours(4)]), Turn())
    return {"questions": ["Create the issues, and tell me the weather.", "The same for the other city."]}


# Where `run --all` has installed the frameworks that are not in every run.
AGENTS = Path(os.environ.get("INTEROP_AGENTS", "not-installed")) / "node"
EVERY_RUN = {"openai": ["create", "parse", "run_tools"], "ai_sdk": ["text", "chat", "chat_client"]}
ON_REQUEST = {"langchain": ["agent", "interrupted"], "mastra": ["agent"]} if AGENTS.is_dir() else {}
SCRIPTS = CASES | {"talk": talk}
# `useChat` has no answer that is not streamed.
STREAMED_ONLY = {"chat", "chat_client"}
# They make their requests as `create` and `chat` do: what becomes of requests that fail is tried with those in every run.
ALIKE = {"parse", "chat_client"}
FAILURES = (ALONE.keys() - {"ask"}) | {"429-mix"}


# Forms of clients that ask again by themselves when an answer takes too long.
REPEATING = {"openai": ["create", "parse", "run_tools"], "langchain": ["agent"]} if ON_REQUEST else {"openai": ["create"]}


def runs():
    for name, forms in (EVERY_RUN | ON_REQUEST).items():
        for form, case, mode in product(forms, SCRIPTS, ["whole", "streamed"]):
            if form == "interrupted" and case not in {*WITH_OWN, "talk"}:
                continue
            is_alike = form in ALIKE and case in FAILURES and not AGENTS.is_dir()
            if not is_alike and (mode == "streamed" or form not in STREAMED_ONLY):
                yield name, form, case, mode


@pytest.fixture(scope="session")
def driver(drivers):
    """The driver of a framework, beside the installed packages that it imports."""

    def start(name):
        folder = (NODE if name in EVERY_RUN else AGENTS) / "drivers"
        shutil.copytree(HERE / "drivers", folder, ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)
        quiet = {"MASTRA_TELEMETRY_DISABLED": "1", "LANGSMITH_TRACING": "false"}
        return drivers(f"{name}-node", ["node", folder / f"with_{name}.mjs"], os.environ | quiet)

    return start


@pytest.mark.parametrize(("name", "form"), [(name, form) for name, forms in REPEATING.items() for form in forms])
def test_a_client_that_asks_again_during_a_call_of_a_kept_turn_waits_for_it(name, form, driver, scene):
    more = timeout_mix(scene)
    before = scene.proxy.given_up()
    done = driver(name).run(**scene.task(case=form, **more))
    assert "error" not in done, (done, scene.ran())
    scene.judge(done["text"])
    assert scene.proxy.given_up() > before


@pytest.mark.parametrize(("name", "form", "case", "mode"), list(runs()))
def test_each_tool_runs_once_and_its_result_arrives(name, form, case, mode, driver, scene):
    more = SCRIPTS[case](scene) or {}
    done = driver(name).run(**scene.task(case=form, stream=mode == "streamed", **more))
    assert "error" not in done, (done, scene.ran())
    scene.judge(done["text"])
