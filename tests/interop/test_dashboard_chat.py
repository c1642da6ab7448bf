"""Proves that an operator tries a chat in a browser, with its script and without."""

import pytest

from upstream import call, completion, streamed

ECHO = call("call_1", "declared__echo", {"message": "hello from a chat"})


@pytest.mark.parametrize("no_script", [False, True], ids=["script", "no-script"])
def test_a_chat_shows_its_answer_and_its_tools(visit, dashboard, model, no_script):
    # The script of the page reads the answer as it comes.
    send = (lambda answer: answer) if no_script else streamed
    model.answers(send(completion(calls=[ECHO])), send(completion("It said hello.")))
    asked = {"server": "declared", "model": model.name, "message": "Say it's hello."}
    visit("chatting.asks", dashboard, noScript=no_script, answer="It said hello.", tool="echo", **asked)
