"""A real model and 890 real tools: how many of 30 tasks come to a right call, where it searches for the tools, and where it
is given the right ones and no others.

The tasks are held-out ones of tests/search/tasks.json. The model has to call a tool (`tool_choice: "required"`), which is
all that one of this size can be asked for; a call is right if it is one of a tool that would do, with arguments that the
tool's schema allows. What it called where it searches is told for each task.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import tools
from ports import free_port, post, ready

HERE = Path(__file__).parent
TASKS = HERE.parent / "search" / "tasks.json"
COUNT = 30


def slug(package):
    return "-".join("".join(c if c.isalnum() else " " for c in package).split()).lower()[-40:].strip("-")


def tasks():
    held_out = [task for task in json.loads(TASKS.read_text()) if task["held_out"]]
    return held_out[:: len(held_out) // COUNT][:COUNT]


def right(task):
    """Server and tool of those that would do."""
    return {(slug(package), tool) for package, tool in (known.split(" ", 1) for known in task["tools"])}


def ask(port, task, **mcp):
    body = {
        "model": "smollm2", "messages": [{"role": "user", "content": task["task"]}], "tool_choice": "required",
        "temperature": 0, "seed": 1, "max_tokens": 96, "cache_prompt": False, "parallel_tool_calls": False,
        "mcp": {"enabled": True, "auto_execute_tools": True, "max_tool_rounds": 1} | mcp,
    }  # fmt: skip
    response = post(port, body)
    answer = json.loads(response.read())
    if response.status != 200:
        print(f"  {response.status}: {answer['error']['message'][:160]}")
    return answer.get("mcp", {}).get("calls", [])


def called(calls, wanted):
    return any((call["server"], call["tool"]) in wanted and not call["is_error"] for call in calls)


def run(port, servers):
    given = searched = looked = 0
    for task in tasks():
        wanted = right(task)
        names = sorted({server for server, _ in wanted})
        offered = [f"{server}__{tool}" for server, tool in sorted(wanted)]
        by_hand = called(ask(port, task, servers=names, tools=offered, tool_search=False), wanted)
        calls = ask(port, task, servers=servers, tool_search=True)
        by_search = called(calls, wanted)
        ours = [call["tool"] for call in calls if call["server"] is None]
        given, searched, looked = given + by_hand, searched + by_search, looked + ("mcp_search_tools" in ours)
        made = [f"{call['server'] or ''} {call['tool']}{' (error)' if call['is_error'] else ''}".strip() for call in calls]
        print(f"{'given' if by_hand else '-':6}{'found' if by_search else '-':6} {task['task']}  {made}")
    print(f"of {COUNT} tasks, right calls: {given} with the right tools given, {searched} with search; it searched in {looked}")


def main():
    logs = Path(os.environ["MODEL_PARTS"])
    running = []

    def start(name, command, at, path):
        with (logs / f"{name}.log").open("wb") as log:
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        ready(at, path, running[-1])

    try:
        model, proxy = free_port(), free_port()
        # The template that writes calls as most models do.
        start("model", [sys.executable, HERE / "serve.py", str(model), "hermes.jinja"], model, "/health")
        (logs / "search.toml").write_text(tools.config(proxy, tools.double(), model))
        start("search", [os.environ["MODEL_PROXY"], "--config", logs / "search.toml"], proxy, "/v1/mcp/servers")
        run(proxy, sorted(tools.Double.lists))
    finally:
        for process in running:
            process.kill()
            process.wait()


main()
