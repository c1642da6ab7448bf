"""Proves that the strict model refuses what OpenAI refuses, and goes by what it has seen."""

import pytest

from strict_upstream import Seen, Turn, broken_rule
from upstream import call

ASKED = {"role": "user", "content": "hi"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [call("call_1", "a", {"c": "x"}), call("call_2", "b", {"c": "y"})]}
FIRST = {"role": "tool", "tool_call_id": "call_1", "content": "one"}
SECOND = {"role": "tool", "tool_call_id": "call_2", "content": "two"}
RIGHT = [ASKED, CALLS, SECOND, FIRST, {"role": "assistant", "content": "done"}]


def test_a_whole_conversation_is_right():
    assert broken_rule({"model": "m", "messages": RIGHT}) is None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ASKED, CALLS, FIRST],
        [ASKED, CALLS, FIRST, ASKED, SECOND],
        [ASKED, CALLS, FIRST, SECOND, SECOND],
        [ASKED, FIRST],
        [ASKED, CALLS, FIRST, SECOND | {"tool_call_id": "call_3"}],
        [ASKED, CALLS, FIRST, SECOND | {"content": None}],
        [ASKED, CALLS | {"reasoning": "deep"}, FIRST, SECOND],
        [ASKED, {"role": "assistant", "content": None}],
        [ASKED, {"role": "assistant", "content": None, "tool_calls": []}],
    ],
)
def test_a_conversation_that_openai_refuses_is_refused(messages):
    assert broken_rule({"model": "m", "messages": messages})


@pytest.mark.parametrize("more", [{"mcp": {}}, {"tool_choice": "none"}, {"tools": []}, {"stream_options": {}}])
def test_a_request_that_openai_refuses_is_refused(more):
    assert broken_rule({"model": "m", "messages": RIGHT, **more})


def test_a_turn_is_over_when_all_its_calls_are_answered():
    turn = Turn([("a", {"c": "x"}), ("b", {"c": "y"})])
    assert turn.is_over(Seen(RIGHT))
    assert not Turn([("a", {"other": "x"})]).is_over(Seen(RIGHT))
    assert not turn.is_over(Seen([ASKED]))


def test_a_text_is_over_when_the_user_has_asked_again():
    assert not Turn(question=1).is_over(Seen(RIGHT))
    assert Turn(question=1).is_over(Seen([*RIGHT, ASKED]))
    assert not Turn().is_over(Seen([*RIGHT, ASKED]))
