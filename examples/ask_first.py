"""Asks a person before a tool runs that the operator has marked `policy = "ask_first"`, and stops at limits.

    pip install openai
    export OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=none
    python examples/ask_first.py MODEL SERVER 'File an issue about the broken link.'

With `own_tools: "whole"` only this program keeps the conversation: a turn that calls such a tool, or one of the program's
own, comes back as the model said it, and is sent again with the program's results and the user's decisions.
"""

import sys
from datetime import date

from openai import OpenAI

# A tool of the program's own, beside those of the server.
TODAY = {"type": "function", "function": {"name": "today", "description": "The date of today."}}
# Each request has its limit of rounds; this is the one of the whole conversation.
REQUESTS = 8


def main(model, server, question):
    client = OpenAI()
    messages = [{"role": "user", "content": question}]
    mcp = {"enabled": True, "servers": [server], "auto_execute_tools": True, "own_tools": "whole"}
    for _ in range(REQUESTS):
        answer = client.chat.completions.create(model=model, messages=messages, tools=[TODAY], extra_body={"mcp": mcp})
        turn, stopped_by = answer.choices[0].message, answer.mcp["stopped_by"]
        if stopped_by not in ("ask_first", "caller_tools"):
            print(turn.content or "")
            return None if stopped_by == "final" else f"Stopped, and not finished: {stopped_by}"
        # What the layer ran before this turn, the turn, and a result for each call that is not to be run.
        messages += [*answer.mcp.get("messages", []), turn.to_dict()]
        for call in turn.tool_calls:
            if call.function.name == "today":
                messages.append(result(call, date.today().isoformat()))
            elif not approved(call):
                messages.append(result(call, "The user has declined this call."))
        # The calls that have no result yet are approved: the layer runs them, and goes on.
        mcp["resume_tool_calls"] = True
    return f"Stopped, and not finished: {REQUESTS} requests"


def approved(call):
    print(f"{call.function.name} {call.function.arguments}")
    return input("Run it? [y/N] ").strip().lower() in ("y", "yes")


def result(call, text):
    return {"role": "tool", "tool_call_id": call.id, "content": text}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 4 else __doc__)
