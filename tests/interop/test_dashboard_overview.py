"""Proves that the first page says how things go, keeps itself up to date, and leads to the exchanges behind a figure."""

import threading
import time

import pytest

from dashboard_parts import Dashboard
from upstream import call, completion

ECHO = call("call_1", "declared__echo", {"message": "hello"})

# Audits and pictures take their time where others build beside them.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def fresh(model_server, everything_http, tmp_path):
    declared = f'[[servers]]\nname = "declared"\nurl = "{everything_http}"\n'
    dashboard = Dashboard("overview", model_server.url, tmp_path, declared)
    yield dashboard
    dashboard.stop()


def ask(dashboard, model):
    model.answers(completion(calls=[ECHO]), completion("It said hello."))
    mcp = {"enabled": True, "servers": ["declared"], "auto_execute_tools": True}
    status, answer = dashboard.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert status == 200, answer


def counted(dashboard, exchanges):
    """The figures, once they have so many exchanges: two seconds after the last at the most."""
    end = time.monotonic() + 2
    while True:
        status, read = dashboard.rest("/overview")
        assert status == 200, read
        if read["totals"]["exchanges"] == exchanges:
            return read
        assert time.monotonic() < end, read["totals"]
        time.sleep(0.05)


def test_before_the_first_exchange_it_says_what_to_do(visit, fresh):
    found = visit("overview.isEmpty", fresh, seconds=100)
    assert not found, "\n".join(found)


def test_figures_are_those_of_the_traces(fresh, model):
    for _ in range(3):
        ask(fresh, model)
    fresh.chat({"model": model.name, "messages": [], "mcp": {"enabled": True, "servers": ["unknown"]}})
    read = counted(fresh, 4)
    traces = fresh.exchanges(lambda traces: len(traces) == 4)
    assert read["totals"]["errors"] == sum(trace["outcome"] == "refused" for trace in traces) == 1
    tokens = [(trace["usage"] or {}).get("prompt_tokens", 0) for trace in traces]
    assert read["totals"]["input_tokens"] == sum(tokens)
    assert read["tools"][0]["tool"] == "echo" and read["tools"][0]["calls"] == 3


def test_the_page_shows_them_and_leads_to_the_traces(visit, fresh, model):
    for _ in range(2):
        ask(fresh, model)
    counted(fresh, 2)
    found = visit("overview.shows", fresh, seconds=100, texts=["Overview", "2 in 24 h", "echo", "declared"])
    assert not found, "\n".join(found)


def test_the_page_updates_itself(visit, fresh, model):
    ask(fresh, model)
    ask(fresh, model)
    counted(fresh, 2)
    # Once the page is open.
    later = threading.Timer(8, ask, (fresh, model))
    later.start()
    visit("overview.updatesItself", fresh, seconds=100, exchanges=[2, 3])
    later.join()
