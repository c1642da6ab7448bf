"""Looks at JSON as bytes: what was forwarded is compared as it came over the wire, not as it parses."""

import json
import re

_SPACE = re.compile(r"\s*")
_decoder = json.JSONDecoder()


def members(raw):
    """The bytes of each member of the object `raw`, by name."""
    text, found = raw.decode(), {}
    for start, _ in _values(text, "{"):
        name, end = _decoder.raw_decode(text, start)
        start = _skip(text, _skip(text, end) + 1)
        found[name] = text[start : _decoder.raw_decode(text, start)[1]].encode()
    return found


def elements(raw):
    """The bytes of each element of the array `raw`."""
    text = raw.decode()
    return [text[start:end].encode() for start, end in _values(text, "[")]


def _values(text, opening):
    """Start and end of each value in an array, of each name in an object."""
    at = _skip(text, 0)
    assert text[at] == opening, text[:40]
    at = _skip(text, at + 1)
    while text[at] not in "]}":
        start, (_, end) = at, _decoder.raw_decode(text, at)
        yield start, end
        if opening == "{":
            _, end = _decoder.raw_decode(text, _skip(text, _skip(text, end) + 1))
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text, at):
    return _SPACE.match(text, at).end()
