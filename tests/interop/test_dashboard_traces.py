"""Proves that an operator sees what an exchange did: turns, calls, arguments, results, and what was not run here."""

from upstream import call, completion

MCP = {"enabled": True, "servers": ["declared"]}
ECHO = call("call_1", "declared__echo", {"message": "hello from a trace"})


def test_an_exchange_is_shown_as_its_turns_and_calls(visit, dashboard, model):
    model.answers(completion(calls=[ECHO]), completion("It said hello."))
    body = {"model": model.name, "messages": [], "mcp": {**MCP, "auto_execute_tools": True}}
    status, answer = dashboard.chat(body)
    assert (status, answer["mcp"]["rounds"]) == (200, 1)
    dashboard.traces(model.name)
    bars = [[model.name], ["declared__echo", '"message"', "hello from a trace", "Echo: hello from a trace"]]
    visit("traces.shows", dashboard, model=model.name, row=["declared", "default", "30"], bars=bars)


def test_a_call_that_was_not_run_here_says_so(visit, dashboard, model):
    model.answers(completion(calls=[ECHO]))
    status, answer = dashboard.chat({"model": model.name, "messages": [], "mcp": MCP})
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "tool_calls")
    dashboard.traces(model.name)
    bars = [["declared__echo", "hello from a trace", "not executed here"]]
    visit("traces.shows", dashboard, model=model.name, row=["declared"], bars=bars)


def test_exchanges_are_filtered_by_their_server(visit, dashboard, model, everything_http):
    dashboard.create("filtered", everything_http)
    for _ in range(2):
        model.answers(completion("Hello."))
        mcp = {"enabled": True, "servers": ["filtered"]}
        assert dashboard.chat({"model": model.name, "messages": [], "mcp": mcp})[0] == 200
    dashboard.traces(model.name)
    visit("traces.filters", dashboard, servers={"filtered": 2})
